package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"twilio-error-sms/internal/alert"
)

// webhookURL is where Twilio posts errors, with a PUBLIC_URL.
func (c *checker) webhookURL() string { return c.settings.PublicURL + "/error_trigger" }

// publicURL goes the way of a webhook: it posts a test event of Event Streams
// to PUBLIC_URL as Twilio would, and expects the answer of this server.
func (c *checker) publicURL(ctx context.Context) error {
	if c.settings.PublicURL == "" {
		if c.settings.DryRun || !c.settings.Unsigned {
			return warning("missing, so that no webhook of Twilio arrives")
		}
		return warning("missing; everyone who reaches the port can make the phones ring")
	}
	here := destination{c.webhookURL(), c.webhookURL(), c.settings.AuthToken}
	answer, body, err := here.json(testEvent(c.settings.Account.SID)).post(ctx)
	if err != nil {
		return fmt.Errorf("%w; start the server, and see that the name leads to it, with a valid certificate", err)
	}
	status, path := answer.StatusCode, answer.Request.URL.Path
	unsigned := status == http.StatusForbidden && strings.Contains(body, "X-Twilio-Signature")
	switch {
	case status == http.StatusOK && body == "no error: "+alert.TestEvent:
		return nil
	case unsigned && here.token == "":
		return warning("the server is reached, but whether it believes Twilio is not known: set TWILIO_AUTH_TOKEN to try a signature")
	case unsigned:
		return refusedSignature(ctx, here)
	case status == http.StatusForbidden && strings.HasPrefix(body, "closed"):
		return errors.New("the server runs without PUBLIC_URL; restart it with these settings")
	case status == http.StatusServiceUnavailable && strings.HasPrefix(body, "nothing was recorded"):
		return errors.New("the server cannot store events; its log says why")
	case status == http.StatusNotFound && strings.HasPrefix(body, "not found: Twilio posts"):
		return fmt.Errorf("this server has no such path; let the proxy leave the path %s as it is", path)
	case status/100 == 3:
		return fmt.Errorf("it redirects to %s, and webhooks lose their fields on the way; set the final address", answer.Header.Get("Location"))
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("something in front of the server refuses: %s; let POST %s pass a login, firewall or protection against bots", answer.Status, path)
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return fmt.Errorf("a proxy does not reach the server: %s; start the server, and see where the proxy looks for it", answer.Status)
	}
	return fmt.Errorf("something else than this server answers: %s; see that name and proxy lead to it, path included", answer.Status)
}

// refusedSignature tells apart why the server refuses a signature. A form has
// no query of its own: the server finds fault with one that is not an event, unless
// it refuses that as well.
func refusedSignature(ctx context.Context, here destination) error {
	answer, _, err := here.form(url.Values{"from": {"twilio-error-sms check"}}).post(ctx)
	if err == nil && answer.StatusCode == http.StatusBadRequest {
		return errors.New("a proxy changes query or body on the way, which Twilio signs; let it pass them on as they are")
	}
	return errors.New("the server refuses the signature; restart it with these settings: it runs with another TWILIO_AUTH_TOKEN or another PUBLIC_URL (its log has the address that it checked as checked_url)")
}
