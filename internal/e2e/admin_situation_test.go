package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// badDay is what Twilio reported in the 23 hours before now: each code at its
// hours of the day, a delivery for each hour.
func badDay(now time.Time) (deliveries [][]map[string]any) {
	codes := []struct {
		code, description, level string
		byHour                   string // how many in each of the last 24 hours, 0 to 9
	}{
		{"11200", "An attempt to retrieve content from https://app.example.com/voice returned the HTTP status code 502", "ERROR", "000012224689975310000112"},
		{"30007", "Message delivery - Carrier violation", "ERROR", "110101020113124322110100"},
		{"12100", "Document parse failure", "ERROR", "000000003332000000000000"},
		{"32009", "The user you tried to dial is not registered with the corresponding SIP Domain", "ERROR", "010010010010010010010010"},
		{"30003", "Unreachable destination handset", "ERROR", "010101010101010101010101"},
		{"13226", "Dial: Invalid country code", "WARNING", "000000210000000001000000"},
		{"21610", "Attempt to send to unsubscribed recipient", "ERROR", "000100000000000100000000"},
		{"", "Something without a code", "ERROR", "000000000000000000000001"},
	}
	first := now.Truncate(time.Hour).Add(-23 * time.Hour)
	for hour := range 24 {
		var events []map[string]any
		for _, c := range codes {
			for range c.byHour[hour] - '0' {
				w := newWebhook(c.code, c.description)
				w.level, w.at = c.level, first.Add(time.Duration(hour)*time.Hour)
				events = append(events, w.cloudEvent())
			}
		}
		if len(events) > 0 {
			deliveries = append(deliveries, events)
		}
	}
	return deliveries
}

// hostile are descriptions that would break a page that trusts them.
func hostile() []map[string]any {
	var events []map[string]any
	for i, description := range []string{
		`<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">`,
		strings.Repeat("W", 10_000),
		"\u202Egnp.exe evil \u2067 isolated \u2066 forever",
		"</bdi></td></table><style>body{display:none}</style>",
		"Ünïcödé 日本語 שלום " + strings.Repeat("e\u0301\u0302\u0303", 300),
	} {
		events = append(events, newWebhook(fmt.Sprint(90001+i), description).cloudEvent())
	}
	// The type of an event that is not an error is part of the decision.
	return append(events, map[string]any{"specversion": "1.0", "id": "1", "type": strings.Repeat("W", 10_000)})
}

// situation is what the page can be found in.
type situation string

const (
	healthy  situation = "healthy"
	degraded situation = "degraded" // SMS ended in every way there is
	problem  situation = "problem"  // Twilio refuses all SMS
	empty    situation = "empty"    // nothing came
)

// faults returns what goes wrong with SMS. An SMS goes wrong in the same way
// each time.
func (s situation) faults() func(n int, form url.Values) twiliotest.Fault {
	var mu sync.Mutex
	faults := make(map[string]twiliotest.Fault) // by recipient and text
	return func(n int, form url.Values) twiliotest.Fault {
		mu.Lock()
		defer mu.Unlock()
		switch s {
		case problem:
			return twiliotest.Unauthorized
		case healthy:
			return ""
		}
		sms := form.Get("To") + form.Get("Body")
		if _, again := faults[sms]; !again {
			faults[sms] = map[int]twiliotest.Fault{3: twiliotest.Unsubscribed, 5: twiliotest.TooManyRequests}[n]
		}
		return faults[sms]
	}
}

// startIn starts the program, and has Twilio report deliveries, an alarm, and
// what became of the SMS in a situation. It returns the program, whose operator's
// page shows all that.
func startIn(t *testing.T, s situation, deliveries [][]map[string]any, env ...string) *process {
	twilio := twiliotest.New(t)
	twilio.Fault = s.faults()
	dir := t.TempDir()
	p := startProgram(t, dir, sending(twilio.URL, append([]string{
		"ADMIN_ADDR=127.0.0.1:0", "ALERT_TO=+15551230001,+15551230002", "SMS_PER_HOUR=100",
		"TRIGGERS=* at 1,10,100 daily; 13226 every 5; 11200 at 5 hourly; any at 100,1000 daily; 30003,30005 never",
	}, env...)...)...)
	if s == empty {
		return p
	}
	for _, events := range deliveries {
		body, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		if answer, text, err := postJSON(http.DefaultClient, p.URL, "/error_trigger", string(body)); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%v %q %v", answer, text, err)
		}
	}
	if answer, text, err := postForm(http.DefaultClient, p.URL, "/error_trigger", twiliotest.AuthToken, url.Values{"AccountSid": {twiliotest.AccountSID},
		"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}, "CurrentValue": {"42"}, "TimePeriod": {"ONE_HOUR"}}); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v %q %v", answer, text, err)
	}
	within(t, "every SMS was tried", func() bool {
		return rows(databaseIn(dir), "sms WHERE status = 'sending' OR status = 'pending' AND attempts = 0") == 0
	})
	s.callBack(t, p, twilio)
	page, events := p.page(t), rows(databaseIn(dir), "events WHERE kind <> 'other'")
	within(t, "the chart shows all events", func() bool {
		_, text := get(t, page)
		return strings.Contains(text, fmt.Sprintf(`"%d errors by hour`, events))
	})
	return p
}

// callBack reports what became of the SMS that twilio accepted.
func (s situation) callBack(t *testing.T, p *process, twilio *twiliotest.Server) {
	for i, m := range twilio.Messages() {
		report := url.Values{"MessageSid": {m.SID}, "MessageStatus": {"delivered"}}
		switch {
		case s == degraded && i == 2:
			continue // no news of it yet
		case s == degraded && i == 4:
			report.Set("MessageStatus", "undelivered")
			report.Set("ErrorCode", "30005")
		}
		callback, err := url.Parse(m.Form.Get("StatusCallback"))
		if err != nil {
			t.Fatal(err)
		}
		if answer, text, err := postForm(http.DefaultClient, p.URL, callback.RequestURI(), twiliotest.AuthToken, report); err != nil || answer.StatusCode != http.StatusNoContent {
			t.Fatalf("%v %q %v", answer, text, err)
		}
	}
}

// page returns the address of the operator's page.
func (p *process) page(t testing.TB) string { return p.address(t, "operator's page") + "/" }
