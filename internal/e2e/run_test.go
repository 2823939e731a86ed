package e2e

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// TestRun follows an error from webhook to phone: what Twilio posts, the SMS it
// is asked to send, and its report of the delivery.
func TestRun(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	dir := t.TempDir()
	p := startProgram(t, dir, sending(twilio.URL)...)
	fields := func(body string) url.Values {
		form, err := url.ParseQuery(body)
		if err != nil {
			t.Fatal(err)
		}
		return form
	}
	payload := func(name string) string {
		body, err := os.ReadFile("../alert/testdata/payloads/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	for _, c := range []struct {
		name string
		post func() (*http.Response, string, error)
		want string
	}{
		{"a trigger of 2014", func() (*http.Response, string, error) {
			return postForm(http.DefaultClient, p.URL, "/error_trigger", twiliotest.AuthToken, fields("ErrorCode=11200&Description=HTTP+retrieval+failure"))
		}, "An error on your Twilio app occurred! 11200 HTTP retrieval failure https://www.twilio.com/docs/api/errors/11200"},
		{"an Alarm", func() (*http.Response, string, error) {
			fired := regexp.MustCompile(`("DateFired": *")[^"]*`).ReplaceAllString(payload("alarm.json"), "${1}"+time.Now().UTC().Format(time.RFC1123Z))
			return postJSON(http.DefaultClient, p.URL, "/error_trigger", fired)
		}, "An error on your Twilio app occurred! 11200 HTTP retrieval failure (55 in a day) https://www.twilio.com/docs/api/errors/11200"},
		{"a Debugger webhook", func() (*http.Response, string, error) {
			w := newWebhook("30007", "Carrier violation")
			return postForm(http.DefaultClient, p.URL, "/error_trigger", twiliotest.AuthToken, w.form())
		}, "An error on your Twilio app occurred! 30007 Carrier violation (1st today) https://www.twilio.com/docs/api/errors/30007"},
		{"an event of Event Streams", func() (*http.Response, string, error) {
			return postJSON(http.DefaultClient, p.URL, "/error_trigger", `{"specversion":"1.0","type":"com.twilio.error-logs.error.logged","id":"EZ1",
				"data":{"sid":"NO11111111111111111111111111111111","account_sid":"AC0123456789abcdef0123456789abcdef","level":"ERROR","error_code":"93101",
				"payload":"{\"message\":\"Error delivering event\"}"}}`)
		}, "An error on your Twilio app occurred! 93101 Error delivering event (1st today) https://www.twilio.com/docs/api/errors/93101"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(twilio.Messages())
			answer, text, err := c.post()
			if err != nil || answer.StatusCode != http.StatusOK || text != c.want+"\n" {
				t.Fatalf("got %v %q %v, want 200 %q", answer, text, err, c.want)
			}
			within(t, "the SMS", func() bool { return len(twilio.Messages()) > before })
			m := twilio.Messages()[before]
			callback, err := url.Parse(m.Form.Get("StatusCallback"))
			if m.Form.Get("To") != "+15005550009" || m.Form.Get("From") != "+15005550006" || m.Form.Get("Body") != c.want || err != nil ||
				!strings.HasPrefix(callback.String(), publicURL+"/message_status?sms=") {
				t.Fatalf("got SMS %v, want %q from +15005550006 to +15005550009 with a StatusCallback", m.Form, c.want)
			}
			answer, _, err = postForm(http.DefaultClient, p.URL, callback.RequestURI(), twiliotest.AuthToken, url.Values{"MessageSid": {m.SID}, "MessageStatus": {"delivered"}})
			if err != nil || answer.StatusCode != http.StatusNoContent {
				t.Fatalf("the delivery report: got %v %v, want 204", answer, err)
			}
			if rows(databaseIn(dir), "sms WHERE status = 'delivered' AND sid = '"+m.SID+"'") != 1 {
				t.Error("the report of the delivery is not on the SMS")
			}
		})
	}
	p.stop(t)
	if log := p.log(); !strings.Contains(log, `"msg":"SMS sent"`) || strings.Contains(log, "+1500555") {
		t.Errorf("the log must tell of SMS, but not their numbers:\n%s", log)
	}
	if n := len(twilio.Messages()); n != 4 {
		t.Errorf("got %d SMS for 4 errors", n)
	}
}

// TestWorkStaysForTheNextStart stops the program while Twilio cannot be
// reached.
func TestWorkStaysForTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProgram(t, dir, sending("http://127.0.0.1:1")...)
	report(t, p.URL, newWebhook("11200", "kept"))
	p.stop(t)
	twilio := twiliotest.New(t)
	p = startProgram(t, dir, sending(twilio.URL)...)
	within(t, "the SMS of the first start goes out", func() bool { return settled(databaseIn(dir)) })
	p.stop(t)
	if m := twilio.Messages(); len(m) != 1 || !strings.Contains(m[0].Form.Get("Body"), "kept") {
		t.Errorf("got SMS %v, want the one of the first start", m)
	}
}

// TestKilledBeforeSend kills the program between its 200 and the SMS.
func TestKilledBeforeSend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		accepted bool // by Twilio, which the killed program never learns
	}{
		{"Twilio out of reach", false},
		{"Twilio about to answer", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			twilio := twiliotest.New(t)
			first := "http://127.0.0.1:1"
			killed := make(chan struct{})
			goOn := sync.OnceFunc(func() { close(killed) })
			defer goOn()
			if c.accepted {
				first = twilio.URL
				twilio.Fault = func(int, url.Values) twiliotest.Fault {
					<-killed
					return ""
				}
			}
			dir := t.TempDir()
			p := startProgram(t, dir, sending(first)...)
			report(t, p.URL, newWebhook("11200", "in the gap"))
			if c.accepted {
				within(t, "the send begins", func() bool { return twilio.Attempts() == 1 })
			}
			p.kill()
			if n := len(twilio.Messages()); n != 0 {
				t.Fatalf("killed too late: %d SMS are out", n)
			}
			goOn()
			p = startProgram(t, dir, sending(twilio.URL)...)
			within(t, "the SMS goes out", func() bool { return settled(databaseIn(dir)) })
			p.stop(t)
			if n := len(twilio.Messages()); n != 1 {
				t.Errorf("got %d SMS, want 1", n)
			}
		})
	}
}

// TestStoppedWhileSending stops the program as an operator would. Docker and
// systemd wait for at least 10 s before they kill.
func TestStoppedWhileSending(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Latency = 2 * time.Second
	dir := t.TempDir()
	p := startProgram(t, dir, sending(twilio.URL)...)
	report(t, p.URL, newWebhook("11200", "in flight"))
	within(t, "the send begins", func() bool { return twilio.Attempts() == 1 })
	begin := time.Now()
	p.stop(t)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if n := rows(databaseIn(dir), "sms WHERE status = 'sent'"); n != 1 || len(twilio.Messages()) != 1 {
		t.Errorf("Twilio got %d SMS, %d noted as sent; want 1 and 1", len(twilio.Messages()), n)
	}
}
