package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// logOutput collects what a program logs.
type logOutput struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *logOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *logOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the lines of a log with a message.
func (o *logOutput) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(o.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("a line of the log is no JSON: %q", line)
		}
		if entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// wait waits until the log has n lines with a message, and returns them.
func (o *logOutput) wait(t *testing.T, message string, n int) []map[string]any {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if found := o.lines(t, message); len(found) >= n {
			return found
		}
	}
	t.Fatalf("no %d lines %q in\n%s", n, message, o)
	return nil
}

// logged runs the whole program, does what happens with the addresses of its
// two listeners, and returns the log of it all once the program has ended.
func logged(t *testing.T, env map[string]string, happens func(log *logOutput, public, admin string)) *logOutput {
	t.Helper()
	var log logOutput
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, nil, func(name string) string { return env[name] }, io.Discard, &log)
	}()
	public := log.wait(t, "listening", 1)[0]["addr"].(string)
	admin := log.wait(t, "operator's page", 1)[0]["addr"].(string)
	happens(&log, "http://"+public, "http://"+admin)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return &log
}

// postForm posts a form and returns its status. With a token it is signed, as
// of the public URL.
func postForm(t *testing.T, address, path, token string, form url.Values) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("X-Twilio-Signature", sign(token, "https://alerts.example.com"+path, form))
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// Secrets of the runs below.
const (
	apiSecret     = "SecretOfTheApiKey0123456789abcde"
	oldToken      = "7e6d5c4b3a2918070f1e2d3c4b5a6978"
	adminPassword = "the operator's own words"
)

func secretSettings(t *testing.T, twilio string) map[string]string {
	return map[string]string{
		"TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken, "WEBHOOK_AUTH_TOKENS": oldToken, "TWILIO_BASE_URL": twilio,
		"ALERT_FROM": "+15551239999", "ALERT_TO": "+15551230001,+15551230002", "PUBLIC_URL": "https://alerts.example.com",
		"ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "ADMIN_PASSWORD": adminPassword, "LOG_LEVEL": "debug",
		"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "alerts.db"), "TRIGGERS": "* every 1",
	}
}

