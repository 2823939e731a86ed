package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
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

// Outbox is where the handler puts what Twilio posts.
type Outbox interface {
	// RecordRequest stores events and the SMS of those that alert, and returns what
	// was decided on each. Another goroutine sends the SMS. The signature, where
	// requests are signed, tells whether the request was seen before.
	RecordRequest(ctx context.Context, signature string, events []alert.Event) ([]outbox.Result, error)
	// Deliver stores Twilio's report on an SMS, and returns whether it is news.
	Deliver(ctx context.Context, report alert.Report) (news bool, err error)
}

// Handler serves the public routes.
type Handler struct {
	outbox    Outbox
	health    func(context.Context) outbox.Health
	webhooks  *signature.Verifier // nil: unsigned requests are believed
	closed    bool                // only the catch-up reader brings errors
	publicURL string
	routes    map[string]http.HandlerFunc // by method and path
	reader    *signature.Reader
	logger    *slog.Logger
}

// NewHandler returns the public routes: POST /error_trigger, POST
// /message_status and the probes, also below the path of PUBLIC_URL, which a
// proxy may or may not have removed. It tells observe what each webhook brought,
// an alert.Kind or one of package metrics, and the status of the answer.
func NewHandler(settings config.Config, box Outbox, health func(context.Context) outbox.Health, observe func(kind string, status int), logger *slog.Logger) http.Handler {
	h := &Handler{
		outbox: box, health: onceASecond(health), publicURL: settings.PublicURL,
		reader: signature.NewReader(), logger: logger,
	}
	var callbacks *signature.Verifier // only the account that sends our SMS may report on them
	if !settings.Unsigned {
		own := signature.Token{Token: settings.AuthToken}
		h.webhooks = signature.NewVerifier(settings.PublicURL, append([]signature.Token{own}, settings.WebhookTokens...))
		callbacks = signature.NewVerifier(settings.PublicURL, []signature.Token{own})
		h.closed = settings.PublicURL == ""
	}
	h.routes = map[string]http.HandlerFunc{
		"POST /error_trigger":  h.believed(metrics.Unread, h.webhooks, h.errorTrigger),
		"POST /message_status": h.believed(metrics.StatusCallback, callbacks, h.messageStatus),
		"GET /livez":           h.livez, "GET /healthz": h.healthz, "GET /": h.hello,
	}
	public, _ := url.Parse(settings.PublicURL)
	below := http.StripPrefix(public.Path, h)
	return requestlog.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path+"/", public.Path+"/") {
			below.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}), observe, logger)
}

// ServeHTTP serves a route. http.ServeMux would redirect a POST to
// //error_trigger, and Twilio does not follow.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method, at := r.Method, path.Clean("/"+r.URL.Path)
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if serve := h.routes[method+" "+at]; serve != nil {
		serve(w, r)
		return
	}
	for _, other := range []string{http.MethodGet, http.MethodPost} {
		if h.routes[other+" "+at] != nil {
			w.Header().Set("Allow", other)
			refuse(w, http.StatusMethodNotAllowed, "this path takes "+other+"; Twilio posts errors to /error_trigger")
			return
		}
	}
	refuse(w, http.StatusNotFound, "not found: Twilio posts errors to /error_trigger")
}

// errorTrigger is the recipe of 2014: Twilio posts ErrorCode and Description, and
// the phones get "An error on your Twilio app occurred!" with both and the link
// to the error's documentation.
//
// The alert goes into the outbox, where outbox.Worker finds it and sends the SMS,
// so that Twilio gets its answer at once: a line for each event, the text of its
// SMS or why there is none. Today's Alarms, Debugger webhooks and Event Streams
// arrive here too.
func (h *Handler) errorTrigger(w http.ResponseWriter, r *http.Request, in *signature.Request) {
	events, problems := parse(r, in)
	if len(events) == 0 {
		refuse(w, http.StatusBadRequest, problems.Error())
		return
	}
	for _, e := range events {
		if e.Kind != alert.Other && !h.webhooks.SignsFor(in.Token, e.Account) {
			refuse(w, http.StatusForbidden, "the token that signed is bound to another account")
			return
		}
	}
	requestlog.SetKind(w, string(events[0].Kind))
	results, err := h.outbox.RecordRequest(r.Context(), in.Signature, events)
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
	w.Header().Set("X-Content-Type-Options", "nosniff")
	say(w, decided.String())
}

