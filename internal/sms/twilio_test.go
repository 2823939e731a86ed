package sms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/twiliotest"
)

// newSender returns a sender whose Twilio is at address.
func newSender(t *testing.T, address string) *Twilio {
	t.Helper()
	base, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	account := Account{SID: twiliotest.AccountSID, User: twiliotest.AccountSID, Password: twiliotest.AuthToken, BaseURL: base}
	return NewTwilio(account, "+15005550006", "https://alerts.example.com/message_status")
}

var text = alert.SMS{ID: "an id&more", To: "+15005550009", Body: "An error & more"}

// outcome returns the outcome of a failed attempt.
func outcome(t *testing.T, err error) *alert.SendError {
	t.Helper()
	var failure *alert.SendError
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want a SendError", err)
	}
	return failure
}

func TestForm(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	for _, test := range []struct {
		name, from, callback string
		want                 url.Values
	}{
		{"a number", "+15005550006", "", url.Values{"From": {"+15005550006"}}},
		{"a Messaging Service", "MG0123456789abcdef0123456789abcdef", "", url.Values{"MessagingServiceSid": {"MG0123456789abcdef0123456789abcdef"}}},
		{"a channel", "whatsapp:+15005550006", "", url.Values{"From": {"whatsapp:+15005550006"}}},
		{"with a callback", "+15005550006", "https://alerts.example.com/base/message_status",
			url.Values{"From": {"+15005550006"}, "StatusCallback": {"https://alerts.example.com/base/message_status?sms=an+id%26more"}}},
	} {
		sender := newSender(t, twilio.URL)
		sender.from, sender.callback = test.from, test.callback
		sid, err := sender.Send(t.Context(), text)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		test.want.Set("To", text.To)
		test.want.Set("Body", text.Body)
		sent := twilio.Messages()
		last := sent[len(sent)-1]
		if last.SID != sid || last.Form.Encode() != test.want.Encode() {
			t.Errorf("%s: got %s and\n%s, want %s and\n%s", test.name, sid, last.Form.Encode(), last.SID, test.want.Encode())
		}
	}
}

// host is a RoundTripper that notes whom a request is for, and answers.
type host struct {
	asked, user string
	path        string
}

func (h *host) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked, h.path = r.URL.Host, r.URL.Path
	h.user, _, _ = r.BasicAuth()
	return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(`{"sid":"SM1"}`)), Request: r}, nil
}

// TestHost checks where requests go and in whose name. No test reaches Twilio.
func TestHost(t *testing.T) {
	t.Setenv("TWILIO_EDGE", "sydney") // settings come from the program, not from the library
	t.Setenv("TWILIO_REGION", "au1")
	for _, test := range []struct {
		account    Account
		host, user string
	}{
		{Account{User: "AC1"}, "api.twilio.com", "AC1"},
		{Account{User: "AC1", Region: "ie1", Edge: "dublin"}, "api.dublin.ie1.twilio.com", "AC1"},
		{Account{User: "AC1", Region: "ie1"}, "api.dublin.ie1.twilio.com", "AC1"},
		{Account{User: "AC1", Region: "us1"}, "api.ashburn.us1.twilio.com", "AC1"},
		{Account{User: "AC1", Region: "ie1", Edge: "frankfurt"}, "api.frankfurt.ie1.twilio.com", "AC1"},
		{Account{User: "AC1", Region: "xx1", Edge: "sydney"}, "api.sydney.xx1.twilio.com", "AC1"},
		{Account{User: "AC1", Edge: "dublin"}, "api.dublin.us1.twilio.com", "AC1"},
		{Account{User: "SK1"}, "api.twilio.com", "SK1"},
		{Account{User: "AC1", BaseURL: &url.URL{Scheme: "http", Host: "localhost:1", Path: "/stand-in"}}, "localhost:1", "AC1"},
	} {
		test.account.SID, test.account.Password = "AC1", "secret"
		sender := NewTwilio(test.account, "+15005550006", "")
		h := new(host)
		sender.transport = h
		if _, err := sender.Send(t.Context(), text); err != nil {
			t.Error(err)
		}
		path := "/2010-04-01/Accounts/AC1/Messages.json"
		if test.account.BaseURL != nil {
			path = "/stand-in" + path
		}
		if h.asked != test.host || h.user != test.user || h.path != path {
			t.Errorf("%+v: asked %s%s as %s", test.account, h.asked, h.path, h.user)
		}
	}
}

