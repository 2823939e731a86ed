// Package sms takes an SMS to a phone: through Twilio's REST API, or to the
// console. It is the only place that knows twilio-go's REST API.
package sms

import (
	"context"
	"errors"
	"fmt"
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
	failure := &alert.SendError{Outcome: alert.InDoubt, RetryAfter: c.retryAfter, Err: err}
	var refused *client.TwilioRestError
	if errors.As(err, &refused) {
		if failure.Err = errors.New(refused.Message); refused.Code != 0 {
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
	handler, call := t.request(ctx)
	service := api.NewApiService(handler)
	params := new(api.ListMessageParams)
	params.SetTo(sms.To)
	params.SetPageSize(100)
	since := sms.DoubtSince.Add(-clockSkew)
	token, number := "", ""
	for {
		page, err := service.PageMessage(params, token, number)
		if err != nil {
			failure := call.failure(err)
			failure.Err = fmt.Errorf("looking into Twilio's message log: %w", failure.Err)
			// Asking sent nothing: what was in doubt stays so, until somebody
			// answers.
			failure.Outcome = alert.NotAccepted
			return "", failure
		}
		old := false
		for _, m := range page.Messages {
			created := messageTime(m)
			old = !created.IsZero() && created.Before(since)
			if !old && isSame(m, sms) {
				return *m.Sid, nil
			}
		}
		// The newest come first.
		next := nextPage(page.NextPageUri)
		if old || next == nil {
			return "", nil
		}
		token, number = next.Get("PageToken"), next.Get("Page")
	}
}

// messageTime returns when Twilio created a message, zero if it does not say.
func messageTime(m api.ApiV2010Message) time.Time {
	if m.DateCreated == nil {
		return time.Time{}
	}
	created, err := time.Parse(time.RFC1123Z, *m.DateCreated)
	if err != nil {
		return time.Time{}
	}
	return created
}

// isSame reports whether Twilio's message m is sms. A trial account puts words
// of its own before the body.
func isSame(m api.ApiV2010Message, sms alert.SMS) bool {
	if m.Sid == nil || m.Body == nil || slices.Contains(sms.Known, *m.Sid) {
		return false
	}
	outbound := m.Direction == nil || strings.HasPrefix(*m.Direction, "outbound")
	return outbound && strings.HasSuffix(*m.Body, sms.Body)
}

// nextPage returns the query of the address of the next page, nil if there is
// none.
func nextPage(uri *string) url.Values {
	if uri == nil {
		return nil
	}
	next, err := url.Parse(*uri)
	if err != nil || next.Query().Get("PageToken") == "" {
		return nil
	}
	return next.Query()
}
