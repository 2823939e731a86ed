package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/connections"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/requestlog"
	"twilio-error-sms/internal/signature"
)

const (
	// maxBody is the largest request: a batch of Event Streams is 1 MiB.
	maxBody = 1 << 20
	// smallBody is what anybody may send. For more a request needs one of
	// largeBodies places, and waits for it for slotTimeout: Twilio waits 5 s.
	smallBody   = 64 << 10
	largeBodies = 4
	slotTimeout = 3 * time.Second
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
	outbox Outbox
	health func(context.Context) outbox.Health
	// webhooks checks who reports errors, callbacks who reports what became of our
	// SMS: only the account that sends them may. Nil: unsigned requests are believed.
	webhooks, callbacks *signature.Verifier
	closed              bool // only the catch-up reader brings errors
	publicURL           string
	routes              map[string]http.HandlerFunc // by method and path
	// unknown and genuine have a place for each large body in memory: of anybody, and
	// of those whose signature is known to be right.
	unknown, genuine chan struct{}
	logger           *slog.Logger
}

// NewHandler returns the public routes: POST /error_trigger, POST
// /message_status and the probes, also below the path of PUBLIC_URL, which a
// proxy may or may not have removed. It tells observe what each webhook brought,
// an alert.Kind or one of package metrics, and the status of the answer.
func NewHandler(settings config.Config, box Outbox, health func(context.Context) outbox.Health, observe func(kind string, status int), logger *slog.Logger) http.Handler {
	h := &Handler{
		outbox: box, health: onceASecond(health), publicURL: settings.PublicURL, logger: logger,
		unknown: make(chan struct{}, largeBodies), genuine: make(chan struct{}, largeBodies),
	}
	if !settings.Unsigned {
		main := signature.Token{Token: settings.AuthToken}
		h.webhooks = signature.NewVerifier(settings.PublicURL, append([]signature.Token{main}, settings.WebhookTokens...))
		h.callbacks = signature.NewVerifier(settings.PublicURL, []signature.Token{main})
		h.closed = settings.PublicURL == ""
	}
	h.routes = map[string]http.HandlerFunc{
		"POST /error_trigger":  h.believed(metrics.Unread, h.webhooks, h.errorTrigger),
		"POST /message_status": h.believed(metrics.StatusCallback, h.callbacks, h.messageStatus),
		"GET /livez":           h.livez, "GET /healthz": h.healthz, "GET /": h.hello,
	}
	public, _ := url.Parse(settings.PublicURL)
	below := http.StripPrefix(public.Path, h)
	return requestlog.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, public.Path+"/") {
			below.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}), observe, logger)
}

// ServeHTTP serves a route. http.ServeMux would redirect a POST to
// //error_trigger, and Twilio does not follow.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method, at := r.Method, path.Clean(r.URL.Path)
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
func (h *Handler) errorTrigger(w http.ResponseWriter, r *http.Request, in *incoming) {
	events, problems := in.events(r)
	if len(events) == 0 {
		refuse(w, http.StatusBadRequest, problems.Error())
		return
	}
	for _, e := range events {
		if h.webhooks != nil && e.Kind != alert.Other && !h.webhooks.SignsFor(in.token, e.Account) {
			refuse(w, http.StatusForbidden, "the token that signed is bound to another account")
			return
		}
	}
	requestlog.SetKind(w, string(events[0].Kind))
	results, err := h.outbox.RecordRequest(r.Context(), in.signature, events)
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
func (h *Handler) messageStatus(w http.ResponseWriter, r *http.Request, in *incoming) {
	report, err := alert.ParseReport(alert.ParseQuery(r.URL.RawQuery).Get("sms"), in.form)
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
		h.logger.Error("SMS not delivered", "sid", report.SID, "to", alert.Mask(in.form.Get("To")), "code", report.Code)
	}
	w.WriteHeader(http.StatusNoContent)
}

// incoming is a request that is believed.
type incoming struct {
	signature string        // its bytes, empty where nothing is signed
	token     string        // that signed it
	body      []byte        // JSON, if form is nil
	form      url.Values    // its fields
	places    chan struct{} // where a large body has a place, or nil
}

