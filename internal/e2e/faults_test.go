package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// TestFaults fails the first attempt of each of three alerts in one of
// Twilio's ways.
func TestFaults(t *testing.T) {
	t.Parallel()
	const alerts = 3
	for _, c := range []struct {
		fault    twiliotest.Fault
		attempts int           // in all
		after    time.Duration // the second attempt comes no sooner
		looks    bool          // into the message log, before trying again
		lag      time.Duration // of that log
	}{
		{fault: twiliotest.TooManyRequests, attempts: 6, after: 500 * time.Millisecond},
		{fault: twiliotest.RetryAfter, attempts: 6, after: 2 * time.Second},
		{fault: twiliotest.ServerError, attempts: 6, after: 10 * time.Second, looks: true},
		{fault: twiliotest.ServerErrorAfter, attempts: 3, looks: true},
		{fault: twiliotest.BadGateway, attempts: 6, after: 10 * time.Second, looks: true},
		{fault: twiliotest.BadGatewayAfter, attempts: 3, looks: true},
		{fault: twiliotest.Reset, attempts: 6, after: 10 * time.Second, looks: true},
		{fault: twiliotest.ResetAfter, attempts: 3, looks: true, lag: 8 * time.Second},
		{fault: twiliotest.Silence, attempts: 6, after: 12 * time.Second, looks: true}, // 8 s until it gives up, and 10 s
		{fault: twiliotest.SilenceAfter, attempts: 3, looks: true, lag: 8 * time.Second},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			began, again := make(map[string]time.Time), make(map[string]time.Duration)
			twilio := twiliotest.New(t)
			twilio.Lag = c.lag
			twilio.Fault = func(_ int, form url.Values) twiliotest.Fault {
				mu.Lock()
				defer mu.Unlock()
				body := form.Get("Body")
				if first, ok := began[body]; ok {
					again[body] = time.Since(first)
					return ""
				}
				began[body] = time.Now()
				return c.fault
			}
			dir := t.TempDir()
			p := startProgram(t, dir, sending(twilio.URL)...)
			for i := range alerts {
				report(t, p.URL, newWebhook("11200", fmt.Sprintf("alert %d", i)))
			}
			within(t, "every alert is texted", func() bool { return settled(databaseIn(dir)) })
			checkOnce(t, twilio, alerts)
			mu.Lock()
			defer mu.Unlock()
			if n := twilio.Attempts(); n != c.attempts {
				t.Errorf("%d attempts, want %d", n, c.attempts)
			}
			for body, pause := range again {
				if pause < c.after {
					t.Errorf("tried again after %s, want at least %s: %s", pause, c.after, body)
				}
			}
			if looked := twilio.Lists() > 0; looked != c.looks {
				t.Errorf("looked into Twilio's message log: %t, want %t", looked, c.looks)
			}
			if !strings.Contains(p.log(), `"level":"WARN","msg":"SMS not sent yet"`) {
				t.Errorf("the log does not tell of the failed attempts:\n%s", p.log())
			}
		})
	}
}

// checkOnce checks that twilio accepted that many SMS, no two alike.
func checkOnce(t *testing.T, twilio *twiliotest.Server, want int) {
	t.Helper()
	times := make(map[string]int)
	for _, m := range twilio.Messages() {
		times[m.Form.Get("To")+" "+m.Form.Get("Body")]++
	}
	for sms, n := range times {
		if n != 1 {
			t.Errorf("sent %d times: %s", n, sms)
		}
	}
	if len(times) != want {
		t.Errorf("%d SMS, want %d", len(times), want)
	}
}

