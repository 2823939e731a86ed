package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"twilio-error-sms/internal/twiliotest"
)

// Secrets of the runs below.
const (
	apiSecret     = "SecretOfTheApiKey0123456789abcde"
	oldToken      = "7e6d5c4b3a2918070f1e2d3c4b5a6978"
	adminPassword = "the operator's own words"
)

func secretSettings(twilio string, more ...string) []string {
	return sending(twilio, append([]string{
		"WEBHOOK_AUTH_TOKENS=" + oldToken, "ALERT_FROM=+15551239999", "ALERT_TO=+15551230001,+15551230002",
		"ADMIN_ADDR=127.0.0.1:0", "ADMIN_PASSWORD=" + adminPassword, "LOG_LEVEL=debug", "SMS_PER_HOUR=",
	}, more...)...)
}

// badRun is a run in which everything goes wrong that Twilio and strangers
// can get wrong. It returns the program when it has ended.
func badRun(t *testing.T) *process {
	twilio := twiliotest.New(t)
	twilio.Fault = func(n int, _ url.Values) twiliotest.Fault {
		return map[int]twiliotest.Fault{1: twiliotest.InvalidNumber, 2: twiliotest.Unsubscribed, 3: twiliotest.TooManyRequests, 4: twiliotest.BadGateway, 5: twiliotest.Reset}[n]
	}
	payload, err := os.ReadFile("../alert/testdata/payloads/debugger-phone-numbers-in-msg.form")
	if err != nil {
		t.Fatal(err)
	}
	debugger, err := url.ParseQuery(strings.TrimSpace(string(payload)))
	if err != nil {
		t.Fatal(err)
	}
	numbers := url.Values{"ErrorCode": {"30003"}, "Description": {"no route to +15551230001"}, "To": {"+15551230001"}, "Body": {"my secret code is 4711"}}
	p := startProgram(t, t.TempDir(), secretSettings(twilio.URL)...)
	post := func(path, token string, form url.Values, want int) {
		t.Helper()
		if answer, text, err := postForm(http.DefaultClient, p.URL, path, token, form); err != nil || answer.StatusCode != want {
			t.Errorf("%s: got %v %q %v, want %d", path, answer, text, err, want)
		}
	}
	post("/error_trigger", twiliotest.AuthToken, url.Values{"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}}, 200)
	post("/error_trigger", oldToken, debugger, 200)
	post("/error_trigger?"+url.Values{"Description": {"+15551230002 is busy"}}.Encode(), twiliotest.AuthToken, url.Values{"ErrorCode": {"13226"}}, 200)
	post("/error_trigger?"+numbers.Encode(), "", numbers, 403)
	post("/error_trigger", "wrong", numbers, 403)
	post("/error_trigger", twiliotest.AuthToken, url.Values{"From": numbers["To"], "Body": numbers["Body"]}, 400)
	post("/message_status", twiliotest.AuthToken, numbers, 400)
	post("/nowhere", "", numbers, 404)
	sent := p.waitForLines(t, "SMS sent", 1)[0]
	for path, sid := range map[string]any{"/message_status?sms=" + sent["sms"].(string): sent["sid"], "/message_status": twiliotest.NewSID("SM")} {
		post(path, twiliotest.AuthToken, url.Values{"MessageSid": {sid.(string)}, "MessageStatus": {"undelivered"}, "ErrorCode": {"30005"}, "To": {"+15551230001"}, "From": {"+15551239999"}}, 204)
	}
	for _, password := range []string{"wrong words", adminPassword} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.address(t, "operator's page"), nil)
		r.SetBasicAuth("operator", password)
		if answer, err := http.DefaultClient.Do(r); err != nil || (answer.StatusCode == 200) != (password == adminPassword) {
			t.Errorf("page by %q: %v, %v", password, answer, err)
		}
	}
	p.waitForLines(t, "SMS failed, nobody will get it", 2)
	p.stop(t)
	return p
}

// withAPIKey is a run with a key that may not send.
func withAPIKey(t *testing.T) *process {
	p := startProgram(t, t.TempDir(), secretSettings(twiliotest.New(t).URL, "TWILIO_API_KEY="+twiliotest.APIKey, "TWILIO_API_SECRET="+apiSecret)...)
	report(t, p.URL, newWebhook("11200", "HTTP retrieval failure"))
	p.waitForLines(t, "SMS not sent, it waits until the cause is fixed", 2)
	p.stop(t)
	return p
}

func TestLogs(t *testing.T) {
	t.Parallel()
	bad := badRun(t)
	t.Run("hold no secret", func(t *testing.T) { holdNoSecret(t, bad) })
	t.Run("read well", func(t *testing.T) { readWell(t, bad) })
	t.Run("hold no secret of an API key", func(t *testing.T) { holdNoSecret(t, withAPIKey(t)) })
}

func holdNoSecret(t *testing.T, p *process) {
	log := p.log()
	for _, secret := range []string{
		twiliotest.AuthToken, oldToken, apiSecret, adminPassword, "4711",
		"5551230001", "5551230002", "5551239999", "5005550006", "5005550009", "5005550010", "555-0011",
	} {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("the log holds %q: …%s…", secret, log[max(at-200, 0):at+len(secret)])
		}
	}
}

func readWell(t *testing.T, p *process) {
	var got []string
	for _, line := range p.lines(t, "request") {
		if line["seconds"] == nil || line["method"] != "POST" {
			t.Errorf("incomplete: %v", line)
		}
		got = append(got, fmt.Sprintf("%v %v %v %v | %v", line["level"], line["path"], line["status"], line["kind"], firstOf(line, "decided", "refused", "sms_status")))
	}
	want := []string{
		"INFO /error_trigger 200 alarm | An error on your Twilio app occurred! 11200 HTTP retrieval failure https://www.twilio.com/docs/api/errors/11200",
		"INFO /error_trigger 200 debugger | ", // about a message: it may wait for the SMS before it
		"INFO /error_trigger 200 alarm | ",
		"WARN /error_trigger 403 unread | missing or wrong X-Twilio-Signature",
		"WARN /error_trigger 403 unread | missing or wrong X-Twilio-Signature",
		"WARN /error_trigger 400 unread | ",
		"WARN /message_status 400 status | missing MessageSid or MessageStatus",
		"WARN /nowhere 404 <nil> | ",
		"INFO /message_status 204 status | undelivered",
		"INFO /message_status 204 status | undelivered",
	}
	for i := range want {
		if len(got) != len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("requests read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, line := range append(p.lines(t, "SMS sent"), p.lines(t, "SMS failed, nobody will get it")...) {
		if to, _ := line["to"].(string); to != "...0001" && to != "...0002" {
			t.Errorf("to %q in %v", to, line)
		}
	}
	if lines := p.lines(t, "SMS not delivered"); len(lines) != 1 || lines[0]["code"] != "30005" || lines[0]["to"] != "...0001" {
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
