package sms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twilio/twilio-go/client"

	"twilio-error-sms/internal/alert"
)

const (
	requestTimeout = 8 * time.Second
	// maxAnswer is how many bytes of an answer are read: the pages of Twilio's
	// lists are far smaller.
	maxAnswer = 8 << 20
)

// newTransport returns the pool of connections to Twilio. It keeps enough idle
// ones for a busy worker: with Go's default of 2 for each host most SMS cost a
// TLS handshake.
func newTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 32
	transport.TLSHandshakeTimeout = 5 * time.Second
	transport.ResponseHeaderTimeout = requestTimeout
	return transport
}

// call is the RoundTripper of one call through twilio-go, and what came of
// it. The library takes no context, hides Retry-After and the status of an
// answer that is not JSON, and leaves the bodies of error answers open: this
// type fixes all of that.
type call struct {
	ctx       context.Context
	transport http.RoundTripper
	base      *url.URL // a stand-in for Twilio's API, or nil

	written    atomic.Bool // the request went out, as far as we know
	status     int         // of the last answer, 0 if there was none
	retryAfter time.Duration
}

func (c *call) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(c.ctx, requestTimeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// From here on Twilio may act, even if no answer comes.
		GotConn: func(httptrace.GotConnInfo) { c.written.Store(true) },
	})
	r = r.Clone(ctx)
	if c.base != nil {
		r.URL.Scheme, r.URL.Host, r.Host = c.base.Scheme, c.base.Host, c.base.Host
		r.URL.Path = c.base.Path + r.URL.Path
	}
	c.status, c.retryAfter = 0, 0
	answer, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading Twilio's answer: %w", err)
	}
	c.status, c.retryAfter = answer.StatusCode, retryAfter(answer.Header)
	if err := examine(answer, body); err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// refusal is Twilio's answer that it did not do what was asked: a code, and words
// that may name the recipient.
type refusal struct{ code, message string }

func (r refusal) Error() string { return alert.HideNumbers(r.message) }

// errNotTwilio means that a proxy refused, or a captive portal asks for a
// login: Twilio was not reached.
var errNotTwilio = errors.New("the answer is not Twilio's; see whether a proxy or a portal is in the way")

// examine returns an error unless the answer is Twilio's and a success. The
// library takes a redirect for a success, and does not understand an error whose
// code is a string.
func examine(answer *http.Response, body []byte) error {
	switch body = bytes.TrimSpace(body); {
	case answer.StatusCode/100 != 2:
		var e struct {
			Code    json.Number
			Message string
		}
		// A proxy that answers JSON has the status for its code.
		if json.Unmarshal(body, &e) == nil && len(e.Code) >= len("20003") {
			return refusal{string(e.Code), e.Message}
		}
		if answer.StatusCode >= 500 {
			return fmt.Errorf("Twilio answered %s", answer.Status)
		}
	case len(body) == 0 || body[0] == '{': // or JSON that was cut
		return nil
	}
	return fmt.Errorf("%s: %w", answer.Status, errNotTwilio)
}

// failure says what a failed call means for an SMS.
func (c *call) failure(err error) *alert.SendError {
	// The address of a look into the message log holds the recipient.
	if address, ok := errors.AsType[*url.Error](err); ok {
		err = address.Err
	}
	failure := &alert.SendError{Outcome: alert.InDoubt, RetryAfter: c.retryAfter, Err: err}
	refused, isRefusal := errors.AsType[refusal](err)
	if library, ok := errors.AsType[*client.TwilioRestError](err); ok { // it refuses before it asks
		refused, isRefusal = refusal{strconv.Itoa(library.Code), library.Message}, true
	}
	if isRefusal {
		failure.Code, failure.Err = refused.code, refused
	}
	switch {
	case c.status == http.StatusTooManyRequests, errors.Is(err, errNotTwilio), !c.written.Load() && !isRefusal:
		failure.Outcome = alert.NotAccepted
	case isRefusal && c.status < 500:
		failure.Outcome = alert.Refusal(refused.code)
	}
	return failure
}

// advised adds to a failure what the operator can do about it.
func advised(err error) error {
	if failure, ok := errors.AsType[*alert.SendError](err); ok && failure.Outcome == alert.Blocked {
		failure.Err = fmt.Errorf("%w; %s", failure.Err, alert.Remedy(failure.Code))
	}
	return err
}

// ErrorCode returns Twilio's error code in an error of this package, or "".
func ErrorCode(err error) string {
	failure, ok := errors.AsType[*alert.SendError](err)
	if !ok {
		return ""
	}
	return failure.Code
}

// retryAfter reads the header Retry-After: seconds, or a date by the clock of
// the answer. It returns at most an hour.
func retryAfter(header http.Header) time.Duration {
	wait := time.Duration(0)
	s := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(s); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		now, err := http.ParseTime(header.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), time.Hour)
}