// TestOperatorMustFix has Twilio refuse each SMS for a reason that only the
// operator can fix: nothing is lost, /healthz, log and metrics say what to do,
// and all of it goes out once Twilio accepts again, also with new settings.
func TestOperatorMustFix(t *testing.T) {
	t.Parallel()
	for fault, says := range map[twiliotest.Fault]string{
		twiliotest.Unauthorized:   "20003 (Permission Denied): set TWILIO_AUTH_TOKEN",
		twiliotest.Suspended:      "20005 ",
		twiliotest.NoAccount:      "20404 ",
		twiliotest.WrongSender:    "21606 ",
		twiliotest.Unverified:     "21608 ",
		twiliotest.RegionDisabled: "21408 ",
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", fault, restart), func(t *testing.T) {
				t.Parallel()
				twilio := twiliotest.New(t)
				var fixed atomic.Bool
				twilio.Fault = func(int, url.Values) twiliotest.Fault {
					if fixed.Load() {
						return ""
					}
					return fault
				}
				dir := t.TempDir()
				p := startProgram(t, dir, sending(twilio.URL, "ADMIN_ADDR=127.0.0.1:0")...)
				report(t, p.URL, newWebhook("11200", "alert 0"))
				report(t, p.URL, newWebhook("11200", "alert 1"))
				p.waitForLines(t, "SMS not sent, it waits until the cause is fixed", 2)
				within(t, "/healthz says what to do", func() bool {
					status, health := get(t, p.URL+"/healthz")
					return status == http.StatusServiceUnavailable && strings.Contains(health, "SMS wait, Twilio refuses them: error "+says)
				})
				page := p.address(t, "operator's page")
				if _, text := get(t, page+"/metrics"); !strings.Contains(text, `twilio_error_sms_send_attempts_total{outcome="retry",error_code="`+says[:5]+`"}`) {
					t.Errorf("the metrics do not count it:\n%s", text)
				}
				fixed.Store(true)
				if restart {
					p.stop(t)
					p = startProgram(t, dir, sending(twilio.URL)...)
				}
				within(t, "all of it goes out", func() bool { return settled(databaseIn(dir)) })
				checkOnce(t, twilio, 2)
				within(t, "/healthz is ok", func() bool { status, _ := get(t, p.URL+"/healthz"); return status == http.StatusOK })
			})
		}
	}
}

// TestAnswersThatAreNotTwilios come from a proxy or a portal on the way: it is as
// if Twilio could not be reached.
func TestAnswersThatAreNotTwilios(t *testing.T) {
	t.Parallel()
	for _, fault := range []twiliotest.Fault{
		twiliotest.ForbiddenPage, twiliotest.ProxyLogin, twiliotest.RequestTimeout, twiliotest.CaptivePortal, twiliotest.Redirect,
		twiliotest.QueueFull, twiliotest.RetryAfterDate, twiliotest.CallbackRefused,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Fault = func(n int, _ url.Values) twiliotest.Fault {
				if n > 2 && fault != twiliotest.CallbackRefused {
					return ""
				}
				return fault
			}
			dir := t.TempDir()
			p := startProgram(t, dir, sending(twilio.URL)...)
			report(t, p.URL, newWebhook("11200", "alert 0"))
			report(t, p.URL, newWebhook("11200", "alert 1"))
			within(t, "every alert is texted", func() bool { return settled(databaseIn(dir)) })
			checkOnce(t, twilio, 2)
			if fault == twiliotest.CallbackRefused {
				p.waitForLines(t, "Twilio refuses the status callback: SMS go out without it, and whether they arrive stays unknown", 1)
			}
		})
	}
}

// TestRefusedForGood has Twilio refuse each SMS: nobody will get it, and the
// operator must hear of that.
func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	for fault, code := range map[twiliotest.Fault]string{twiliotest.InvalidNumber: "21211", twiliotest.Unsubscribed: "21610"} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Fault = func(int, url.Values) twiliotest.Fault { return fault }
			dir := t.TempDir()
			p := startProgram(t, dir, sending(twilio.URL)...)
			for i := range 3 {
				report(t, p.URL, newWebhook("11200", fmt.Sprintf("alert %d", i)))
			}
			within(t, "the SMS have failed", func() bool { return rows(databaseIn(dir), "sms WHERE status = 'failed'") == 3 })
			if n := twilio.Attempts(); n != 3 {
				t.Errorf("%d attempts, want 3", n)
			}
			for _, line := range p.waitForLines(t, "SMS failed, nobody will get it", 3) {
				if line["level"] != "ERROR" {
					t.Errorf("the log tells of it as no error: %v", line)
				}
			}
			_, health := get(t, p.URL+"/healthz")
			if want := fmt.Sprintf("3 SMS failed in the last day: %s", code); !strings.Contains(health, want) {
				t.Errorf("/healthz says %q, want %q", health, want)
			}
		})
	}
}