// TestFaults has Twilio fail in each way.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault      twiliotest.Fault
		outcome    alert.Outcome
		code       string
		retryAfter time.Duration
	}{
		{twiliotest.TooManyRequests, alert.NotAccepted, "20429", 0},
		{twiliotest.RetryAfter, alert.NotAccepted, "20429", 2 * time.Second},
		{twiliotest.ServerError, alert.InDoubt, "20500", 0},
		{twiliotest.ServerErrorAfter, alert.InDoubt, "20500", 0},
		{twiliotest.BadGateway, alert.InDoubt, "", 0},
		{twiliotest.BadGatewayAfter, alert.InDoubt, "", 0},
		{twiliotest.Reset, alert.InDoubt, "", 0},
		{twiliotest.ResetAfter, alert.InDoubt, "", 0},
		{twiliotest.Silence, alert.InDoubt, "", 0},
		{twiliotest.SilenceAfter, alert.InDoubt, "", 0},
		{twiliotest.Unsubscribed, alert.Refused, "21610", 0},
		{twiliotest.InvalidNumber, alert.Refused, "21211", 0},
		{twiliotest.Unauthorized, alert.Blocked, "20003", 0},
		{twiliotest.Forbidden, alert.Blocked, "20003", 0},
		{twiliotest.Suspended, alert.Blocked, "20005", 0},
		{twiliotest.NoAccount, alert.Blocked, "20404", 0},
		{twiliotest.WrongSender, alert.Blocked, "21606", 0},
		{twiliotest.Unverified, alert.Blocked, "21608", 0},
		{twiliotest.RegionDisabled, alert.Blocked, "21408", 0},
		{twiliotest.ForbiddenPage, alert.NotAccepted, "", 0},
		{twiliotest.ProxyLogin, alert.NotAccepted, "", 0},
		{twiliotest.RequestTimeout, alert.NotAccepted, "", 0},
		{twiliotest.CaptivePortal, alert.NotAccepted, "", 0},
		{twiliotest.Redirect, alert.NotAccepted, "", 0},
		{twiliotest.QueueFull, alert.NotAccepted, "21611", 0},
		{twiliotest.RetryAfterDate, alert.NotAccepted, "20429", 3 * time.Second},
	} {
		t.Run(string(test.fault), func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Fault = func(int, url.Values) twiliotest.Fault { return test.fault }
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if test.fault == twiliotest.Silence || test.fault == twiliotest.SilenceAfter {
				time.AfterFunc(200*time.Millisecond, cancel) // a worker's end is its time-out
			}
			_, err := newSender(t, twilio.URL).Send(ctx, text)
			got := outcome(t, err)
			if got.Outcome != test.outcome || got.Code != test.code || got.RetryAfter != test.retryAfter {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestOddAnswers has something answer that is not quite Twilio.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, header string
		status       int
		body         string
		outcome      alert.Outcome
		code         string
		retryAfter   time.Duration
	}{
		{"the sender's queue is full", "", 400, `{"code":21611,"message":"queue full","status":400}`, alert.NotAccepted, "21611", 0},
		{"a refusal without a code", "", 400, `{"message":"odd"}`, alert.NotAccepted, "", 0},
		{"a refusal with the status for a code", "", 403, `{"code":403,"message":"blocked"}`, alert.NotAccepted, "", 0},
		{"a refusal in HTML", "", 403, `<html>`, alert.NotAccepted, "", 0},
		{"a login in HTML", "", 401, `<html>`, alert.NotAccepted, "", 0},
		{"a refusal without a body", "", 404, ``, alert.NotAccepted, "", 0},
		{"a refusal with a code as text", "", 400, `{"code":"21610","message":"unsubscribed"}`, alert.Refused, "21610", 0},
		{"a refusal with an unknown code", "", 400, `{"code":29999,"message":"new"}`, alert.Blocked, "29999", 0},
		{"a refusal about the recipient", "", 400, `{"code":21614,"message":"no mobile"}`, alert.Refused, "21614", 0},
		{"too long for a trial", "", 400, `{"code":30044,"message":"too long"}`, alert.Refused, "30044", 0},
		{"the messages of a day", "", 400, `{"code":63038,"message":"exceeded"}`, alert.NotAccepted, "63038", 0},
		{"a code of the recipient with a server error", "", 500, `{"code":21614,"message":"no mobile"}`, alert.InDoubt, "21614", 0},
		{"429 in HTML", "7", 429, `<html>`, alert.NotAccepted, "", 7 * time.Second},
		{"429 with a date that is past", "Fri, 31 Dec 1999 23:59:59 GMT", 429, `{}`, alert.NotAccepted, "", 0},
		{"429 with a date years from now", "Fri, 31 Dec 2199 23:59:59 GMT", 429, `{}`, alert.NotAccepted, "", time.Hour},
		{"429 with odd words", "soon", 429, `{}`, alert.NotAccepted, "", 0},
		{"429 for longer than a number", "99999999999999999999", 429, `{}`, alert.NotAccepted, "", 0},
		{"429 with a negative wait", "-5", 429, `{}`, alert.NotAccepted, "", 0},
		{"429 for years", "99999999", 429, `{}`, alert.NotAccepted, "", time.Hour},
		{"503 with a wait", "9", 503, `{"code":20503,"message":"unavailable","status":503}`, alert.InDoubt, "20503", 9 * time.Second},
		{"a code as text", "", 500, `{"code":"20500","message":"odd"}`, alert.InDoubt, "20500", 0},
		{"success without a body", "", 201, ``, alert.InDoubt, "", 0},
		{"success without a SID", "", 201, `{}`, alert.InDoubt, "", 0},
		{"success that is cut", "", 201, `{"sid":"SM0123`, alert.InDoubt, "", 0},
		{"success that is not JSON", "", 200, `OK`, alert.NotAccepted, "", 0},
		{"a portal's login", "", 200, "\n<!DOCTYPE html><html>", alert.NotAccepted, "", 0},
		{"a redirect", "", 302, ``, alert.NotAccepted, "", 0},
		{"a redirect in JSON", "", 307, `{}`, alert.NotAccepted, "", 0},
		{"an endless answer", "", 200, strings.Repeat(" ", maxAnswer+1), alert.InDoubt, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				w.Header().Set("Location", "/elsewhere")
				if test.header != "" {
					w.Header().Set("Retry-After", test.header)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}))
			defer server.Close()
			_, err := newSender(t, server.URL).Send(t.Context(), text)
			got := outcome(t, err)
			if got.Outcome != test.outcome || got.Code != test.code || got.RetryAfter != test.retryAfter || got.Err == nil {
				t.Errorf("got %+v", got)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

// TestNotReached fails before Twilio could act.
func TestNotReached(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for name, address := range map[string]string{
		"connection refused": "http://" + closed.Addr().String(),
		"no such host":       "http://alerts.invalid",
		"TLS":                untrusted.URL,
	} {
		_, err := newSender(t, address).Send(t.Context(), text)
		if got := outcome(t, err); got.Outcome != alert.NotAccepted {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newSender(t, "http://"+closed.Addr().String()).Send(cancelled, text)
	if got := outcome(t, err); got.Outcome != alert.NotAccepted {
		t.Errorf("cancelled: got %+v", got)
	}
	odd := newSender(t, untrusted.URL)
	odd.account.User = "not alphanumeric!"
	_, err = odd.Send(t.Context(), text)
	if got := outcome(t, err); got.Outcome != alert.Blocked {
		t.Errorf("the library refuses: got %+v", got)
	}
}

// TestRequestTimeout checks in a bubble that an answer which never comes, or
// never ends, is waited for no longer than requestTimeout.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	for name, transport := range map[string]http.RoundTripper{
		"no answer":         endless{head: true},
		"an endless answer": endless{},
	} {
		synctest.Test(t, func(t *testing.T) {
			sender := newSender(t, "http://localhost")
			sender.transport = transport
			begin := time.Now()
			if _, err := sender.Send(t.Context(), text); err == nil {
				t.Errorf("%s: accepted", name)
			}
			if took := time.Since(begin); took != requestTimeout {
				t.Errorf("%s: took %v", name, took)
			}
		})
	}
}

// endless is a RoundTripper whose answer, or its body, ends with the request.
type endless struct{ head bool }

func (e endless) RoundTrip(r *http.Request) (*http.Response, error) {
	if e.head {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	body, out := io.Pipe()
	go func() {
		<-r.Context().Done()
		out.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: http.StatusCreated, Body: body, Request: r}, nil
}

// TestLeaks sends 200 SMS in vain and counts what stays behind.
func TestLeaks(t *testing.T) {
	twilio := twiliotest.New(t)
	faults := []twiliotest.Fault{twiliotest.TooManyRequests, twiliotest.ServerError, twiliotest.BadGateway, twiliotest.Unsubscribed, twiliotest.Reset}
	twilio.Fault = func(n int, _ url.Values) twiliotest.Fault { return faults[n%len(faults)] }
	sender := newSender(t, twilio.URL)
	before := runtime.NumGoroutine()
	for range 200 {
		if _, err := sender.Send(t.Context(), text); err == nil {
			t.Fatal("accepted")
		}
	}
	for end := time.Now().Add(30 * time.Second); runtime.NumGoroutine() >= before+10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// logged is a message of Twilio's log.
func logged(sid, body, direction string, created time.Time) string {
	return fmt.Sprintf(`{"sid":%q,"body":%q,"direction":%q,"date_created":%q,"to":%q}`, sid, body, direction, created.UTC().Format(time.RFC1123Z), text.To)
}

// TestFind looks for an SMS in doubt in logs of all kinds.
func TestFind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const out = "outbound-api"
	for _, test := range []struct {
		name string
		log  []string
		want string // "": not found, and sent again
	}{
		{"an empty log", nil, ""},
		{"it is there", []string{logged("SM1", text.Body, out, now)}, "SM1"},
		{"Twilio's clock is a minute behind", []string{logged("SM1", text.Body, out, now.Add(-time.Minute))}, "SM1"},
		{"another body", []string{logged("SM1", "An error", out, now)}, ""},
		{"an older one", []string{logged("SM1", text.Body, out, now.Add(-5*time.Minute))}, ""},
		{"one from the phone", []string{logged("SM1", text.Body, "inbound", now)}, ""},
		{"another SMS of ours", []string{logged("SMknown", text.Body, out, now)}, ""},
		{"behind another SMS of ours", []string{logged("SMknown", text.Body, out, now), logged("SM1", text.Body, out, now)}, "SM1"},
		{"another body that ends in the same words", []string{logged("SM1", "502 "+text.Body, out, now)}, ""},
		{"another body that ends in the same words on a trial account", []string{logged("SM1", "Sent from your Twilio trial account - 502 "+text.Body, out, now)}, ""},
		{"another SMS of ours on a trial account", []string{logged("SMknown", "Sent from your Twilio trial account - "+text.Body, out, now)}, ""},
		{"a trial account", []string{logged("SM1", "Sent from your Twilio trial account - "+text.Body, out, now)}, "SM1"},
		{"from a Messaging Service", []string{logged("SM1", text.Body, "outbound-reply", now)}, "SM1"},
		{"nulls", []string{`{"sid":null,"body":null,"direction":null,"date_created":null}`, logged("SM1", text.Body, out, now)}, "SM1"},
		{"a date in words", []string{`{"sid":"SM1","body":"An error & more","direction":"outbound-api","date_created":"yesterday"}`}, "SM1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sent := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					sent = true
					io.WriteString(w, `{"sid":"SMnew"}`)
					return
				}
				if got := r.URL.Query().Get("To"); got != text.To {
					t.Errorf("asked for SMS to %q", got)
				}
				fmt.Fprintf(w, `{"messages":[%s],"next_page_uri":null}`, strings.Join(test.log, ","))
			}))
			defer server.Close()
			sms := text
			sms.DoubtSince, sms.Known = now, []string{"SMknown"}
			sid, err := newSender(t, server.URL).Send(t.Context(), sms)
			want := test.want
			if want == "" {
				want = "SMnew"
			}
			if err != nil || sid != want || sent != (test.want == "") {
				t.Errorf("got %q, %v, sent %v; want %q", sid, err, sent, want)
			}
		})
	}
}

