package sms_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/sms"
	"twilio-error-sms/internal/twiliotest"
)

// standIn returns a stand-in for Twilio and what reads its log.
func standIn(t *testing.T) (*twiliotest.Server, *sms.Twilio) {
	server := twiliotest.New(t)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	account := sms.Account{SID: twiliotest.AccountSID, User: twiliotest.AccountSID, Password: twiliotest.AuthToken, BaseURL: base}
	return server, sms.NewTwilio(account, "+15005550006", "")
}

// errorsAt returns n errors that happened and entered the log at a time.
func errorsAt(at time.Time, n int) []twiliotest.Entry {
	entries := make([]twiliotest.Entry, n)
	for i := range entries {
		entries[i] = twiliotest.Entry{SID: twiliotest.NewSID("NO"), Code: "11200", Level: "error", Generated: at, Created: at}
	}
	return entries
}

func TestErrorLogSaysWhatTwilioSays(t *testing.T) {
	t.Parallel()
	server, twilio := standIn(t)
	at := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	server.Monitor.Add(twiliotest.Entry{
		SID: "NO0123456789abcdef0123456789abcdef", Code: "11200", Level: "warning", Text: "Msg=Bad+Gateway&ErrorCode=11200",
		Resource: "SM0123456789abcdef0123456789abcdef", Generated: at, Created: at.Add(30 * time.Second),
	})
	entries, more, err := twilio.ErrorLog(t.Context(), at.Add(-time.Hour), at.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want := []alert.ErrorLogEntry{{
		SID: "NO0123456789abcdef0123456789abcdef", Account: twiliotest.AccountSID, Code: "11200", Level: "warning",
		Text: "Msg=Bad+Gateway&ErrorCode=11200", Resource: "SM0123456789abcdef0123456789abcdef", Generated: at.Format(time.RFC3339), Created: at.Add(30 * time.Second).Format(time.RFC3339),
	}}
	if !slices.Equal(entries, want) || more {
		t.Errorf("got %+v, more %v, want %+v and no more", entries, more, want)
	}
}

func TestErrorLogGivesTheWindow(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	from, to := now.Add(-20*time.Minute), now
	late := errorsAt(from.Add(-5*time.Minute), 1)
	late[0].Created = from.Add(time.Minute)
	missing := errorsAt(from.Add(time.Minute), 1)
	missing[0].Created = now.Add(time.Hour)
	for name, test := range map[string]struct {
		entries  []twiliotest.Entry
		days     bool
		want     int
		wantMore bool
	}{
		"an empty log":                      {},
		"one page":                          {entries: errorsAt(from.Add(time.Minute), 3), want: 3},
		"many pages":                        {entries: errorsAt(from.Add(time.Minute), 1201), want: 1201},
		"both ends belong to it":            {entries: slices.Concat(errorsAt(from, 1), errorsAt(to, 1)), want: 2},
		"before and after do not":           {entries: slices.Concat(errorsAt(from.Add(-time.Second), 1), errorsAt(to.Add(time.Second), 1))},
		"not yet in the log":                {entries: missing},
		"a filter by day: older errors":     {entries: errorsAt(from.Add(-30*time.Minute), 5), days: true},
		"a filter by day: one that is late": {entries: late, days: true, want: 1},
		"as many as Twilio gives":           {entries: errorsAt(from.Add(time.Minute), twiliotest.MaxEntries+1), want: twiliotest.MaxEntries, wantMore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, twilio := standIn(t)
			server.Monitor.WholeDays = test.days
			server.Monitor.Add(test.entries...)
			entries, more, err := twilio.ErrorLog(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) != test.want || more != test.wantMore {
				t.Errorf("got %d entries, more %v, want %d, %v", len(entries), more, test.want, test.wantMore)
			}
		})
	}
}

func TestErrorLogFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault twiliotest.Fault
		want  alert.SendError
		says  string
	}{
		"401":                    {twiliotest.Unauthorized, alert.SendError{Outcome: alert.Blocked, Code: "20003"}, "Authenticate"},
		"403":                    {twiliotest.Forbidden, alert.SendError{Outcome: alert.Blocked, Code: "20003"}, "Permission Denied"},
		"429":                    {twiliotest.TooManyRequests, alert.SendError{Outcome: alert.NotAccepted, Code: "20429"}, "Too Many Requests"},
		"429 that says how long": {twiliotest.RetryAfter, alert.SendError{Outcome: alert.NotAccepted, Code: "20429", RetryAfter: 2 * time.Second}, "Too Many Requests"},
		"403 of a proxy":         {twiliotest.ForbiddenPage, alert.SendError{Outcome: alert.NotAccepted}, "403"},
		"a captive portal":       {twiliotest.CaptivePortal, alert.SendError{Outcome: alert.NotAccepted}, "not Twilio's"},
		"500":                    {twiliotest.ServerError, alert.SendError{Outcome: alert.InDoubt, Code: "20500"}, "Internal Server Error"},
		"502 of a proxy":         {twiliotest.BadGateway, alert.SendError{Outcome: alert.InDoubt}, "502"},
		"a connection cut":       {twiliotest.Reset, alert.SendError{Outcome: alert.InDoubt}, "EOF"},
		"a page cut in half":     {twiliotest.CutPage, alert.SendError{Outcome: alert.InDoubt}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, twilio := standIn(t)
			at := time.Now().Add(-time.Minute)
			server.Monitor.Add(errorsAt(at, 1201)...)
			server.Monitor.Fault = func(n int, _ url.Values) twiliotest.Fault {
				if n < 2 {
					return ""
				}
				return test.fault // on the second page
			}
			entries, _, err := twilio.ErrorLog(t.Context(), at.Add(-time.Minute), time.Now())
			failure, ok := errors.AsType[*alert.SendError](err)
			if !ok || entries != nil {
				t.Fatalf("got %d entries and error %v, want none and a SendError", len(entries), err)
			}
			if failure.Outcome != test.want.Outcome || failure.Code != test.want.Code || failure.RetryAfter != test.want.RetryAfter {
				t.Errorf("got %+v, want %+v", failure, test.want)
			}
			if text := failure.Err.Error(); !strings.HasPrefix(text, "reading Twilio's error log: ") || !strings.Contains(text, test.says) {
				t.Errorf("got %q, want it to say %q", text, test.says)
			}
		})
	}
}

func TestErrorLogEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server, twilio := standIn(t)
	server.Monitor.Fault = func(int, url.Values) twiliotest.Fault { return twiliotest.Silence }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := twilio.ErrorLog(ctx, time.Now().Add(-time.Minute), time.Now()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline to end it", err)
	}
}
