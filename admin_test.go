package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// adminConfig returns the settings of a server with an operator's page.
func adminConfig(t testing.TB, env map[string]string) Config {
	t.Helper()
	all := map[string]string{
		"DRY_RUN": "true", "ADMIN_ADDR": "127.0.0.1:0", "ALERT_TO": "+15551230001,+15551230002", "ALERT_FROM": "+15005550006", "SMS_PER_HOUR": "9",
		"TRIGGERS": "* at 1,10,100 daily; 13226 every 5; 11200 at 5 hourly; any at 100,1000 daily; 30003,30005 never",
	}
	for name, value := range env {
		all[name] = value
	}
	return testConfig(t, all)
}

// operator is phones that answer in every way there is, by the number of the
// attempt.
type operator struct{ n chan int }

func (o operator) Send(_ context.Context, _ alert.SMS) (string, error) {
	n := <-o.n
	o.n <- n + 1
	switch n {
	case 3:
		return "", &alert.SendError{Outcome: alert.Refused, Code: "21610", Err: errors.New("unsubscribed")}
	case 5:
		return "", &alert.SendError{Outcome: alert.NotAccepted, RetryAfter: time.Hour, Err: errors.New("dial tcp: connection refused")}
	}
	return twiliotest.NewSID("SM"), nil
}

// seeded returns an outbox after a bad day, and its settings.
func seeded(t testing.TB, env map[string]string) (*outbox.Outbox, Config, *Metrics) {
	t.Helper()
	config, metrics := adminConfig(t, env), NewMetrics()
	options := outboxOptions(config, slog.New(slog.DiscardHandler))
	options.Observer = metrics
	box, err := outbox.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	recorded := int64(0)
	for _, events := range badDay(time.Now().UTC()) {
		recorded += int64(len(events))
		if _, err := box.Record(ctx, events); err != nil {
			t.Fatal(err)
		}
	}
	numbers := make(chan int, 1)
	numbers <- 1
	done := make(chan struct{})
	go func() {
		outbox.NewWorker(box, operator{numbers}).Run(ctx)
		close(done)
	}()
	deliverAll(t, box, recorded)
	stop()
	<-done
	return box, config, metrics
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
		history, err := box.History(t.Context(), time.Now(), 100)
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
	box, open, metrics := seeded(t, nil)
	closed := open
	closed.AdminPassword = "correct horse"
	logger := slog.New(slog.DiscardHandler)
	as := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anybody", password) }
	}
	named := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	tests := []struct {
		name   string
		config Config
		change func(*http.Request)
		want   int
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
				answer := ask(NewAdmin(test.config, box, metrics, logger), path, test.change)
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
	box, config, metrics := seeded(t, nil)
	answer := ask(NewAdmin(config, box, metrics, slog.New(slog.DiscardHandler)), "/", nil)
	body := answer.Body.String()
	for _, want := range []string{
		"✓ Well:", "…0001", "…0002", "13226 every 5 daily", "alerted", "never alerts", "21610", "connection refused", "held back by SMS_PER_HOUR",
		`href="https://www.twilio.com/docs/api/errors/30005"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, secret := range []string{"15551230001", "15551230002", "<script", "http://", "src="} {
		if strings.Contains(body, secret) {
			t.Errorf("the page has %q", secret)
		}
	}
	if missing := ask(NewAdmin(config, box, metrics, slog.New(slog.DiscardHandler)), "/favicon.ico", nil); missing.Code != http.StatusNotFound {
		t.Errorf("/favicon.ico: %d", missing.Code)
	}
}

func TestPageOfAnEmptyOutbox(t *testing.T) {
	t.Parallel()
	config := adminConfig(t, nil)
	box, err := outbox.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), outboxOptions(config, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	answer := ask(NewAdmin(config, box, NewMetrics(), slog.New(slog.DiscardHandler)), "/", nil)
	if body := answer.Body.String(); answer.Code != http.StatusOK || strings.Count(body, "None yet.") != 2 || !strings.Contains(body, "No errors.") {
		t.Errorf("answer %d:\n%s", answer.Code, body)
	}
}

// The policy allows the one style sheet that the page has, and nothing else.
func TestPageAllowsItsOwnStyleOnly(t *testing.T) {
	t.Parallel()
	box, config, metrics := seeded(t, nil)
	answer := ask(NewAdmin(config, box, metrics, slog.New(slog.DiscardHandler)), "/", nil)
	_, rest, _ := strings.Cut(answer.Body.String(), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	if !ok {
		t.Fatal("no style sheet")
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := answer.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy\n%s, want\n%s", got, want)
	}
}

// brokenOutbox cannot be read.
type brokenOutbox struct{}

func (brokenOutbox) Health(context.Context) outbox.Health {
	return outbox.Health{Problem: "the disk is full"}
}
func (brokenOutbox) Backlog(context.Context) (outbox.Backlog, error) {
	return outbox.Backlog{}, io.ErrUnexpectedEOF
}
func (brokenOutbox) History(context.Context, time.Time, int) (outbox.History, error) {
	return outbox.History{}, io.ErrUnexpectedEOF
}

func TestAdminWithoutOutbox(t *testing.T) {
	t.Parallel()
	handler := NewAdmin(adminConfig(t, nil), brokenOutbox{}, NewMetrics(), slog.New(slog.DiscardHandler))
	if answer := ask(handler, "/", nil); answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "the disk is full") {
		t.Errorf("page: %d %s", answer.Code, answer.Body)
	}
	answer := ask(handler, "/metrics", nil)
	if body := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(body, "twilio_error_sms_webhooks_total") || strings.Contains(body, "messages_waiting") {
		t.Errorf("metrics: %d\n%s", answer.Code, body)
	}
}

func TestCeiling(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]int64{0: 2, 1: 2, 2: 2, 3: 4, 5: 6, 7: 8, 9: 10, 10: 10, 11: 12, 14: 16, 99: 100, 101: 120, 61_000: 80_000, 81_000: 100_000} {
		if got := ceiling(n); got != want {
			t.Errorf("ceiling(%d) = %d, want %d", n, got, want)
		}
	}
}

// marked is an outbox in which a catch-up reader left its mark.
type marked struct{ brokenOutbox }

func (marked) Backlog(context.Context) (outbox.Backlog, error) {
	return outbox.Backlog{CaughtUp: time.Now().Add(-time.Hour)}, nil
}

func (marked) History(context.Context, time.Time, int) (outbox.History, error) {
	return outbox.History{}, nil
}

func TestCatchUpLag(t *testing.T) {
	t.Parallel()
	for every, want := range map[string]bool{"off": false, "5m": true} {
		handler := NewAdmin(adminConfig(t, map[string]string{"POLL_EVERY": every, "TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken}),
			marked{}, NewMetrics(), slog.New(slog.DiscardHandler))
		if got := strings.Contains(ask(handler, "/metrics", nil).Body.String(), "\ntwilio_error_sms_catch_up_lag_seconds 36"); got != want {
			t.Errorf("POLL_EVERY=%s: metrics tell of the lag: %t", every, got)
		}
		if got := strings.Contains(ask(handler, "/", nil).Body.String(), "log read until"); got != want {
			t.Errorf("POLL_EVERY=%s: the page tells up to when: %t", every, got)
		}
	}
}
