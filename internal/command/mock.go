package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
)

// mocker posts mock notifications.
type mocker struct {
	kind, code, description, level string
	n                              int
	destination
}

// Mock posts mock notifications to a server and prints its answers, or prints
// the curl lines that would post them.
func Mock(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	m := new(mocker)
	flags := flag.NewFlagSet("mock", flag.ContinueOnError)
	flags.StringVar(&m.kind, "kind", "trigger", "`shape` of it: trigger, alarm, debugger or stream")
	flags.StringVar(&m.code, "code", "11200", "Twilio's error `code`, may be empty")
	flags.StringVar(&m.description, "description", "", "`text` that says what happened (default the code's name)")
	flags.StringVar(&m.level, "level", "error", "`level` of it: error or warning")
	flags.IntVar(&m.n, "n", 1, "`number` of notifications, each of them news")
	curl := flags.Bool("curl", false, "post nothing, print the curl line that would")
	if done, err := parse(flags, args, 1, stdout); done || err != nil {
		return err
	}
	if err := errors.Join(m.validate(), m.setDestination(flags.Args(), getenv)); err != nil {
		return err
	}
	deliver := m.send
	if *curl {
		deliver = func(_ context.Context, n notification) (string, error) { return n.curl(), nil }
	}
	for range m.n {
		answer, err := deliver(ctx, m.newNotification())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, answer); err != nil {
			return err
		}
	}
	return nil
}

func (m *mocker) validate() error {
	switch {
	case !slices.Contains([]string{"trigger", "alarm", "debugger", "stream"}, m.kind):
		return fmt.Errorf("-kind: expected trigger, alarm, debugger or stream, got %q", m.kind)
	case m.level != "error" && m.level != "warning":
		return fmt.Errorf("-level: expected error or warning, got %q", m.level)
	case m.n < 1:
		return fmt.Errorf("-n: expected at least 1, got %d", m.n)
	}
	m.description = cmp.Or(m.description, alert.CodeName(m.code))
	return nil
}

// setDestination finds where to post, and for which address to sign.
func (m *mocker) setDestination(args []string, getenv func(string) string) error {
	server, err := config.LoadServer(getenv)
	if err != nil {
		return err
	}
	m.token = server.AuthToken
	address := cmp.Or(server.PublicURL, server.LocalURL()) + "/error_trigger"
	if len(args) > 0 {
		address = args[0]
	}
	target, err := url.Parse(address)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return fmt.Errorf("expected a URL such as http://127.0.0.1:8080, got %q", address)
	}
	if target.Path == "" || target.Path == "/" {
		target.Path = "/error_trigger"
	}
	target.Fragment = "" // Twilio's #rc=3&rp=all is neither sent nor signed
	m.target = target.String()
	target.User = nil
	m.signed = target.String()
	if server.PublicURL != "" {
		public, _ := url.Parse(server.PublicURL) // it was parsed before
		path := strings.TrimPrefix(target.RequestURI(), public.EscapedPath()+"/")
		m.signed = server.PublicURL + "/" + strings.TrimPrefix(path, "/")
	}
	return nil
}

// send posts n and returns the server's answer.
func (m *mocker) send(ctx context.Context, n notification) (string, error) {
	response, answer, err := n.post(ctx)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("%w; start the server, or name its URL", err)
	}
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("the server answered %s: %s%s", response.Status, answer, m.causes(response, answer))
	}
	return answer, err
}

// causes returns the likely causes of a refusal, "" if the answer says enough.
func (m *mocker) causes(response *http.Response, answer string) string {
	switch {
	case response.StatusCode/100 == 3:
		return "\nit redirects to " + response.Header.Get("Location") + ", where Twilio arrives without the fields: use the final address, for PUBLIC_URL too"
	case response.StatusCode != http.StatusForbidden:
		return ""
	case strings.Contains(answer, "bound to another account"):
		return "\nmock errors happen in an account of their own, for which only a token without AC…: signs"
	}
	token := "TWILIO_AUTH_TOKEN is neither the server's nor one of its WEBHOOK_AUTH_TOKENS"
	if m.token == "" {
		token = "it is not signed: set TWILIO_AUTH_TOKEN to the server's"
	}
	return fmt.Sprintf(`
likely causes:
  - %s
  - PUBLIC_URL differs: Twilio would have been given %s
  - a proxy changed path or query on the way: the server logs what it checked as checked_url`, token, m.signed)
}
