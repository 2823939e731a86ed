// Package admin is what the operator's listener serves: a page that shows what
// happened and what waits and silences codes, and metrics for Prometheus.
package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
)

const (
	// pageTimeout bounds what the page asks the outbox.
	pageTimeout = 10 * time.Second
	// maxForm bounds a form of the page, in bytes.
	maxForm = 4 << 10
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// admin serves the operator's page.
type admin struct {
	outbox   *outbox.Outbox
	health   func(context.Context) outbox.Health
	settings config.Config
	logger   *slog.Logger
}

// New returns what the operator's listener serves: the page at /, its form at
// /silence, and metrics at /metrics. With ADMIN_PASSWORD it asks for the password,
// without it answers this machine's addresses only.
func New(settings config.Config, box *outbox.Outbox, health func(context.Context) outbox.Health, measured *metrics.Metrics, logger *slog.Logger) http.Handler {
	a := &admin{outbox: box, health: health, settings: settings, logger: logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.page)
	mux.HandleFunc("POST /silence", a.silence)
	mux.Handle("GET /metrics", measured.Handler(a.backlog, logger))
	// Another site's page may not post the form in the operator's browser.
	handler := http.NewCrossOriginProtection().Handler(mux)
	if settings.AdminPassword == "" {
		return localOnly(handler)
	}
	return &login{next: handler, password: sha256.Sum256([]byte(settings.AdminPassword)), logger: logger}
}

// backlog returns what waits in the outbox. Without a running reader the mark
// that an earlier one left there means nothing.
func (a *admin) backlog(ctx context.Context) (outbox.Backlog, error) {
	b, err := a.outbox.Backlog(ctx)
	if a.settings.PollEvery == 0 {
		b.CaughtUp = time.Time{}
	}
	return b, err
}

// page serves the operator's page.
func (a *admin) page(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	v := newView(a.settings, r.URL.Query(), time.Now().UTC())
	v.Health = a.health(ctx)
	var err error
	if v.Backlog, err = a.backlog(ctx); err == nil {
		v.History, err = a.outbox.History(ctx, v.Now, v.Filter)
	}
	if err != nil {
		a.logger.Error("the operator's page cannot read the database", "err", err)
		v.Health.Problem = cmp.Or(v.Health.Problem, "the database cannot be read; the log says why")
		v.ShowFront, v.ShowAlerts, v.ShowEvents = false, false, false
	}
	v.arrange()
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, v); err != nil {
		a.logger.Error("the operator's page cannot be written", "err", err)
		http.Error(w, "the page cannot be written, see the log", http.StatusInternalServerError)
		return
	}
	setHeader(w.Header())
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Write(body.Bytes())
}

// silence silences the code of the page's form, or ends that, and shows the page.
func (a *admin) silence(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	code, length := strings.TrimSpace(r.PostFormValue("code")), r.PostFormValue("for")
	s, err := outbox.ParseSilence(code, length, time.Now())
	switch {
	case length == "end":
		_, err = a.outbox.EndSilence(r.Context(), code)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	default:
		err = a.outbox.Silence(r.Context(), s)
	}
	if err != nil {
		a.logger.Error("the operator's page cannot change a silence", "err", err)
		http.Error(w, "the database cannot be written, see the log", http.StatusServiceUnavailable)
		return
	}
	a.logger.Info("silence by the operator's page", "code", code, "for", length)
	http.Redirect(w, r, "./", http.StatusSeeOther)
}

// setHeader allows the page its own style sheet, script, icon and form, and
// nothing else.
func setHeader(header http.Header) {
	header.Set("Content-Security-Policy", "default-src 'none'; style-src "+hash(pageCSS)+"; script-src "+hash(pageJS)+
		"; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin") // with "no-referrer" the form's origin would be null
	header.Set("Cache-Control", "no-store")
}

// hash returns the source of a policy that allows text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