// TestReportSettlesDoubt has Twilio accept each SMS, answer 500 and report the
// delivery: nothing is left to ask or to send.
func TestReportSettlesDoubt(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"delivered", "undelivered"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Fault = func(int, url.Values) twiliotest.Fault { return twiliotest.ServerErrorAfter }
			dir := t.TempDir()
			var p *process
			started := make(chan struct{})
			var told atomic.Int64
			twilio.Accepted = func(m twiliotest.Message) {
				<-started
				callback, err := url.Parse(m.Form.Get("StatusCallback"))
				if err != nil {
					t.Error(err)
					return
				}
				go func() {
					defer told.Add(1)
					for _, s := range []string{"sent", status, "queued"} { // they come in any order
						answer, _, err := postForm(http.DefaultClient, p.URL, callback.RequestURI(), twiliotest.AuthToken, url.Values{
							"MessageSid": {m.SID}, "MessageStatus": {s}, "To": {"+15005550009"}, "ErrorCode": {"30003"}})
						if err != nil || answer.StatusCode != http.StatusNoContent {
							t.Errorf("report %s: %v %v", s, answer, err)
						}
					}
				}()
			}
			p = startProgram(t, dir, sending(twilio.URL)...)
			close(started)
			report(t, p.URL, newWebhook("11200", "in doubt"))
			within(t, "the report settles the SMS", func() bool { return rows(databaseIn(dir), "sms WHERE status = '"+status+"'") == 1 })
			within(t, "all reports are answered", func() bool { return told.Load() == 1 })
			if !settled(databaseIn(dir)) || twilio.Attempts() != 1 || twilio.Lists() != 0 {
				t.Errorf("settled: %t, after %d attempts and %d looks into the message log; want 1 and none", settled(databaseIn(dir)), twilio.Attempts(), twilio.Lists())
			}
			_, health := get(t, p.URL+"/healthz")
			loud := strings.Contains(p.log(), `"level":"ERROR","msg":"SMS not delivered"`)
			noted := strings.Contains(health, "1 SMS undelivered in the last day: 30003")
			if want := status == "undelivered"; loud != want || noted != want {
				t.Errorf("in the log: %t, in /healthz: %t; want %t", loud, noted, want)
			}
		})
	}
}

// TestNoLoop has Twilio report each SMS as a new error through the Debugger,
// before it answers or after.
func TestNoLoop(t *testing.T) {
	t.Parallel()
	const alerts = 5
	for _, c := range []struct {
		name  string
		after time.Duration // Twilio accepted the SMS; 0: before it answers
		fault twiliotest.Fault
		limit string
	}{
		{name: "before the answer"},
		{name: "soon after the answer", after: 100 * time.Millisecond},
		{name: "before an answer that gets lost", fault: twiliotest.ServerErrorAfter},
		{name: "after an answer that gets lost", after: 100 * time.Millisecond, fault: twiliotest.ResetAfter},
		{name: "while an answer that gets lost is looked up", after: 9950 * time.Millisecond, fault: twiliotest.ResetAfter},
		{name: "when the hour is full", limit: "SMS_PER_HOUR=5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			twilio.Latency = 200 * time.Millisecond
			var mu sync.Mutex
			seen := make(map[string]bool)
			twilio.Fault = func(_ int, form url.Values) twiliotest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if seen[form.Get("Body")] {
					return ""
				}
				seen[form.Get("Body")] = true
				return c.fault
			}
			var p *process
			posted := make(chan struct{})
			var told atomic.Int64
			twilio.Accepted = func(m twiliotest.Message) {
				<-posted
				if len(twilio.Messages()) > 5*alerts {
					return // a loop; the test says so
				}
				tell := func() {
					defer told.Add(1)
					time.Sleep(c.after)
					loop := newWebhook("30003", "Unreachable destination handset")
					loop.resource = m.SID
					answer, _, err := postForm(http.DefaultClient, p.URL, "/error_trigger", twiliotest.AuthToken, loop.form())
					if (err != nil || answer.StatusCode != http.StatusOK) && t.Context().Err() == nil {
						t.Errorf("the report of an SMS: %v %v", answer, err)
					}
				}
				if c.after == 0 {
					tell()
				} else {
					go tell()
				}
			}
			dir := t.TempDir()
			p = startProgram(t, dir, append(sending(twilio.URL), c.limit)...)
			for i := range alerts {
				report(t, p.URL, newWebhook("11200", fmt.Sprintf("alert %d", i)))
			}
			close(posted)
			within(t, "every alert is sent and reported", func() bool { return told.Load() >= alerts })
			within(t, "nothing is left to send", func() bool { return settled(databaseIn(dir)) })
			checkOnce(t, twilio, alerts)
			if n := rows(databaseIn(dir), "events WHERE decision = 'an SMS of our own'"); n != alerts {
				t.Errorf("%d events are about our own SMS, want %d", n, alerts)
			}
		})
	}
}