// events reads the events of a request, and what is wrong with the others. Keys
// of a form may stand in the query as well. The idempotency token is not signed,
// so it counts only where nothing is.
func (in *incoming) events(r *http.Request) ([]alert.Event, error) {
	token := ""
	if in.signature == "" {
		token = r.Header.Get("I-Twilio-Idempotency-Token")
	}
	if in.form == nil {
		return alert.ParseJSON(in.body, token)
	}
	for name, values := range alert.ParseQuery(r.URL.RawQuery) {
		in.form[name] = append(in.form[name], values...)
	}
	event, err := alert.ParseForm(in.form, token)
	if err != nil {
		return nil, err
	}
	return []alert.Event{event}, nil
}

// refusals are the requests that are not believed or not read, and their status.
var (
	errClosed   = errors.New("closed: set PUBLIC_URL to open it to Twilio")
	errUnsigned = errors.New("missing or wrong X-Twilio-Signature")
	errType     = errors.New("expected application/x-www-form-urlencoded or application/json")
	errEarly    = errors.New("the body ended early")
	errTooLarge = fmt.Errorf("the body is above %d bytes", maxBody)
	errTooMany  = errors.New("too many large requests at once, try again")

	refusals = map[error]int{
		errClosed: http.StatusForbidden, errUnsigned: http.StatusForbidden, errType: http.StatusUnsupportedMediaType,
		errEarly: http.StatusBadRequest, errTooLarge: http.StatusRequestEntityTooLarge, errTooMany: http.StatusServiceUnavailable,
	}
)

// believed returns a route that serves requests that verifier believes, all if it
// is nil, and refuses the others.
func (h *Handler) believed(kind string, verifier *signature.Verifier, serve func(http.ResponseWriter, *http.Request, *incoming)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		requestlog.SetKind(w, kind)
		in := &incoming{}
		err := in.read(h, w, r, verifier)
		if in.places != nil {
			defer func() { <-in.places }()
		}
		if err == nil {
			connections.Busy(r.Context())
			serve(w, r, in)
			return
		}
		if err == errUnsigned {
			checked, _, _ := strings.Cut(verifier.URL(r), "?") // the query may hold phone numbers
			requestlog.Add(w, slog.String("checked_url", checked))
		}
		if err == errTooMany {
			w.Header().Set("Retry-After", "5")
		}
		w.Header().Set("Connection", "close") // do not read the rest
		refuse(w, refusals[err], err.Error())
	}
}

// read reads and checks a request. What can be refused by the headers costs no
// body: the signature of JSON is that of its address alone.
func (in *incoming) read(h *Handler, w http.ResponseWriter, r *http.Request, verifier *signature.Verifier) error {
	if h.closed {
		return errClosed
	}
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON := contentType == "application/json" || strings.HasSuffix(contentType, "+json")
	isForm := contentType == "application/x-www-form-urlencoded" || contentType == "" && r.ContentLength == 0
	places := h.unknown
	if verifier != nil {
		if in.signature = signature.Of(r); in.signature == "" {
			return errUnsigned
		}
		if isJSON {
			if in.token = verifier.Signer(r, nil); in.token == "" {
				return errUnsigned
			}
			places = h.genuine
		}
	}
	if !isForm && !isJSON {
		return errType
	}
	if err := in.readBody(w, r, places); err != nil {
		return err
	}
	if isForm || len(in.body) == 0 {
		in.form = alert.ParseQuery(string(in.body))
	}
	if verifier != nil && isForm {
		in.token = verifier.Signer(r, in.form)
	}
	if verifier != nil && (in.token == "" || in.form == nil && !signature.HasHash(r, in.body)) {
		return errUnsigned
	}
	return nil
}

// readBody reads the body. A large one needs one of the places first.
func (in *incoming) readBody(w http.ResponseWriter, r *http.Request, places chan struct{}) (err error) {
	if r.ContentLength > maxBody {
		return errTooLarge
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), smallBody)+bytes.MinRead))
	if r.ContentLength <= smallBody { // or not known
		_, err = buffer.ReadFrom(io.LimitReader(body, smallBody))
	}
	if err == nil && max(r.ContentLength, int64(buffer.Len())) >= smallBody {
		select {
		case places <- struct{}{}:
			in.places = places
		case <-r.Context().Done(): // the connection made room for others
			return errEarly
		case <-time.After(slotTimeout):
			return errTooMany
		}
		if in.token != "" {
			connections.Busy(r.Context())
		}
		buffer.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
		_, err = buffer.ReadFrom(body)
	}
	in.body = buffer.Bytes()
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errTooLarge
	}
	if err != nil {
		return errEarly
	}
	return nil
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
