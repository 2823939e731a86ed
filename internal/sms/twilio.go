// Package sms takes an SMS to a phone: through Twilio's REST API, or to the
// console. It is the only place that knows twilio-go's REST API.
package sms

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"

	"twilio-error-sms/internal/alert"
)

// Account is how to reach Twilio.
type Account struct {
	SID string // AC…
	// User and Password are the account's SID and auth token, or an API key
	// and its secret.
	User, Password string
	// Region and Edge choose where at Twilio, both may be empty.
	Region, Edge string
	// BaseURL is a stand-in for Twilio's API, nil for the real one.
	BaseURL *url.URL
}

// Twilio sends SMS through Twilio's Messages API.
type Twilio struct {
	account Account
	from    string
	// callback is where Twilio reports deliveries, "" for nowhere. The ID of
	// the SMS is added to its query.
	callback  string
	transport http.RoundTripper
}

// NewTwilio returns a sender of SMS from a number (+E.164), a Messaging
// Service (MG…) or a channel address such as whatsapp:+….
func NewTwilio(account Account, from, callback string) *Twilio {
	return &Twilio{account: account, from: from, callback: callback, transport: newTransport()}
}

// request returns twilio-go's handler for the calls of one operation.
func (t *Twilio) request(ctx context.Context) (*client.RequestHandler, *call) {
	c := &call{ctx: ctx, transport: t.transport, base: t.account.BaseURL}
	twilio := &client.Client{
		Credentials: client.NewCredentials(t.account.User, t.account.Password),
		HTTPClient:  &http.Client{Transport: c},
	}
	twilio.SetAccountSid(t.account.SID)
	// Not by its constructor, which reads the environment by itself.
	return &client.RequestHandler{Client: twilio, Region: t.account.Region, Edge: t.account.Edge}, c
}

// Send sends the SMS and returns its SID. When an earlier attempt is in doubt
// it first looks into Twilio's message log and returns the SID found there.
// Its errors are *alert.SendError.
func (t *Twilio) Send(ctx context.Context, sms alert.SMS) (string, error) {
	if !sms.DoubtSince.IsZero() {
		sid, err := t.find(ctx, sms)
		if err != nil || sid != "" {
			return sid, err
		}
	}
	handler, call := t.request(ctx)
	params := new(api.CreateMessageParams)
	params.SetTo(sms.To)
	params.SetBody(sms.Body)
	if strings.HasPrefix(t.from, "MG") {
		params.SetMessagingServiceSid(t.from)
	} else {
		params.SetFrom(t.from)
	}
	if t.callback != "" {
		params.SetStatusCallback(t.callback + "?sms=" + url.QueryEscape(sms.ID))
	}
	message, err := api.NewApiService(handler).CreateMessage(params)
	if err != nil {
		return "", call.failure(err)
	}
	if message.Sid == nil || *message.Sid == "" {
		return "", call.failure(errors.New("no SID in Twilio's answer"))
	}
	return *message.Sid, nil
}

// failure says what a failed call means for an SMS.
func (c *call) failure(err error) *alert.SendError {
	// The address of a look into the message log holds the recipient.
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err
	}
	failure := &alert.SendError{Outcome: alert.InDoubt, RetryAfter: c.retryAfter, Err: err}
	var refused *client.TwilioRestError
	if errors.As(err, &refused) {
		if failure.Err = errors.New(alert.HideNumbers(refused.Message)); refused.Code != 0 {
			failure.Code = strconv.Itoa(refused.Code)
		}
	}
	const senderQueueFull = "21611" // a 400 that means later
	switch {
	case c.status == http.StatusTooManyRequests, failure.Code == senderQueueFull, !c.written.Load() && c.status == 0 && refused == nil:
		failure.Outcome = alert.NotAccepted
	case c.status >= 400 && c.status < 500, c.status == 0 && refused != nil: // the latter by the library itself
		failure.Outcome = alert.Refused
	}
	return failure
}

// clockSkew is by how much Twilio's clock may be behind ours, and by how much
// its dates are rounded.
const clockSkew = 2 * time.Minute

// find looks for the SMS in Twilio's message log: same recipient, same body,
// since the attempt in doubt began, no other SMS of ours. It returns its SID,
// or "" when Twilio does not have it.
//
// It asks by recipient and compares dates itself: Twilio's filter is by the
// date of sending, which a message that is still queued does not have.
func (t *Twilio) find(ctx context.Context, sms alert.SMS) (string, error) {
	query := url.Values{"To": {sms.To}, "PageSize": {"100"}}
	since := sms.DoubtSince.Add(-clockSkew)
	for {
		var page struct {
			Messages []loggedMessage
			Next     string `json:"next_page_uri"`
		}
		if err := t.read(ctx, t.messagesURL(), query, &page); err != nil {
			// Asking sent nothing: the doubt stays until Twilio answers.
			if failure, ok := errors.AsType[*alert.SendError](err); ok {
				failure.Outcome = alert.NotAccepted
			}
			return "", during("looking into Twilio's message log", err)
		}
		old := false
		for _, m := range page.Messages {
			created, err := time.Parse(time.RFC1123Z, m.Created)
			old = err == nil && created.Before(since)
			if !old && m.is(sms) {
				return m.SID, nil
			}
		}
		// The newest come first.
		if old || !turnPage(query, page.Next) {
			return "", nil
		}
	}
}

// loggedMessage is an entry of Twilio's message log.
type loggedMessage struct {
	SID, Body, Direction string
	Created              string `json:"date_created"` // RFC 2822
}

// is reports whether m is the SMS. A trial account puts words of its own
// before the body.
func (m loggedMessage) is(sms alert.SMS) bool {
	if m.SID == "" || slices.Contains(sms.Known, m.SID) {
		return false
	}
	outbound := m.Direction == "" || strings.HasPrefix(m.Direction, "outbound")
	return outbound && strings.HasSuffix(m.Body, sms.Body)
}
