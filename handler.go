package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/signature"
)

// maxBody is the largest request: a batch of Event Streams is 1 MiB.
const maxBody = 1 << 20

// Outbox is what the handler needs of the outbox.
type Outbox interface {
	Record(ctx context.Context, events []alert.Event) ([]outbox.Result, error)
	Deliver(ctx context.Context, report alert.Report) (news bool, err error)
	Health(ctx context.Context) outbox.Health
}

// Observer is told of each webhook, to measure it.
type Observer interface {
	// Webhook reports what a request brought, an alert.Kind or one of the two
	// below, and the status of the answer.
	Webhook(kind string, status int)
}

// What a webhook brings besides events.
const (
	unread         = "unread" // it was refused before anybody read it
	statusCallback = "status"
)

// Handler serves the public routes.
type Handler struct {
	outbox   Outbox
	verifier *signature.Verifier // nil: unsigned requests are believed
	closed   bool      // the catch-up reader brings the errors, no webhook does
	logger   *slog.Logger

	mu     sync.Mutex
	asked  time.Time     // when answer was true
	answer outbox.Health // to whoever asks next
}

// NewHandler returns the public routes: POST /error_trigger, POST
// /message_status and GET /healthz, also below the path of PUBLIC_URL, which a
// proxy may or may not have removed.
func NewHandler(config Config, outbox Outbox, observer Observer, logger *slog.Logger) http.Handler {
	h := &Handler{outbox: outbox, logger: logger}
	if !config.Unsigned {
		h.verifier = signature.NewVerifier(config.PublicURL, config.Tokens)
		h.closed = config.PublicURL == ""
	}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /error_trigger", h.errorTrigger)
	routes.HandleFunc("POST /message_status", h.messageStatus)
	routes.HandleFunc("GET /healthz", h.healthz)
	public, err := url.Parse(config.PublicURL)
	if err != nil || public.Path == "" {
		return logRequests(routes, observer, logger)
	}
	mux := http.NewServeMux()
	mux.Handle("/", routes)
	mux.Handle(public.Path+"/", http.StripPrefix(public.Path, routes))
	return logRequests(mux, observer, logger)
}

// errorTrigger takes what Twilio says, records it and answers what was
// decided: a line for each event.
func (h *Handler) errorTrigger(w http.ResponseWriter, r *http.Request) {
	noteKind(w, unread)
	body, form, ok := h.read(w, r)
	if !ok {
		return
	}
	events, problems := parse(r, body, form)
	if len(events) == 0 {
		h.refuse(w, http.StatusBadRequest, problems.Error())
		return
	}
	noteKind(w, string(events[0].Kind))
	results, err := h.outbox.Record(r.Context(), events)
	if err != nil {
		note(w, slog.Any("err", err))
		w.Header().Set("Retry-After", "5")
		h.refuse(w, http.StatusServiceUnavailable, "nothing was recorded, try again: the outbox is not available")
		return
	}
	if problems != nil {
		note(w, slog.Any("err", problems))
	}
	answer(w, results, problems)
}

// answer writes a line for each event, and one for each that could not be
// read.
func answer(w http.ResponseWriter, results []outbox.Result, problems error) {
	var lines strings.Builder
	for _, result := range results {
		lines.WriteString(result.String() + "\n")
	}
	note(w, slog.Int("events", len(results)), slog.String("decided", firstLines(lines.String(), 5)))
	if problems != nil {
		lines.WriteString(problems.Error() + "\n")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	io.WriteString(w, lines.String())
}

// firstLines returns at most n lines of s, which ends in a line break.
func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:len(lines)-1], "; ")
}

// parse reads the events of a request, whose form is nil if its body is JSON.
// Keys may stand in the query as well.
func parse(r *http.Request, body []byte, form url.Values) ([]alert.Event, error) {
	token := r.Header.Get("I-Twilio-Idempotency-Token")
	if form == nil {
		return alert.ParseJSON(body, token)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("broken query: %w", err)
	}
	for name, values := range query {
		form[name] = append(form[name], values...)
	}
	event, err := alert.ParseForm(form, token)
	if err != nil {
		return nil, err
	}
	return []alert.Event{event}, nil
}

// read returns the body and, unless it is JSON, its fields, of a request that
// Twilio signed. Otherwise it answers and returns false.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, form url.Values, ok bool) {
	if h.closed {
		h.refuse(w, http.StatusForbidden, "closed: set PUBLIC_URL to open it to Twilio")
		return nil, nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		w.Header().Set("Connection", "close") // do not read the rest
		h.refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is above %d bytes", maxBody))
		return nil, nil, false
	}
	if err != nil {
		h.refuse(w, http.StatusBadRequest, "the body ended early")
		return nil, nil, false
	}
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case contentType == "application/x-www-form-urlencoded", len(body) == 0 && (contentType == "" || isJSON(contentType)):
		if form, err = url.ParseQuery(string(body)); err != nil {
			h.refuse(w, http.StatusBadRequest, "broken form: "+err.Error())
			return nil, nil, false
		}
	case !isJSON(contentType):
		h.refuse(w, http.StatusUnsupportedMediaType, "expected application/x-www-form-urlencoded or application/json")
		return nil, nil, false
	}
	if h.verifier != nil && !h.verifier.Valid(r, body, form) {
		// Without the query, which may hold phone numbers.
		checked, _, _ := strings.Cut(h.verifier.URL(r), "?")
		note(w, slog.String("checked_url", checked))
		h.refuse(w, http.StatusForbidden, "missing or wrong X-Twilio-Signature")
		return nil, nil, false
	}
	return body, form, true
}

func isJSON(contentType string) bool {
	return contentType == "application/json" || strings.HasSuffix(contentType, "+json")
}

// refuse answers one line, which also goes into the log.
func (h *Handler) refuse(w http.ResponseWriter, status int, reason string) {
	reason = strings.ReplaceAll(reason, "\n", "; ")
	note(w, slog.String("refused", reason))
	http.Error(w, reason, status)
}

// messageStatus takes Twilio's report of what became of an SMS of ours.
func (h *Handler) messageStatus(w http.ResponseWriter, r *http.Request) {
	noteKind(w, statusCallback)
	_, form, ok := h.read(w, r)
	if !ok {
		return
	}
	report, err := alert.ParseReport(r.URL.Query().Get("sms"), form)
	if err != nil {
		h.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	news, err := h.outbox.Deliver(r.Context(), report)
	if err != nil {
		note(w, slog.Any("err", err))
		w.Header().Set("Retry-After", "5")
		h.refuse(w, http.StatusServiceUnavailable, "nothing was recorded, try again: the outbox is not available")
		return
	}
	note(w, slog.String("sid", report.SID), slog.String("sms_status", report.Status))
	if news && (report.Status == "undelivered" || report.Status == "failed") {
		h.logger.Error("SMS not delivered", "sid", report.SID, "to", alert.Mask(form.Get("To")), "code", report.Code)
	}
}

// health returns the outbox's health of the last second: whoever asks more
// often must not keep webhooks from writing.
func (h *Handler) health(ctx context.Context) outbox.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) > time.Second {
		h.answer = h.outbox.Health(context.WithoutCancel(ctx))
		h.asked = time.Now()
	}
	return h.answer
}

// healthz answers 200 while alerts can be stored and sent, or 503 and why not.
func (h *Handler) healthz(w http.ResponseWriter, r *http.Request) {
	health := h.health(r.Context())
	if health.Problem != "" {
		h.refuse(w, http.StatusServiceUnavailable, health.Problem)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, strings.Join(append([]string{"ok"}, health.Notes...), "\n"))
}