// TestFindPages looks through a log of several pages, the newest first.
func TestFindPages(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	sender := newSender(t, twilio.URL)
	send := func(to, body string) string {
		t.Helper()
		sid, err := sender.Send(t.Context(), alert.SMS{To: to, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		return sid
	}
	doubt := text
	doubt.DoubtSince = time.Now()
	first := send(text.To, text.Body)
	send("+15005550010", text.Body)
	for i := range 220 {
		send(text.To, fmt.Sprint("another text ", i))
	}
	attempts := twilio.Attempts()
	sid, err := sender.Send(t.Context(), doubt)
	if err != nil || sid != first || twilio.Attempts() != attempts {
		t.Errorf("got %s, %v, want %s", sid, err, first)
	}
	if n := twilio.Lists(); n != 3 {
		t.Errorf("read %d pages, want 3", n)
	}
	// What began after all of them is on none of the pages; the first tells.
	doubt.DoubtSince = time.Now().Add(time.Hour)
	if sid, err := sender.Send(t.Context(), doubt); err != nil || sid == first {
		t.Errorf("got %s, %v, want a new SMS", sid, err)
	}
	if n := twilio.Lists(); n != 4 {
		t.Errorf("read %d pages, want 1 more", n)
	}
}

// TestFindFails checks that a message log which does not answer keeps the
// doubt: nothing is sent.
func TestFindFails(t *testing.T) {
	t.Parallel()
	const page, denied = "<html>", `{"code":20003,"message":"no"}`
	for _, test := range []struct {
		status int
		body   string
		want   alert.Outcome
	}{
		{400, page, alert.NotAccepted}, {401, denied, alert.Blocked}, {403, denied, alert.Blocked}, {404, `{"code":20404}`, alert.Blocked},
		{429, page, alert.NotAccepted}, {500, denied, alert.NotAccepted}, {502, page, alert.NotAccepted},
		{200, page, alert.NotAccepted}, {200, "", alert.NotAccepted}, {200, `{"messages":[`, alert.NotAccepted}, {302, page, alert.NotAccepted},
	} {
		sent := false
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent = sent || r.Method == http.MethodPost
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		}))
		sms := text
		sms.DoubtSince = time.Now()
		_, err := newSender(t, server.URL).Send(t.Context(), sms)
		if got := outcome(t, err); got.Outcome != test.want || got.RetryAfter != 3*time.Second || sent {
			t.Errorf("%d %s: got %+v, sent %v", test.status, test.body, got, sent)
		}
		server.Close()
	}
}

func TestABlockedSMSSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for fault, want := range map[twiliotest.Fault]string{
		twiliotest.Unauthorized:   "blocked: error 20003: Authenticate; set TWILIO_AUTH_TOKEN, or ",
		twiliotest.NoAccount:      "set TWILIO_ACCOUNT_SID",
		twiliotest.WrongSender:    "set ALERT_FROM",
		twiliotest.Unverified:     "verify the phone",
		twiliotest.RegionDisabled: "Geo permissions",
		twiliotest.ForbiddenPage:  "a proxy or a portal",
		twiliotest.CaptivePortal:  "a proxy or a portal",
	} {
		twilio := twiliotest.New(t)
		twilio.Fault = func(int, url.Values) twiliotest.Fault { return fault }
		if _, err := newSender(t, twilio.URL).Send(t.Context(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", fault, err, want)
		}
	}
}

func TestAStatusCallbackThatTwilioRefusesCostsNoAlert(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Fault = func(int, url.Values) twiliotest.Fault { return twiliotest.CallbackRefused }
	sender := newSender(t, twilio.URL)
	var logged bytes.Buffer
	sender.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	for range 3 {
		if _, err := sender.Send(t.Context(), text); err != nil {
			t.Error(err)
		}
	}
	if sent, attempts := len(twilio.Messages()), twilio.Attempts(); sent != 3 || attempts != 4 {
		t.Errorf("%d SMS by %d attempts, want 3 by 4", sent, attempts)
	}
	if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "21609") || !strings.Contains(got, "PUBLIC_URL") {
		t.Errorf("logged %q, want one line that names 21609 and PUBLIC_URL", got)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"code":21609,"message":"no"}`)
	}))
	defer server.Close()
	if _, err := newSender(t, server.URL).Send(t.Context(), text); outcome(t, err).Outcome != alert.Blocked {
		t.Errorf("refused without a callback too: got %v", err)
	}
}

func TestTrialAccounts(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Fault = func(int, url.Values) twiliotest.Fault { return twiliotest.Trial }
	sender := newSender(t, twilio.URL)
	sms := text
	sms.DoubtSince = time.Now()
	first, err := sender.Send(t.Context(), sms)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sender.Send(t.Context(), sms); err != nil || again != first {
		t.Errorf("in doubt: got %s, %v, want the SMS %s that is in the message log", again, err, first)
	}
	sms = text
	sms.Body = "An error on your Twilio app occurred! 11200 " + strings.Repeat("very ", 20) + "long https://www.twilio.com/docs/api/errors/11200"
	sid, err := sender.Send(t.Context(), sms)
	if err != nil {
		t.Fatal("too long beside the prefix: ", err)
	}
	if got := twilio.Messages()[1].Form.Get("Body"); len(got) > 160 || !strings.HasSuffix(got, "... https://www.twilio.com/docs/api/errors/11200") {
		t.Errorf("too long beside the prefix: sent %q", got)
	}
	sms.DoubtSince = time.Now()
	if again, err := sender.Send(t.Context(), sms); err != nil || again != sid {
		t.Errorf("too long and in doubt: got %s, %v, want %s", again, err, sid)
	}
	sms.DoubtSince = time.Time{}
	before := twilio.Attempts()
	if _, err := sender.Send(t.Context(), sms); err != nil || twilio.Attempts() != before+1 {
		t.Errorf("the next one: %v after %d attempts, want the first accepted: each refusal is an error at Twilio", err, twilio.Attempts()-before)
	}
}

// What the account is can be read with the auth token, not with a standard API
// key.
func TestAccountState(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	sender := newSender(t, twilio.URL)
	for _, kind := range []string{"Trial", "Full"} {
		twilio.Change(func(a *twiliotest.Account) { a.Type = kind })
		if state, err := sender.AccountState(t.Context()); err != nil || state.Trial() != (kind == "Trial") {
			t.Errorf("%s: got %v, %v", kind, state, err)
		}
	}
	account := sender.account
	account.User, account.Password = twiliotest.APIKey, twiliotest.APISecret
	if _, err := NewTwilio(account.WithToken(""), "", "").AccountState(t.Context()); outcome(t, err).Outcome != alert.Blocked {
		t.Errorf("with an API key: got %v", err)
	}
	if state, err := NewTwilio(account.WithToken(twiliotest.AuthToken), "", "").AccountState(t.Context()); err != nil || state.Type != "Full" {
		t.Errorf("with an API key, and the token: got %v, %v", state, err)
	}
}

// flaky is a Twilio that cannot be reached a number of times, and then says that
// the account is a trial.
type flaky struct{ failures, asked int }

func (f *flaky) RoundTrip(*http.Request) (*http.Response, error) {
	if f.asked++; f.asked <= f.failures {
		return nil, errors.New("no route to host")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"status": "active", "type": "Trial"}`))}, nil
}

func TestIsTrialAsksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, failures := range []int{0, 3, 1000} {
			sender := NewTwilio(Account{SID: twiliotest.AccountSID, User: "AC", Password: "x"}, "", "")
			sender.transport = &flaky{failures: failures}
			if trial, err := sender.IsTrial(t.Context()); !trial || err != nil {
				t.Errorf("after %d failures: %t, %v", failures, trial, err)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		sender := NewTwilio(Account{}, "", "")
		sender.transport = &flaky{failures: 1000}
		if _, err := sender.IsTrial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
	})
}

func TestEdges(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{"us1": "ashburn", "ie1": "dublin", "au1": "sydney", "jp1": "tokyo", "br1": "sao-paulo", "de1": "frankfurt", "sg1": "singapore", "us2": "umatilla", "": ""} {
		if got, ok := EdgeOf(region); got != want || !ok {
			t.Errorf("the edge of %q is %q, %v, want %q", region, got, ok, want)
		}
	}
	if got, ok := EdgeOf("xx1"); ok {
		t.Errorf("the edge of an unknown region is %q", got)
	}
}

// TestConsole prints an SMS on a line.
func TestConsole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	console := NewConsole(&out)
	first, err := console.Send(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	second, err := console.Send(t.Context(), text)
	if err != nil || first == second {
		t.Errorf("got %s and %s, %v", first, second, err)
	}
	if want := strings.Repeat("SMS to +15005550009: An error & more\n", 2); out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if _, err := NewConsole(broken{}).Send(t.Context(), text); outcome(t, err).Outcome != alert.NotAccepted {
		t.Errorf("got %v", err)
	}
}

// broken is a Writer that cannot.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestRetries sends SMS as a worker does, through a Twilio that fails the first
// attempt of each in another way: every SMS arrives once.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, fault := range []twiliotest.Fault{"", twiliotest.TooManyRequests, twiliotest.RetryAfter, twiliotest.ServerError, twiliotest.ServerErrorAfter,
		twiliotest.BadGateway, twiliotest.BadGatewayAfter, twiliotest.Reset, twiliotest.ResetAfter} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Fault = func(n int, _ url.Values) twiliotest.Fault {
				return map[int]twiliotest.Fault{1: fault}[n]
			}
			sender, sms := newSender(t, twilio.URL), text
			for attempt := 1; ; attempt++ {
				began := time.Now()
				sid, err := sender.Send(t.Context(), sms)
				if err == nil {
					if got := twilio.Messages(); len(got) != 1 || got[0].SID != sid {
						t.Errorf("got %s of %v, want one SMS", sid, got)
					}
					return
				}
				if attempt == 3 {
					t.Fatal(err)
				}
				if outcome(t, err).Outcome == alert.InDoubt {
					sms.DoubtSince = began
				}
			}
		})
	}
}