// say answers 200 and a text. Twilio logs an answer without a Content-Type as
// an error.
func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, text)
}

// firstLines returns at most n lines of s, which ends in a line break.
func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:len(lines)-1], "; ")
}

// messageStatus takes Twilio's report of what became of an SMS of ours: the
// StatusCallback of each SMS leads here.
func (h *Handler) messageStatus(w http.ResponseWriter, r *http.Request, in *signature.Request) {
	report, err := alert.ParseReport(alert.ParseQuery(r.URL.RawQuery).Get("sms"), in.Form)
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
		h.logger.Error("SMS not delivered", "sid", report.SID, "to", alert.Mask(in.Form.Get("To")), "code", report.Code)
	}
	w.WriteHeader(http.StatusNoContent)
}

// parse reads the events of a request, and what is wrong with the others. Keys
// of a form may stand in the query as well. The idempotency token is not signed,
// so it counts only where nothing is.
func parse(r *http.Request, in *signature.Request) ([]alert.Event, error) {
	token := ""
	if in.Signature == "" {
		token = r.Header.Get("I-Twilio-Idempotency-Token")
	}
	if in.Form == nil {
		return alert.ParseJSON(in.Body, token)
	}
	for name, values := range alert.ParseQuery(r.URL.RawQuery) {
		in.Form[name] = append(in.Form[name], values...)
	}
	event, err := alert.ParseForm(in.Form, token)
	if err != nil {
		return nil, err
	}
	return []alert.Event{event}, nil
}

// believed returns a route that serves requests that verifier believes, all if it
// is nil, and refuses the others.
func (h *Handler) believed(kind string, verifier *signature.Verifier, serve func(http.ResponseWriter, *http.Request, *signature.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		requestlog.SetKind(w, kind)
		if h.closed {
			refuse(w, http.StatusForbidden, "closed: set PUBLIC_URL to open it to Twilio")
			return
		}
		in, err := h.reader.Read(w, r, verifier)
		if err == nil {
			defer in.Close()
			serve(w, r, in)
			return
		}
		if err == signature.ErrUnsigned {
			checked, _, _ := strings.Cut(verifier.URL(r), "?") // the query may hold phone numbers
			requestlog.Add(w, slog.String("checked_url", checked))
		}
		if err == signature.ErrBusy {
			w.Header().Set("Retry-After", "5")
		}
		w.Header().Set("Connection", "close") // do not read the rest
		refuse(w, signature.Status(err), err.Error())
	}
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
	refuse(w, http.StatusServiceUnavailable, "nothing was recorded, try again: the database is not available")
}

// livez answers 200 while the outbox can be used, or 503 and what a restart may
// fix: probes that restart the server, or take it out of rotation, ask it.
func (h *Handler) livez(w http.ResponseWriter, r *http.Request) {
	health := h.health(r.Context())
	if !health.Down {
		health.Problem, health.Notes = "", nil
	}
	answerProbe(w, health)
}

// healthz answers 200 while alerts can be stored and sent, or 503 and why not:
// what a person must fix.
func (h *Handler) healthz(w http.ResponseWriter, r *http.Request) {
	answerProbe(w, h.health(r.Context()))
}

func answerProbe(w http.ResponseWriter, health outbox.Health) {
	requestlog.SetQuiet(w)
	if health.Problem != "" {
		refuse(w, http.StatusServiceUnavailable, health.Problem)
		return
	}
	say(w, strings.Join(append([]string{"ok"}, health.Notes...), "\n")+"\n")
}

// hello tells a person who looks what this is.
func (h *Handler) hello(w http.ResponseWriter, _ *http.Request) {
	requestlog.SetQuiet(w)
	say(w, "twilio-error-sms texts Twilio's errors: Twilio posts them to "+h.publicURL+"/error_trigger\n")
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
