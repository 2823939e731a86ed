// Package admin is what the operator's listener serves: a page that shows what
// happened and what waits, and metrics for Prometheus.
package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
)

const (
	// pageRows is how many events and SMS the page shows.
	pageRows = 50
	// triggerCodes is how many codes it shows for each trigger.
	triggerCodes = 8
	// pageTimeout bounds what the page asks the outbox.
	pageTimeout = 10 * time.Second
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// Outbox is what the page reads of the outbox.
type Outbox interface {
	Backlog(ctx context.Context) (outbox.Backlog, error)
	History(ctx context.Context, now time.Time, limit int) (outbox.History, error)
}

// admin serves the operator's page.
type admin struct {
	outbox   Outbox
	health   func(context.Context) outbox.Health
	triggers alert.Triggers
	catchUp  bool // the reader of Twilio's error log runs
	template *template.Template
	logger   *slog.Logger
}

// New returns what the operator's listener serves: the page at / and metrics at
// /metrics. With ADMIN_PASSWORD it asks for the password, without it answers
// this machine's addresses only.
func New(settings config.Config, box Outbox, health func(context.Context) outbox.Health, measured *metrics.Metrics, logger *slog.Logger) http.Handler {
	a := &admin{outbox: box, health: health, triggers: settings.Outbox.Triggers, catchUp: settings.PollEvery > 0, logger: logger}
	a.template = template.Must(template.New("page").Parse(pageHTML))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.page)
	mux.Handle("GET /metrics", measured.Handler(a.backlog, logger))
	if settings.AdminPassword == "" {
		return localOnly(mux)
	}
	return authenticated(mux, settings.AdminPassword, logger)
}

// authenticated asks for the password; any user name will do.
func authenticated(next http.Handler, password string, logger *slog.Logger) http.Handler {
	want := sha256.Sum256([]byte(password)) // hashes have one length, passwords do not
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, typed, ok := r.BasicAuth()
		got := sha256.Sum256([]byte(typed))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		if ok {
			logger.Warn("wrong password for the operator's page", "from", r.RemoteAddr)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="twilio-error-sms", charset="UTF-8"`)
		http.Error(w, "the password is ADMIN_PASSWORD of the settings", http.StatusUnauthorized)
	})
}

// localOnly serves requests for localhost or an IP address. A stranger's web
// page can point its own name at 127.0.0.1 and then read, in the operator's
// browser, what is served there (DNS rebinding); but the browser sends that name.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "ask for localhost or an IP address, or set ADMIN_PASSWORD to use other names", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// backlog returns what waits in the outbox. Without a running reader the mark
// that an earlier one left there means nothing.
func (a *admin) backlog(ctx context.Context) (outbox.Backlog, error) {
	b, err := a.outbox.Backlog(ctx)
	if !a.catchUp {
		b.CaughtUp = time.Time{}
	}
	return b, err
}

// page serves the operator's page.
func (a *admin) page(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	v := pageView{Now: time.Now().UTC(), Style: template.CSS(pageCSS), Health: a.health(ctx)}
	var err error
	if v.Backlog, err = a.backlog(ctx); err == nil {
		v.History, err = a.outbox.History(ctx, v.Now, pageRows)
	}
	if err != nil {
		a.logger.Error("the operator's page cannot read the outbox", "err", err)
		http.Error(w, "the outbox cannot be read: "+v.Health.Problem, http.StatusServiceUnavailable)
		return
	}
	v.Chart = newChart(v.Hours, v.Now)
	v.Triggers = newTriggerRows(a.triggers, v.Counts, v.Now)
	var body bytes.Buffer
	if err := a.template.Execute(&body, &v); err != nil {
		a.logger.Error("the operator's page cannot be written", "err", err)
		http.Error(w, "the page cannot be written, see the log", http.StatusInternalServerError)
		return
	}
	setHeader(w.Header())
	w.Write(body.Bytes())
}

// setHeader allows the page its own style sheet, and nothing else.
func setHeader(header http.Header) {
	style := sha256.Sum256([]byte(pageCSS))
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
}

// pageView is what the template reads.
type pageView struct {
	Now     time.Time
	Style   template.CSS
	Health  outbox.Health
	Backlog outbox.Backlog
	outbox.History
	Chart    hourChart
	Triggers []triggerRow
}

// Clock writes a time, with the date if it was not today.
func (v *pageView) Clock(t time.Time) string {
	if t.Truncate(24 * time.Hour).Equal(v.Now.Truncate(24 * time.Hour)) {
		return t.Format("15:04:05")
	}
	return t.Format("Jan 2 15:04")
}

// Mask hides a phone number except its end.
func (v *pageView) Mask(number string) string {
	return strings.ReplaceAll(alert.Mask(number), "...", "…")
}

// IsCode reports whether the error of an SMS is a code of Twilio.
func (v *pageView) IsCode(s string) bool {
	return len(s) >= 3 && len(s) <= 6 && strings.Trim(s, "0123456789") == ""
}

// Outcome says what became of an SMS.
func (v *pageView) Outcome(s outbox.PastSMS) string {
	switch {
	case s.Status == outbox.Pending && s.Attempts == 0:
		return "waits to be sent"
	case s.Status == outbox.Pending:
		return fmt.Sprintf("attempt %d was refused, next at %s", s.Attempts, v.Clock(s.Next))
	case s.Status == outbox.Sending && !s.DoubtSince.IsZero():
		return "perhaps accepted: asks Twilio's log before it tries again"
	case s.Status == outbox.Sending:
		return "on its way to Twilio"
	case s.Status == outbox.Sent:
		return "accepted by Twilio"
	case s.Status == outbox.Held:
		return "held back by SMS_PER_HOUR, told in a summary"
	case s.Status == outbox.Failed:
		return "not accepted by Twilio, given up"
	case s.Status == outbox.Undelivered:
		return "did not reach the phone"
	}
	return "reached the phone"
}

// Settled reports whether a status tells what became of an SMS. Waiting and held
// SMS have their own figures.
func (v *pageView) Settled(s outbox.Status) bool {
	return s != outbox.Pending && s != outbox.Sending && s != outbox.Held
}

// Oldest says how long the oldest SMS has waited.
func (v *pageView) Oldest() string { return v.Now.Sub(v.Backlog.Oldest).Round(time.Second).String() }

// triggerRow is a trigger and how far its counters are.
type triggerRow struct {
	Text      string
	Standings []alert.Standing
	More      int // counters that are not shown
}

// newTriggerRows returns how far the counters of each trigger are. It names
// accounts only if there are several.
func newTriggerRows(triggers alert.Triggers, tallies map[alert.Counter]alert.Tally, now time.Time) []triggerRow {
	accounts := make(map[string]bool)
	for counter := range tallies {
		accounts[counter.Account] = true
	}
	rows := make([]triggerRow, len(triggers.Rules))
	for i, trigger := range triggers.Rules {
		standings := triggers.Standings(trigger, tallies, now)
		if len(accounts) == 1 {
			for at := range standings {
				standings[at].Account = ""
			}
		}
		shown := min(len(standings), triggerCodes)
		rows[i] = triggerRow{trigger.String(), standings[:shown], len(standings) - shown}
	}
	return rows
}