// badRun is a run in which everything goes wrong that Twilio and strangers
// can get wrong.
func badRun(t *testing.T) *logOutput {
	twilio := twiliotest.New(t)
	twilio.Fault = func(n int, _ url.Values) twiliotest.Fault {
		return map[int]twiliotest.Fault{1: twiliotest.InvalidNumber, 2: twiliotest.Unsubscribed, 3: twiliotest.TooManyRequests, 4: twiliotest.BadGateway, 5: twiliotest.Reset}[n]
	}
	payload, err := os.ReadFile("internal/alert/testdata/payloads/debugger-phone-numbers-in-msg.form")
	if err != nil {
		t.Fatal(err)
	}
	debugger, err := url.ParseQuery(strings.TrimSpace(string(payload)))
	if err != nil {
		t.Fatal(err)
	}
	numbers := url.Values{"ErrorCode": {"30003"}, "Description": {"no route to +15551230001"}, "To": {"+15551230001"}, "Body": {"my secret code is 4711"}}
	return logged(t, secretSettings(t, twilio.URL), func(log *logOutput, public, admin string) {
		requests := []struct {
			path, token string
			form        url.Values
			want        int
		}{
			{"/error_trigger", twiliotest.AuthToken, url.Values{"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}}, 200},
			{"/error_trigger", oldToken, debugger, 200},
			{"/error_trigger?" + url.Values{"Description": {"+15551230002 is busy"}}.Encode(), twiliotest.AuthToken, url.Values{"ErrorCode": {"13226"}}, 200},
			{"/error_trigger?" + numbers.Encode(), "", numbers, 403},
			{"/error_trigger", "wrong", numbers, 403},
			{"/error_trigger", twiliotest.AuthToken, url.Values{"From": numbers["To"], "Body": numbers["Body"]}, 400},
			{"/message_status", twiliotest.AuthToken, numbers, 400},
			{"/" + "nowhere", "", numbers, 404},
		}
		for _, r := range requests {
			if got := postForm(t, public, r.path, r.token, r.form); got != r.want {
				t.Errorf("%s: status %d, want %d", r.path, got, r.want)
			}
		}
		sent := log.wait(t, "SMS sent", 1)[0]
		for path, sid := range map[string]any{"/message_status?sms=" + sent["sms"].(string): sent["sid"], "/message_status": twiliotest.NewSID("SM")} {
			report := url.Values{"MessageSid": {sid.(string)}, "MessageStatus": {"undelivered"}, "ErrorCode": {"30005"}, "To": {"+15551230001"}, "From": {"+15551239999"}}
			if got := postForm(t, public, path, twiliotest.AuthToken, report); got != 200 {
				t.Errorf("report: status %d", got)
			}
		}
		for _, password := range []string{"wrong words", adminPassword} {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, admin, nil)
			r.SetBasicAuth("operator", password)
			if answer, err := http.DefaultClient.Do(r); err != nil || (answer.StatusCode == 200) != (password == adminPassword) {
				t.Errorf("page by %q: %v, %v", password, answer, err)
			}
		}
		log.wait(t, "SMS failed, nobody will get it", 2)
	})
}

func TestLogsHoldNoSecret(t *testing.T) {
	t.Parallel()
	runs := map[string]*logOutput{"token": badRun(t)}
	withKey := secretSettings(t, twiliotest.New(t).URL)
	withKey["TWILIO_API_KEY"], withKey["TWILIO_API_SECRET"] = "SK0123456789abcdef0123456789abcdef", apiSecret
	runs["API key"] = logged(t, withKey, func(log *logOutput, public, _ string) {
		postForm(t, public, "/error_trigger", twiliotest.AuthToken, url.Values{"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}})
		log.wait(t, "SMS failed, nobody will get it", 2) // the stand-in knows no keys
	})
	for name, log := range runs {
		text := log.String()
		for _, secret := range []string{
			twiliotest.AuthToken, oldToken, apiSecret, adminPassword, "4711",
			"5551230001", "5551230002", "5551239999", "5005550006", "5005550009", "5005550010", "555-0011",
		} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("by %s, the log holds %q: …%s…", name, secret, text[max(at-200, 0):at+len(secret)])
			}
		}
	}
}

func TestLogsReadWell(t *testing.T) {
	t.Parallel()
	log := badRun(t)
	var got []string
	for _, line := range log.lines(t, "request") {
		if line["seconds"] == nil || line["method"] != "POST" {
			t.Errorf("incomplete: %v", line)
		}
		got = append(got, fmt.Sprintf("%v %v %v %v | %v", line["level"], line["path"], line["status"], line["kind"], firstOf(line, "decided", "refused", "sms_status")))
	}
	want := []string{
		"INFO /error_trigger 200 alarm | An error on your Twilio app occurred! 11200 HTTP retrieval failure https://www.twilio.com/docs/api/errors/11200",
		"INFO /error_trigger 200 debugger | An error on your Twilio app occurred! 21211",
		"INFO /error_trigger 200 alarm | ",
		"WARN /error_trigger 403 unread | missing or wrong X-Twilio-Signature",
		"WARN /error_trigger 403 unread | missing or wrong X-Twilio-Signature",
		"WARN /error_trigger 400 unread | ",
		"WARN /message_status 400 status | missing MessageSid or MessageStatus",
		"WARN /nowhere 404 <nil> | ",
		"INFO /message_status 200 status | undelivered",
		"INFO /message_status 200 status | undelivered",
	}
	for i := range want {
		if len(got) != len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("requests read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, line := range append(log.lines(t, "SMS sent"), log.lines(t, "SMS failed, nobody will get it")...) {
		if to, _ := line["to"].(string); to != "...0001" && to != "...0002" {
			t.Errorf("to %q in %v", to, line)
		}
	}
	if lines := log.lines(t, "SMS not delivered"); len(lines) != 1 || lines[0]["code"] != "30005" || lines[0]["to"] != "...0001" {
		t.Errorf("not delivered: %v", lines)
	}
}

// firstOf returns the first of the attributes that a line has.
func firstOf(line map[string]any, names ...string) any {
	for _, name := range names {
		if line[name] != nil {
			return line[name]
		}
	}
	return ""
}
