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
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/requestlog"
	"twilio-error-sms/internal/signature"
)

// maxBody is the largest request: a batch of Event Streams is 1 MiB.
const maxBody = 1 << 20

// Outbox is where the handler puts what Twilio posts.
type Outbox interface {
	// Record stores events and the SMS of those that alert, and returns what was
	// decided on each. Another goroutine sends the SMS.
	Record(ctx context.Context, events []alert.Event) ([]outbox.Result, error)
	// Deliver stores Twilio's report on an SMS, and returns whether it is news.
	Deliver(ctx context.Context, report alert.Report) (news bool, err error)
}

// Handler serves the public routes.
type Handler struct {
	outbox   Outbox
	health   func(context.Context) outbox.Health
	verifier *signature.Verifier // nil: unsigned requests are believed
	closed   bool                // only the catch-up reader brings errors
	logger   *slog.Logger
}

// NewHandler returns the public routes: POST /error_trigger, POST
// /message_status and GET /healthz, also below the path of PUBLIC_URL, which a
// proxy may or may not have removed. It tells observe what each webhook brought,
// an alert.Kind or one of package metrics, and the status of the answer.
func NewHandler(settings config.Config, box Outbox, health func(context.Context) outbox.Health, observe func(kind string, status int), logger *slog.Logger) http.Handler {
	h := &Handler{outbox: box, health: onceASecond(health), logger: logger}
	if !settings.Unsigned {
		h.verifier = signature.NewVerifier(settings.PublicURL, settings.Tokens)
		h.closed = settings.PublicURL == ""
	}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /error_trigger", h.errorTrigger)
	routes.HandleFunc("POST /message_status", h.messageStatus)
	routes.HandleFunc("GET /healthz", h.healthz)
	public, err := url.Parse(settings.PublicURL)
	if err != nil || public.Path == "" {
		return requestlog.New(routes, observe, logger)
	}
	mux := http.NewServeMux()
	mux.Handle("/", routes)
	mux.Handle(public.Path+"/", http.StripPrefix(public.Path, routes))
	return requestlog.New(mux, observe, logger)
}

// errorTrigger is the recipe of 2014: Twilio posts ErrorCode and Description, and
// the phones get "An error on your Twilio app occurred!" with both and the link
// to the error's documentation.
//
// The alert goes into the outbox, where outbox.Worker finds it and sends the SMS,
// so that Twilio gets its answer at once: a line for each event, the text of its
// SMS or why there is none. Today's Alarms, Debugger webhooks and Event Streams
// arrive here too.
func (h *Handler) errorTrigger(w http.ResponseWriter, r *http.Request) {
	requestlog.SetKind(w, metrics.Unread)
	body, form, ok := h.read(w, r)
	if !ok {
		return
	}
	events, problems := parseEvents(r, body, form)
	if len(events) == 0 {
		refuse(w, http.StatusBadRequest, problems.Error())
		return
	}
	requestlog.SetKind(w, string(events[0].Kind))
	results, err := h.outbox.Record(r.Context(), events)
	if err != nil {
		refuseUnrecorded(w, err)
		return
	}
	var decided strings.Builder
	for _, result := range results {
		decided.WriteString(result.String() + "\n")
	}
	requestlog.Add(w, slog.Int("events", len(results)), slog.String("decided", firstLines(decided.String(), 5)))
	if problems != nil {
		requestlog.Add(w, slog.Any("err", problems))
		decided.WriteString(problems.Error() + "\n")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	io.WriteString(w, decided.String())
}

// parseEvents reads the events of a request, and what is wrong with the others.
// Form is nil if the body is JSON; otherwise keys may stand in the query as well.
func parseEvents(r *http.Request, body []byte, form url.Values) ([]alert.Event, error) {
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

// firstLines returns at most n lines of s, which ends in a line break.
func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:len(lines)-1], "; ")
}

// messageStatus takes Twilio's report of what became of an SMS of ours: the
// StatusCallback of each SMS leads here.
func (h *Handler) messageStatus(w http.ResponseWriter, r *http.Request) {
	requestlog.SetKind(w, metrics.StatusCallback)
	_, form, ok := h.read(w, r)
	if !ok {
		return
	}
	report, err := alert.ParseReport(r.URL.Query().Get("sms"), form)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	news, err := h.outbox.Deliver(r.Context(), report)
	if err != nil {
		refuseUnrecorded(w, err)
		return
	}
	requestlog.Add(w, slog.String("sid", report.SID), slog.String("sms_status", report.Status))
	if news && (report.Status == "undelivered" || report.Status == "failed") {
		h.logger.Error("SMS not delivered", "sid", report.SID, "to", alert.Mask(form.Get("To")), "code", report.Code)
	}
}

// read returns the body of a request that Twilio signed and, unless it is JSON,
// its fields. Otherwise it answers and returns false.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, form url.Values, ok bool) {
	if h.closed {
		refuse(w, http.StatusForbidden, "closed: set PUBLIC_URL to open it to Twilio")
		return nil, nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		w.Header().Set("Connection", "close") // do not read the rest
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is above %d bytes", maxBody))
		return nil, nil, false
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the body ended early")
		return nil, nil, false
	}
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON := contentType == "application/json" || strings.HasSuffix(contentType, "+json")
	switch {
	case contentType == "application/x-www-form-urlencoded", len(body) == 0 && (contentType == "" || isJSON):
		if form, err = url.ParseQuery(string(body)); err != nil {
			refuse(w, http.StatusBadRequest, "broken form: "+err.Error())
			return nil, nil, false
		}
	case !isJSON:
		refuse(w, http.StatusUnsupportedMediaType, "expected application/x-www-form-urlencoded or application/json")
		return nil, nil, false
	}
	if h.verifier != nil && !h.verifier.Valid(r, body, form) {
		checked, _, _ := strings.Cut(h.verifier.URL(r), "?") // the query may hold phone numbers
		requestlog.Add(w, slog.String("checked_url", checked))
		refuse(w, http.StatusForbidden, "missing or wrong X-Twilio-Signature")
		return nil, nil, false
	}
	return body, form, true
}

// refuse answers one line, which also goes into the log.
func refuse(w http.ResponseWriter, status int, reason string) {
	reason = strings.ReplaceAll(reason, "\n", "; ")
	requestlog.Add(w, slog.String("refused", reason))
	http.Error(w, reason, status)
}

// refuseUnrecorded asks for another try, and keeps the cause in the log.
func refuseUnrecorded(w http.ResponseWriter, err error) {
	requestlog.Add(w, slog.Any("err", err))
	w.Header().Set("Retry-After", "5")
	refuse(w, http.StatusServiceUnavailable, "nothing was recorded, try again: the outbox is not available")
}

// healthz answers 200 while alerts can be stored and sent, or 503 and why not.
func (h *Handler) healthz(w http.ResponseWriter, r *http.Request) {
	requestlog.SetQuiet(w)
	health := h.health(r.Context())
	if health.Problem != "" {
		refuse(w, http.StatusServiceUnavailable, health.Problem)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, strings.Join(append([]string{"ok"}, health.Notes...), "\n"))
}

// onceASecond returns health, which it asks once a second at most: more probes
// must not keep webhooks from writing.
func onceASecond(health func(context.Context) outbox.Health) func(context.Context) outbox.Health {
	var mu sync.Mutex
	var asked time.Time
	var answer outbox.Health
	return func(ctx context.Context) outbox.Health {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(asked) > time.Second {
			answer = health(context.WithoutCancel(ctx))
			asked = time.Now()
		}
		return answer
	}
}
