// Package twiliotest is a stand-in for Twilio's REST API over real HTTP, for
// tests: it accepts SMS and lists them as Twilio does, and fails in the ways
// Twilio fails.
package twiliotest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"twilio-error-sms/internal/alert"
)

// Credentials of the account that the stand-in knows.
const (
	AccountSID = "AC0123456789abcdef0123456789abcdef"
	AuthToken  = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

// Message is an SMS that the stand-in accepted.
type Message struct {
	SID     string
	Form    url.Values // To, From or MessagingServiceSid, Body, StatusCallback
	Created time.Time
}

// Fault is a way in which an attempt to send an SMS goes wrong.
type Fault string

// The faults. Those with After accept the SMS first.
const (
	TooManyRequests  Fault = "429"
	RetryAfter       Fault = "429 with Retry-After: 2"
	ServerError      Fault = "500"
	ServerErrorAfter Fault = "500 after accepting"
	BadGateway       Fault = "HTML 502"
	BadGatewayAfter  Fault = "HTML 502 after accepting"
	Reset            Fault = "connection reset"
	ResetAfter       Fault = "connection reset after accepting"
	Silence          Fault = "no answer"
	SilenceAfter     Fault = "no answer after accepting"
	Unauthorized     Fault = "401"
	Unsubscribed     Fault = "400 with error 21610"
	InvalidNumber    Fault = "400 with error 21211, which names the number"

	// What only the operator can fix.
	Suspended       Fault = "403 with error 20005"
	NoAccount       Fault = "404 with error 20404"
	WrongSender     Fault = "400 with error 21606"
	Unverified      Fault = "400 with error 21608"
	RegionDisabled  Fault = "400 with error 21408"
	CallbackRefused Fault = "400 with error 21609, if there is a StatusCallback"

	// Answers of a proxy or a portal, and limits.
	ForbiddenPage  Fault = "HTML 403"
	ProxyLogin     Fault = "HTML 407"
	RequestTimeout Fault = "408 without a body"
	CaptivePortal  Fault = "HTML 200"
	Redirect       Fault = "302"
	QueueFull      Fault = "400 with error 21611"
	RetryAfterDate Fault = "429 with Retry-After: a date in 3 seconds"

	// Trial makes the account a trial: a text that is too long with the prefix
	// is refused with error 30044, others are sent with the prefix.
	Trial Fault = "trial account"
)

// refusals are the faults that Twilio answers with an error.
var refusals = map[Fault]struct {
	status, code int
	message      string
}{
	TooManyRequests:  {http.StatusTooManyRequests, 20429, "Too Many Requests"},
	ServerError:      {http.StatusInternalServerError, 20500, "Internal Server Error"},
	ServerErrorAfter: {http.StatusInternalServerError, 20500, "Internal Server Error"},
	Unauthorized:     {http.StatusUnauthorized, 20003, "Authenticate"},
	Forbidden:        {http.StatusForbidden, 20003, "Permission Denied"},
	Suspended:        {http.StatusForbidden, 20005, "Account not active"},
	NoAccount:        {http.StatusNotFound, 20404, "The requested resource was not found"},
	Unsubscribed:     {http.StatusBadRequest, 21610, "Attempt to send to unsubscribed recipient"},
	WrongSender:      {http.StatusBadRequest, 21606, "The 'From' phone number provided is not a valid message-capable Twilio phone number"},
	Unverified:       {http.StatusBadRequest, 21608, "The number is unverified. Trial accounts cannot send messages to unverified numbers"},
	RegionDisabled:   {http.StatusBadRequest, 21408, "Permission to send an SMS has not been enabled for the region"},
	CallbackRefused:  {http.StatusBadRequest, 21609, "The 'StatusCallback' URL is not a valid URL."},
	QueueFull:        {http.StatusBadRequest, 21611, "SMS queue is full."},
}

// pages are the faults that a proxy or a portal answers with a page.
var pages = map[Fault]int{
	BadGateway: http.StatusBadGateway, BadGatewayAfter: http.StatusBadGateway, ForbiddenPage: http.StatusForbidden,
	ProxyLogin: http.StatusProxyAuthRequired, CaptivePortal: http.StatusOK,
}

// Server is the stand-in.
type Server struct {
	// URL is its base, for TWILIO_BASE_URL.
	URL string
	// Lag is how long accepted SMS stay out of the list.
	Lag time.Duration
	// Latency is how long it takes to answer.
	Latency time.Duration
	// Fault returns what goes wrong with the nth attempt to send, from 1, or
	// "". It may be nil.
	Fault func(n int, form url.Values) Fault
	// Accepted, where set, is called with each accepted SMS before the answer.
	Accepted func(Message)
	// Monitor is Twilio's error log.
	Monitor Monitor
	// Streams is Event Streams.
	Streams Streams

	mux      *http.ServeMux
	mu       sync.Mutex
	account  Account
	messages []Message
	attempts int
	lists    int
	done     chan struct{}
}

// New returns a stand-in that runs until the test ends. Set its fields before
// the first request.
func New(t testing.TB) *Server {
	s := &Server{mux: http.NewServeMux(), account: newAccount(), done: make(chan struct{})}
	s.handleAccount()
	s.mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", s.create)
	s.mux.HandleFunc("GET /2010-04-01/Accounts/{account}/Messages.json", s.list)
	s.mux.HandleFunc("GET /v1/Alerts", s.alerts)
	s.handleStreams()
	server := httptest.NewServer(http.HandlerFunc(s.authorized))
	s.URL = server.URL
	t.Cleanup(func() {
		close(s.done)
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// Messages returns what was accepted so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Attempts returns how many requests to send an SMS came.
func (s *Server) Attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// Lists returns how many pages of the message log were read.
func (s *Server) Lists() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// authorized serves requests with the right credentials.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	isToken := user == AccountSID && password == AuthToken
	isKey := user == APIKey && password == APISecret
	if !isToken && (!isKey || strings.HasSuffix(r.URL.Path, "/"+AccountSID+".json")) {
		refuse(w, http.StatusUnauthorized, 20003, "Authenticate")
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, 20001, err.Error())
		return
	}
	s.mu.Lock()
	s.attempts++
	n := s.attempts
	s.mu.Unlock()
	fault := Fault("")
	if s.Fault != nil {
		fault = s.Fault(n, r.PostForm)
	}
	s.pause()
	form := r.PostForm
	switch {
	case fault == CallbackRefused && form.Get("StatusCallback") == "":
		fault = ""
	case fault == Trial && utf8.RuneCountInString(alert.TrialPrefix+form.Get("Body")) > 160: // one segment, of GSM-7
		refuse(w, http.StatusBadRequest, 30044, "Trial Message Length Exceeded")
		return
	case fault == Trial:
		fault = ""
		form.Set("Body", alert.TrialPrefix+form.Get("Body"))
	}
	switch fault {
	case "", ServerErrorAfter, BadGatewayAfter, ResetAfter, SilenceAfter:
		m := s.accept(form)
		if fault == "" {
			answer(w, http.StatusCreated, m.json())
			return
		}
	}
	s.fail(w, r, fault)
}

// pause waits for Latency, unless the test ends.
func (s *Server) pause() {
	if s.Latency == 0 {
		return
	}
	select {
	case <-s.done:
	case <-time.After(s.Latency):
	}
}

func (s *Server) accept(form url.Values) Message {
	m := Message{SID: NewSID("SM"), Form: form, Created: time.Now()}
	s.mu.Lock()
	s.messages = append(s.messages, m)
	s.mu.Unlock()
	if s.Accepted != nil {
		s.Accepted(m)
	}
	return m
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, fault Fault) {
	if refusal, ok := refusals[fault]; ok {
		refuse(w, refusal.status, refusal.code, refusal.message)
		return
	}
	if status, ok := pages[fault]; ok {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><body>%d %s</body></html>", status, http.StatusText(status))
		return
	}
	switch fault {
	case RetryAfter:
		w.Header().Set("Retry-After", "2")
		s.fail(w, r, TooManyRequests)
	case RetryAfterDate:
		now := time.Now().UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		w.Header().Set("Retry-After", now.Add(3*time.Second).Format(http.TimeFormat))
		s.fail(w, r, TooManyRequests)
	case InvalidNumber:
		refuse(w, http.StatusBadRequest, 21211, fmt.Sprintf("The 'To' number %s is not a valid phone number.", r.PostForm.Get("To")))
	case RequestTimeout:
		w.WriteHeader(http.StatusRequestTimeout)
	case Redirect:
		http.Redirect(w, r, "/login", http.StatusFound)
	case Silence, SilenceAfter:
		select {
		case <-s.done:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	default:
		panic(http.ErrAbortHandler) // cuts the connection
	}
}

// list answers a page of the message log, the newest first.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	size, _ := strconv.Atoi(query.Get("PageSize"))
	size = max(size, 1)
	page, _ := strconv.Atoi(query.Get("Page"))
	s.mu.Lock()
	s.lists++
	var found []Message
	for _, m := range slices.Backward(s.messages) {
		if m.Form.Get("To") == query.Get("To") && time.Since(m.Created) >= s.Lag {
			found = append(found, m)
		}
	}
	s.mu.Unlock()
	s.pause()
	from, to := min(page*size, len(found)), min((page+1)*size, len(found))
	messages := make([]map[string]any, 0, to-from)
	for _, m := range found[from:to] {
		messages = append(messages, m.json())
	}
	body := map[string]any{"messages": messages, "page": page, "page_size": size, "next_page_uri": nil}
	if to < len(found) {
		query.Set("Page", strconv.Itoa(page+1))
		query.Set("PageToken", "PA"+found[to].SID)
		body["next_page_uri"] = r.URL.Path + "?" + query.Encode()
	}
	answer(w, http.StatusOK, body)
}

func (m Message) json() map[string]any {
	return map[string]any{
		"sid": m.SID, "status": "queued", "direction": "outbound-api", "to": m.Form.Get("To"), "body": m.Form.Get("Body"),
		"date_created": m.Created.UTC().Format(time.RFC1123Z), "date_sent": nil, "error_code": nil, "num_segments": "1",
	}
}

// NewSID returns a SID with a prefix of two letters.
func NewSID(prefix string) string {
	b := make([]byte, 16)
	rand.Read(b)
	return prefix + hex.EncodeToString(b)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	answer(w, status, map[string]any{
		"code": code, "message": message, "status": status,
		"more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code),
	})
}
