package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// adminConfig returns the settings of a server with an operator's page.
func adminConfig(t testing.TB, env map[string]string) config.Config {
	t.Helper()
	all := map[string]string{
		"DRY_RUN": "true", "ADMIN_ADDR": "127.0.0.1:0", "ALERT_TO": "+15551230001,+15551230002", "ALERT_FROM": "+15005550006", "SMS_PER_HOUR": "9",
		"TRIGGERS": "* at 1,10,100 daily; 13226 every 5; 11200 at 5 hourly; any at 100,1000 daily; 30003,30005 never",
	}
	for name, value := range env {
		all[name] = value
	}
	settings, err := config.Load(func(name string) string { return all[name] })
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// phones answer in every way there is, by the number of the attempt.
type phones struct{ attempts atomic.Int64 }

func (p *phones) Send(context.Context, alert.SMS) (string, error) {
	switch p.attempts.Add(1) {
	case 3:
		return "", &alert.SendError{Outcome: alert.Refused, Code: "21610", Err: errors.New("unsubscribed")}
	case 5:
		return "", &alert.SendError{Outcome: alert.NotAccepted, RetryAfter: time.Hour, Err: errors.New("dial tcp: connection refused")}
	}
	return twiliotest.NewSID("SM"), nil
}

// openOutbox opens an outbox in a folder of its own.
func openOutbox(t testing.TB, options outbox.Options) *outbox.Outbox {
	t.Helper()
	options.Logger = slog.New(slog.DiscardHandler)
	box, err := outbox.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// newPage returns what the operator's listener serves of box.
func newPage(settings config.Config, box *outbox.Outbox, measured *metrics.Metrics) http.Handler {
	return New(settings, box, box.Health, measured, slog.New(slog.DiscardHandler))
}

// seeded returns an outbox after a bad day, and its settings.
func seeded(t testing.TB) (*outbox.Outbox, config.Config, *metrics.Metrics) {
	t.Helper()
	settings, measured := adminConfig(t, nil), metrics.New()
	settings.Outbox.Observer = measured
	box := openOutbox(t, settings.Outbox)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	recorded := int64(0)
	for _, events := range badDay(time.Now().UTC()) {
		recorded += int64(len(events))
		if _, err := box.Record(ctx, events); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		outbox.NewWorker(box, new(phones)).Run(ctx)
		close(done)
	}()
	deliverAll(t, box, recorded)
	stop()
	<-done
	return box, settings, measured
}

// badDay is what Twilio reported in the 23 hours before now: each code at its
// hours of the day, a delivery for each hour.
func badDay(now time.Time) [][]alert.Event {
	codes := []struct {
		code, description string
		level             alert.Level
		byHour            string // how many in each of the last 24 hours, 0 to 9
	}{
		{"11200", "An attempt to retrieve content from https://app.example.com/voice returned the HTTP status code 502", alert.Error, "000012224689975310000112"},
		{"30007", "Message delivery - Carrier violation", alert.Error, "110101020113124322110100"},
		{"12100", "Document parse failure", alert.Error, "000000003332000000000000"},
		{"32009", "The user you tried to dial is not registered with the corresponding SIP Domain", alert.Error, "010010010010010010010010"},
		{"30003", "Unreachable destination handset", alert.Error, "010101010101010101010101"},
		{"13226", "Dial: Invalid country code", alert.Warning, "000000210000000001000000"},
		{"21610", "Attempt to send to unsubscribed recipient", alert.Error, "000100000000000100000000"},
		{"", "Something without a code", alert.Error, "000000000000000000000001"},
	}
	first := now.Truncate(time.Hour).Add(-23 * time.Hour)
	var day [][]alert.Event
	for hour := range 24 {
		var events []alert.Event
		for _, c := range codes {
			for range c.byHour[hour] - '0' {
				events = append(events, alert.Event{
					ID: twiliotest.NewSID("NO"), Kind: alert.Debugger, Account: twiliotest.AccountSID, Code: c.code, Level: c.level,
					Description: c.description, Resource: twiliotest.NewSID("CA"), Time: first.Add(time.Duration(hour) * time.Hour),
				})
			}
		}
		day = append(day, events)
	}
	alarm := alert.Event{Kind: alert.Alarm, Account: twiliotest.AccountSID, Code: "11200", Level: alert.Error, Description: "HTTP retrieval failure", Count: 42, Period: "ONE_HOUR", Time: now}
	return append(day, []alert.Event{alarm})
}

// deliverAll waits until every SMS had its attempt and the chart shows what was
// recorded, and reports deliveries.
func deliverAll(t testing.TB, box *outbox.Outbox, recorded int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		history, err := box.History(t.Context(), time.Now(), outbox.Filter{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		missing := recorded
		for _, hour := range history.Hours {
			missing -= hour.N
		}
		for _, sms := range history.SMS {
			if sms.Status == outbox.Sending || sms.Status == outbox.Pending && sms.Attempts == 0 {
				missing++
			}
		}
		if missing > 0 && time.Now().Before(deadline) {
			continue
		}
		if missing > 0 {
			t.Fatalf("%d errors are not in the chart, or SMS had no attempt", missing)
		}
		accepted := 0
		for _, sms := range history.SMS {
			if sms.SID == "" {
				continue
			}
			report := alert.Report{ID: sms.ID, SID: sms.SID, Status: "delivered"}
			switch accepted++; accepted {
			case 3:
				continue // no news of it yet
			case 5:
				report.Status, report.Code = "undelivered", "30005"
			}
			if _, err := box.Deliver(t.Context(), report); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
}

// ask asks the handler for a path.
func ask(handler http.Handler, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9090"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestAdminAsksWho(t *testing.T) {
	t.Parallel()
	box, open, measured := seeded(t)
	closed := open
	closed.AdminPassword = "correct horse"
	as := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anybody", password) }
	}
	named := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	tests := []struct {
		name     string
		settings config.Config
		change   func(*http.Request)
		want     int
	}{
		{"no password set, on this machine", open, nil, 200},
		{"no password set, by localhost", open, named("localhost:9090"), 200},
		{"no password set, by IPv6", open, named("[::1]:9090"), 200},
		{"no password set, by IPv6 without a port", open, named("[::1]"), 200},
		{"a stranger's name for 127.0.0.1", open, named("evil.example.com:9090"), 403},
		{"no password given", closed, nil, 401},
		{"right password", closed, as("correct horse"), 200},
		{"right password, any name", closed, func(r *http.Request) { r.Host = "alerts.internal"; as("correct horse")(r) }, 200},
		{"wrong password", closed, as("correct hors"), 401},
		{"empty password", closed, as(""), 401},
		{"no basic auth", closed, func(r *http.Request) { r.Header.Set("Authorization", "Bearer correct horse") }, 401},
		{"posted", open, func(r *http.Request) { r.Method = http.MethodPost }, 405},
	}
	for _, test := range tests {
		for _, path := range []string{"/", "/metrics"} {
			t.Run(test.name+" "+path, func(t *testing.T) {
				t.Parallel()
				answer := ask(newPage(test.settings, box, measured), path, test.change)
				if answer.Code != test.want {
					t.Errorf("answer %d, want %d", answer.Code, test.want)
				}
				if asks := answer.Header().Get("WWW-Authenticate") != ""; asks != (test.want == 401) {
					t.Errorf("asks for a password: %t", asks)
				}
			})
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	box, settings, measured := seeded(t)
	answer := ask(newPage(settings, box, measured), "/", nil)
	body := answer.Body.String()
	for _, want := range []string{
		"! degraded", "<b>…0001</b>\nlast delivered", "…0002", "13226 every 5 daily", "alerted", "never alerts", "its summary is due at", " summary",
		`failed in the last day</bdi>: error <a class="code" href="https://www.twilio.com/docs/api/errors/21610">21610</a> (Attempt to send to unsubscribed recipient)`,
		`href="https://www.twilio.com/docs/api/errors/30005"`, `href="https://www.twilio.com/console/debugger/NO`, `href="https://www.twilio.com/console/voice/calls/logs/CA`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, secret := range []string{"15551230001", "15551230002", "src=", " UTC UTC"} {
		if strings.Contains(body, secret) {
			t.Errorf("the page has %q", secret)
		}
	}
	const refresh = `<noscript><meta http-equiv="refresh" content="30"></noscript>`
	paused := ask(newPage(settings, box, measured), "/?paused=yes&code=30007", nil).Body.String()
	if !strings.Contains(body, refresh) || strings.Contains(paused, refresh) || !strings.Contains(paused, `href="?code=30007&amp;paused=">go on</a>`) {
		t.Error("without a script the page refreshes when paused, or not at all")
	}
	if missing := ask(newPage(settings, box, measured), "/favicon.ico", nil); missing.Code != http.StatusNotFound {
		t.Errorf("/favicon.ico: %d", missing.Code)
	}
}

// What the outbox reports arrives in the metrics.
func TestMetricsOfABadDay(t *testing.T) {
	t.Parallel()
	box, settings, measured := seeded(t)
	text := ask(newPage(settings, box, measured), "/metrics", nil).Body.String()
	for _, want := range []string{
		`events_total{code="12100",level="error"} 11`,
		`events_total{code="13226",level="warning"} 4`,
		`send_attempts_total{outcome="failed",error_code="21610"} 1`,
		`send_attempts_total{outcome="retry",error_code="none"} 1`,
		`deliveries_total{outcome="undelivered",error_code="30005"} 1`,
		`alert_delay_seconds_bucket{le="86400"} `,
	} {
		if !strings.Contains(text, "\ntwilio_error_sms_"+want) {
			t.Errorf("lacks %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "alert_delay_seconds_sum 0\n") {
		t.Error("alerts of hours ago were not late")
	}
}

func TestPageOfAnEmptyOutbox(t *testing.T) {
	t.Parallel()
	account := map[string]string{"TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken}
	with := func(name, value string) map[string]string {
		all := maps.Clone(account)
		all[name] = value
		return all
	}
	for want, env := range map[string]map[string]string{
		"https://alerts.example.com/error_trigger":        with("PUBLIC_URL", "https://alerts.example.com"),
		"reads Twilio’s error log every 5m0s":             with("POLL_EVERY", "5m"),
		"Set <code>PUBLIC_URL</code> to the address":      nil,
		"<code>twilio-error-sms mock</code>":              nil,
		"No webhook from Twilio yet":                      nil,
		"<code>30003,30005 never</code>":                  nil,
		"<b>…0002</b>\nno alert sent yet":                 nil,
		"<code>* at 1,10,100 daily</code><span":           nil,
		"nothing counted in this period":                  nil,
		`value="tomorrow">until tomorrow 00:00 UTC</opti`: nil,
	} {
		settings := adminConfig(t, env)
		answer := ask(newPage(settings, openOutbox(t, settings.Outbox), metrics.New()), "/", nil)
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), want) {
			t.Errorf("answer %d lacks %q", answer.Code, want)
		}
	}
}

// The policy allows the one style sheet and the one script that the page has,
// and nothing else.
func TestPageAllowsItsOwnStyleAndScriptOnly(t *testing.T) {
	t.Parallel()
	box, settings, measured := seeded(t)
	answer := ask(newPage(settings, box, measured), "/", nil)
	sourceOf := func(element string) string {
		_, rest, _ := strings.Cut(answer.Body.String(), "<"+element+">")
		text, _, ok := strings.Cut(rest, "</"+element+">")
		if !ok {
			t.Fatalf("no %s", element)
		}
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	want := "default-src 'none'; style-src " + sourceOf("style") + "; script-src " + sourceOf("script") +
		"; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if got := answer.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy\n%s, want\n%s", got, want)
	}
}

func TestAdminWithoutOutbox(t *testing.T) {
	t.Parallel()
	full := func(context.Context) outbox.Health { return outbox.Health{Problem: "the disk is full"} }
	settings := adminConfig(t, nil)
	box := openOutbox(t, settings.Outbox)
	box.Close()
	handler := New(settings, box, full, metrics.New(), slog.New(slog.DiscardHandler))
	if answer := ask(handler, "/", nil); answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "the disk is full") {
		t.Errorf("page: %d %s", answer.Code, answer.Body)
	}
	answer := ask(handler, "/metrics", nil)
	if body := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(body, "twilio_error_sms_webhooks_total") || strings.Contains(body, "messages_waiting") {
		t.Errorf("metrics: %d\n%s", answer.Code, body)
	}
}

// healthy is the health of an outbox that works.
func healthy(context.Context) outbox.Health { return outbox.Health{} }

func TestCatchUpLag(t *testing.T) {
	t.Parallel()
	for every, want := range map[string]bool{"off": false, "5m": true} {
		settings := adminConfig(t, map[string]string{"POLL_EVERY": every, "TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken})
		box := openOutbox(t, settings.Outbox)
		if _, _, err := box.Mark("catch-up "+twiliotest.AccountSID).Take(t.Context(), time.Now().Add(-time.Hour), time.Minute); err != nil {
			t.Fatal(err)
		}
		handler := New(settings, box, healthy, metrics.New(), slog.New(slog.DiscardHandler))
		if got := strings.Contains(ask(handler, "/metrics", nil).Body.String(), "\ntwilio_error_sms_catch_up_lag_seconds 36"); got != want {
			t.Errorf("POLL_EVERY=%s: metrics tell of the lag: %t", every, got)
		}
		page := ask(handler, "/", nil).Body.String()
		if got := strings.Contains(page, "read until"); got != want {
			t.Errorf("POLL_EVERY=%s: the page tells up to when: %t", every, got)
		}
		if got := strings.Contains(page, "<title>! degraded"); got != want {
			t.Errorf("POLL_EVERY=%s: the page is degraded: %t", every, got)
		}
	}
}
