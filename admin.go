package main

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
	"twilio-error-sms/internal/outbox"
)

const (
	// pageRows is how many events and SMS the page shows.
	pageRows = 50
	// ruleRows is how many codes it shows for each trigger.
	ruleRows = 8
	// pageTimeout bounds what the page asks the outbox.
	pageTimeout = 10 * time.Second
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// AdminOutbox is what the operator's listener needs of the outbox.
type AdminOutbox interface {
	Backlog
	History(ctx context.Context, now time.Time, limit int) (outbox.History, error)
	Health(ctx context.Context) outbox.Health
}

// admin serves the operator's page.
type admin struct {
	outbox   AdminOutbox
	triggers alert.Triggers
	reads    bool // Twilio's log, by the catch-up reader
	template *template.Template
	logger   *slog.Logger
}

// NewAdmin returns what the operator's listener serves: the page at / and
// metrics at /metrics, for whoever knows the password where there is one.
func NewAdmin(config Config, box AdminOutbox, metrics *Metrics, logger *slog.Logger) http.Handler {
	a := &admin{outbox: box, triggers: config.Triggers, reads: config.PollEvery > 0, logger: logger}
	a.template = template.Must(template.New("page").Parse(pageHTML))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.page)
	mux.Handle("GET /metrics", metrics.Handler(a, logger))
	if config.AdminPassword == "" {
		return localOnly(mux)
	}
	return authenticated(mux, config.AdminPassword, logger)
}

// authenticated asks for the password; any user name will do.
func authenticated(next http.Handler, password string, logger *slog.Logger) http.Handler {
	want := sha256.Sum256([]byte(password)) // of one length, whatever was typed
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
		http.Error(w, "the password is that of ADMIN_PASSWORD", http.StatusUnauthorized)
	})
}

// localOnly serves requests for an address of this machine. A web page of a
// stranger can point a name of its own at 127.0.0.1 and then read, in the
// operator's browser, what is served there (DNS rebinding); it cannot hide
// that name.
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

// Backlog returns what waits in the outbox. The mark that a reader left there
// means nothing once it is turned off.
func (a *admin) Backlog(ctx context.Context) (outbox.Backlog, error) {
	b, err := a.outbox.Backlog(ctx)
	if !a.reads {
		b.CaughtUp = time.Time{}
	}
	return b, err
}

// page serves the operator's page.
func (a *admin) page(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	v := view{Now: time.Now().UTC(), Style: template.CSS(pageCSS), Health: a.outbox.Health(ctx)}
	var err error
	if v.Backlog, err = a.Backlog(ctx); err == nil {
		v.History, err = a.outbox.History(ctx, v.Now, pageRows)
	}
	if err != nil {
		a.logger.Error("the operator's page cannot read the outbox", "err", err)
		http.Error(w, "the outbox cannot be read: "+v.Health.Problem, http.StatusServiceUnavailable)
		return
	}
	v.Chart = newChart(v.Hours, v.Now)
	v.Rules = newRules(a.triggers, v.Counts, v.Now)
	var body bytes.Buffer
	if err := a.template.Execute(&body, &v); err != nil {
		a.logger.Error("the operator's page cannot be written", "err", err)
		http.Error(w, "the page cannot be written, see the log", http.StatusInternalServerError)
		return
	}
	style := sha256.Sum256([]byte(pageCSS))
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	w.Write(body.Bytes())
}

// view is what the template reads.
type view struct {
	Now     time.Time
	Style   template.CSS
	Health  outbox.Health
	Backlog outbox.Backlog
	outbox.History
	Chart chart
	Rules []rule
}

// Clock writes a time: the date only of other days.
func (v *view) Clock(t time.Time) string {
	if t.Truncate(24 * time.Hour).Equal(v.Now.Truncate(24 * time.Hour)) {
		return t.Format("15:04:05")
	}
	return t.Format("Jan 2 15:04")
}

// Mask hides a phone number but for its end.
func (v *view) Mask(number string) string {
	return strings.ReplaceAll(alert.Mask(number), "...", "…")
}

// IsCode reports whether what went wrong with an SMS is an error code.
func (v *view) IsCode(s string) bool {
	return len(s) >= 3 && len(s) <= 6 && strings.Trim(s, "0123456789") == ""
}

// Outcome says what became of an SMS.
func (v *view) Outcome(s outbox.PastSMS) string {
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

// Settled reports whether a status tells what became of an SMS. What waits and
// what is held has figures of its own.
func (v *view) Settled(s outbox.Status) bool {
	return s != outbox.Pending && s != outbox.Sending && s != outbox.Held
}

// Oldest says how long the oldest SMS has waited.
func (v *view) Oldest() string { return v.Now.Sub(v.Backlog.Oldest).Round(time.Second).String() }

// rule is a trigger and where its counters stand.
type rule struct {
	Text      string
	Standings []alert.Standing
	More      int // counters that are not shown
}

// newRules returns where the triggers stand. It names accounts only where
// there are several.
func newRules(triggers alert.Triggers, counts map[alert.Counter]int64, now time.Time) []rule {
	accounts := make(map[string]bool)
	for counter := range counts {
		accounts[counter.Account] = true
	}
	rules := make([]rule, len(triggers.Rules))
	for i, trigger := range triggers.Rules {
		standings := triggers.Standings(trigger, counts, now)
		for i := range standings {
			if len(accounts) == 1 {
				standings[i].Account = ""
			}
		}
		shown := min(len(standings), ruleRows)
		rules[i] = rule{trigger.String(), standings[:shown], len(standings) - shown}
	}
	return rules
}
