package sms

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	requestTimeout = 8 * time.Second
	// maxAnswer is the most that is read of an answer: a page of Twilio's
	// lists stays far below it.
	maxAnswer = 8 << 20
)

// newTransport returns the pool of connections to Twilio, kept as long as a
// worker uses them: Go's default of 2 for each host costs a TLS handshake for
// most SMS.
func newTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 32
	transport.TLSHandshakeTimeout = 5 * time.Second
	transport.ResponseHeaderTimeout = requestTimeout
	return transport
}

// call is the RoundTripper of one call through twilio-go, and what came of
// it. The library takes no context, hides what an answer that is no JSON was,
// and Retry-After, and leaves the bodies of error answers open: all three are
// mended here.
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
		// From here on Twilio may act, whatever becomes of the answer.
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
	c.status = answer.StatusCode
	c.retryAfter = parseRetryAfter(answer.Header.Get("Retry-After"))
	if answer.StatusCode/100 == 3 {
		// The library would take a redirect for success.
		return nil, fmt.Errorf("Twilio answered %s", answer.Status)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// parseRetryAfter reads the header's seconds; a date is not promised by Twilio.
func parseRetryAfter(s string) time.Duration {
	seconds, err := strconv.Atoi(s)
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}
