// Package sms takes an SMS to a phone: through Twilio's REST API, or to the
// console. It is the only place that knows twilio-go's REST API, so it also reads
// the account and the error log, and sets up Event Streams.
package sms

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
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
	// Region and Edge choose Twilio's data center; both may be empty. A region
	// alone uses its edge, see EdgeOf.
	Region, Edge string
	// BaseURL is a stand-in for Twilio's API, nil for the real one.
	BaseURL *url.URL
}

// WithToken returns the account as its auth token reaches it: standard API keys
// may not read the account. An empty token changes nothing.
func (a Account) WithToken(token string) Account {
	if token != "" {
		a.User, a.Password = a.SID, token
	}
	return a
}

// Twilio sends SMS through Twilio's Messages API.
type Twilio struct {
	// Logger gets what the operator must know about sending. It may be nil.
	// Set it before the first Send.
	Logger *slog.Logger

	account Account
	from    string
	// callback is where Twilio reports deliveries, "" for nowhere. The ID of
	// the SMS is added to its query.
	callback string
	// noCallback is set once Twilio has refused the callback.
	noCallback atomic.Bool
	// trial is set once Twilio has refused a text that is too long for a trial.
	trial     atomic.Bool
	transport http.RoundTripper
}

// NewTwilio returns a sender of SMS from a number (+E.164), a messaging
// service (MG…) or a channel address such as whatsapp:+….
func NewTwilio(account Account, from, callback string) *Twilio {
	if edge, ok := EdgeOf(account.Region); ok && account.Edge == "" {
		account.Edge = edge
	}
	return &Twilio{account: account, from: from, callback: callback, transport: newTransport()}
}

// EdgeOf returns the edge at which Twilio serves a region, and whether it is
// known. Without a region there is no edge. Source:
// https://www.twilio.com/docs/global-infrastructure/understanding-edge-locations.
func EdgeOf(region string) (edge string, ok bool) {
	edge, ok = map[string]string{
		"": "", "us1": "ashburn", "us2": "umatilla", "ie1": "dublin", "au1": "sydney",
		"jp1": "tokyo", "br1": "sao-paulo", "de1": "frankfurt", "sg1": "singapore",
	}[region]
	return edge, ok
}

// do makes the calls of one operation through twilio-go. Its errors are
// *alert.SendError.
func (t *Twilio) do(ctx context.Context, calls func(*client.RequestHandler) error) error {
	c := &call{ctx: ctx, transport: t.transport, base: t.account.BaseURL}
	twilio := &client.Client{
		Credentials: client.NewCredentials(t.account.User, t.account.Password),
		HTTPClient:  &http.Client{Transport: c},
	}
	twilio.SetAccountSid(t.account.SID)
	// Its constructor would read the environment by itself.
	err := calls(&client.RequestHandler{Client: twilio, Region: t.account.Region, Edge: t.account.Edge})
	if err != nil {
		return c.failure(err)
	}
	return nil
}

// Twilio's error codes that are not the end of an SMS.
const (
	callbackRefused = "21609"
	tooLongForTrial = "30044"
)

// CallbackRefused reports whether Twilio has refused the status callback.
func (t *Twilio) CallbackRefused() bool { return t.noCallback.Load() }

// Send sends the SMS and returns its SID. When an earlier attempt is in doubt
// it first looks into Twilio's message log and returns the SID found there, and
// sends nothing if it is only to look. When Twilio refuses the status callback,
// Send sends the SMS without it, and when the text is too long for a trial, with
// less text: the alert is worth more. Its errors are *alert.SendError.
func (t *Twilio) Send(ctx context.Context, sms alert.SMS) (string, error) {
	if !sms.DoubtSince.IsZero() {
		sid, err := t.find(ctx, sms)
		if err != nil || sid != "" {
			return sid, err
		}
	}
	if sms.LookOnly {
		return "", &alert.SendError{Outcome: alert.Refused, Err: errors.New("given up: Twilio's message log does not have it")}
	}
	if t.trial.Load() {
		sms.Body = alert.FitTrial(sms.Body)
	}
	sid, err := t.create(ctx, sms)
	if ErrorCode(err) == callbackRefused && t.callback != "" {
		if !t.noCallback.Swap(true) && t.Logger != nil {
			t.Logger.Error("Twilio refuses the status callback: SMS go out without it, and whether they arrive stays unknown",
				"callback", t.callback, "err", alert.Advice(callbackRefused))
		}
		sid, err = t.create(ctx, sms)
	}
	if shorter := alert.FitTrial(sms.Body); ErrorCode(err) == tooLongForTrial && shorter != sms.Body {
		t.trial.Store(true)
		sms.Body = shorter
		sid, err = t.create(ctx, sms)
	}
	return sid, err
}

// create asks Twilio to send the SMS, once.
func (t *Twilio) create(ctx context.Context, sms alert.SMS) (sid string, err error) {
	params := &api.CreateMessageParams{To: &sms.To, Body: &sms.Body}
	if strings.HasPrefix(t.from, "MG") {
		params.SetMessagingServiceSid(t.from)
	} else {
		params.SetFrom(t.from)
	}
	if t.callback != "" && !t.noCallback.Load() {
		params.SetStatusCallback(t.callback + "?sms=" + url.QueryEscape(sms.ID))
	}
	err = t.do(ctx, func(handler *client.RequestHandler) error {
		message, err := api.NewApiService(handler).CreateMessage(params)
		if err == nil {
			sid, err = told(message.Sid)
		}
		return err
	})
	return sid, advised(err)
}

// told returns the SID in Twilio's answer, where it must be.
func told(sid *string) (string, error) {
	if sid == nil || *sid == "" {
		return "", errors.New("no SID in Twilio's answer")
	}
	return *sid, nil
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
			if failure, ok := errors.AsType[*alert.SendError](err); ok && failure.Outcome != alert.Blocked {
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

// is reports whether m is the SMS, and no other SMS of ours.
func (m loggedMessage) is(sms alert.SMS) bool {
	if m.SID == "" || slices.Contains(sms.Known, m.SID) {
		return false
	}
	outbound := m.Direction == "" || strings.HasPrefix(m.Direction, "outbound")
	texts := []string{sms.Body, sms.Other}
	body, onTrial := strings.CutPrefix(m.Body, alert.TrialPrefix)
	if onTrial {
		texts = append(texts, alert.FitTrial(sms.Body), alert.FitTrial(sms.Other))
	}
	return outbound && body != "" && slices.Contains(texts, body)
}
