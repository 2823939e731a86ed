package twiliotest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/signature"
)

// ErrorType is the type of the events that tell of errors.
const ErrorType = "com.twilio.error-logs.error.logged"

// Faults of Event Streams, besides those of sending.
const (
	StreamsForbidden Fault = "403: Event Streams are not for this account"
	SinkLimit        Fault = "400: too many sinks"
)

// streamsPage is how many sinks or subscriptions come in one page at most.
const streamsPage = 2

// Streams is Event Streams. The zero value is empty and works.
type Streams struct {
	// OldSchema makes version 2 of an event's schema unknown.
	OldSchema bool
	// Lost keeps test events from being posted.
	Lost bool
	// Fault returns what goes wrong with the nth request that changes
	// something, from 1, or "". It may be nil.
	Fault func(n int) Fault

	mu            sync.Mutex // also of the above, see Change
	changes       int
	sinks         []Sink
	subscriptions []Subscription
}

// Sink is a webhook sink.
type Sink struct{ SID, Destination, Status string }

// Subscription is what events a sink gets, with the version of their schema.
type Subscription struct {
	SID, Sink string
	Types     map[string]int
}

// Add adds an active sink with a subscription to types of events, or without
// one, and returns its SID.
func (st *Streams) Add(destination string, types ...string) (sink string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	sink = NewSID("DG")
	st.sinks = append(st.sinks, Sink{sink, destination, "active"})
	if len(types) > 0 {
		subscription := Subscription{NewSID("DF"), sink, make(map[string]int)}
		for _, name := range types {
			subscription.Types[name] = 1
		}
		st.subscriptions = append(st.subscriptions, subscription)
	}
	return sink
}

// Change makes a change, such as to Fault, while the stand-in serves.
func (st *Streams) Change(change func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	change()
}

// Fail makes all sinks fail.
func (st *Streams) Fail() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.sinks {
		st.sinks[i].Status = "failed"
	}
}

// All returns the sinks and subscriptions.
func (st *Streams) All() ([]Sink, []Subscription) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.sinks), slices.Clone(st.subscriptions)
}

// Report posts an error to each sink that subscribes to errors, and returns the
// last answer.
func (s *Server) Report(code, description string) (*http.Response, error) {
	sid, at := NewSID("NO"), time.Now().UTC().Format(time.RFC3339Nano)
	payload, _ := json.Marshal(map[string]string{"error_code": code, "message": description})
	event := map[string]any{
		"specversion": "1.0", "type": ErrorType, "source": NewSID("AB"), "id": sid, "time": at,
		"dataschema": "https://events-schemas.twilio.com/ErrorLogs.Error/2", "datacontenttype": "application/json",
		"data": map[string]string{"sid": sid, "account_sid": AccountSID, "level": "ERROR", "error_code": code, "date_created": at, "payload": string(payload)},
	}
	var response *http.Response
	sinks, subscriptions := s.Streams.All()
	for _, sub := range subscriptions {
		i := slices.IndexFunc(sinks, func(sink Sink) bool { return sink.SID == sub.Sink })
		if sub.Types[ErrorType] == 0 || i < 0 {
			continue
		}
		var err error
		if response, err = post(sinks[i].Destination, event); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// post posts an event as Event Streams does: in an array, with the hash in the
// query, and signed.
func post(destination string, event map[string]any) (*http.Response, error) {
	body, err := json.Marshal([]any{event})
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body)
	address := destination + "?bodySHA256=" + hex.EncodeToString(hash[:])
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Twilio-Signature", signature.Sign(AuthToken, address, nil))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// handleStreams adds the routes of Event Streams.
func (s *Server) handleStreams() {
	for pattern, do := range map[string]func(r *http.Request) (status int, body any){
		"POST /v1/Sinks":                                s.createSink,
		"DELETE /v1/Sinks/{sid}":                        s.deleteSink,
		"POST /v1/Sinks/{sid}/Test":                     s.testSink,
		"POST /v1/Subscriptions":                        s.createSubscription,
		"DELETE /v1/Subscriptions/{sid}":                s.deleteSubscription,
		"POST /v1/Subscriptions/{sid}/SubscribedEvents": s.addType,
		"GET /v1/Sinks":                                 s.listSinks,
		"GET /v1/Subscriptions":                         s.listSubscriptions,
		"GET /v1/Subscriptions/{sid}/SubscribedEvents":  s.listTypes,
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.stream(w, r, do) })
	}
}

// stream answers a request to Event Streams, unless it goes wrong.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, do func(*http.Request) (int, any)) {
	r.ParseForm()
	switch fault := s.Streams.fault(r.Method); fault {
	case StreamsForbidden:
		refuse(w, http.StatusForbidden, 20003, "Permission Denied")
		return
	case SinkLimit:
		refuse(w, http.StatusBadRequest, 50000, "Sink limit of 100 reached")
		return
	case "", ServerErrorAfter, BadGatewayAfter, ResetAfter, SilenceAfter:
		s.Streams.mu.Lock()
		status, body := do(r)
		s.Streams.mu.Unlock()
		if refused, ok := body.(error); ok {
			refuse(w, status, 20001, refused.Error())
			return
		}
		if fault == "" {
			if body == nil {
				w.WriteHeader(status)
				return
			}
			answer(w, status, body)
			return
		}
		s.fail(w, r, fault)
	default:
		s.fail(w, r, fault)
	}
}

// fault returns what goes wrong with a request.
func (st *Streams) fault(method string) Fault {
	st.mu.Lock()
	defer st.mu.Unlock()
	if method == http.MethodGet {
		return ""
	}
	if st.changes++; st.Fault != nil {
		return st.Fault(st.changes)
	}
	return ""
}

func (s *Server) createSink(r *http.Request) (int, any) {
	var c struct{ Destination, Method string }
	json.Unmarshal([]byte(r.PostForm.Get("SinkConfiguration")), &c)
	if c.Destination == "" || c.Method != "POST" || r.PostForm.Get("SinkType") != "webhook" || r.PostForm.Get("Description") == "" {
		return http.StatusBadRequest, fmt.Errorf("not a webhook sink: %v", r.PostForm)
	}
	sink := Sink{NewSID("DG"), c.Destination, "active"}
	s.Streams.sinks = append(s.Streams.sinks, sink)
	return http.StatusCreated, sink.json()
}

func (sink Sink) json() map[string]any {
	return map[string]any{
		"sid": sink.SID, "description": "a sink", "status": sink.Status, "sink_type": "webhook",
		"sink_configuration": map[string]any{"destination": sink.Destination, "method": "POST", "batch_events": true},
	}
}

func (s *Server) deleteSink(r *http.Request) (int, any) {
	sid := r.PathValue("sid")
	if s.Streams.subscriptionOf(sid) >= 0 {
		return http.StatusBadRequest, fmt.Errorf("Sink with SID %s is in use", sid)
	}
	s.Streams.sinks = slices.DeleteFunc(s.Streams.sinks, func(sink Sink) bool { return sink.SID == sid })
	return http.StatusNoContent, nil
}

// testSink posts the test event, whose id is the account's SID, a moment later.
func (s *Server) testSink(r *http.Request) (int, any) {
	for _, sink := range s.Streams.sinks {
		if sink.SID != r.PathValue("sid") || s.Streams.Lost {
			continue
		}
		go post(sink.Destination, map[string]any{
			"specversion": "1.0", "type": alert.TestEvent, "source": "Sink", "id": AccountSID,
			"dataschema": "https://events-schemas.twilio.com/EventStreams.TestSink/1.json", "datacontenttype": "application/json",
			"time": time.Now().UTC().Format(time.RFC3339Nano), "data": map[string]string{"test_id": NewSID("TE")},
		})
	}
	return http.StatusCreated, map[string]string{"result": "submitted"}
}

func (s *Server) createSubscription(r *http.Request) (int, any) {
	sub := Subscription{NewSID("DF"), r.PostForm.Get("SinkSid"), make(map[string]int)}
	if s.Streams.subscriptionOf(sub.Sink) >= 0 {
		return http.StatusBadRequest, fmt.Errorf("Sink with SID %s is in use", sub.Sink)
	}
	for _, text := range r.PostForm["Types"] {
		var t eventType
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return http.StatusBadRequest, err
		}
		if err := s.Streams.subscribe(sub, t); err != nil {
			return http.StatusBadRequest, err
		}
	}
	s.Streams.subscriptions = append(s.Streams.subscriptions, sub)
	return http.StatusCreated, sub.json()
}

// eventType is a type of events, as subscriptions name it.
type eventType struct {
	Type    string `json:"type"`
	Version int    `json:"schema_version"`
}

func (st *Streams) subscribe(sub Subscription, t eventType) error {
	if st.OldSchema && t.Version > 1 {
		return fmt.Errorf("schema version %d of %s does not exist", t.Version, t.Type)
	}
	sub.Types[t.Type] = t.Version
	return nil
}

func (sub Subscription) json() map[string]any {
	return map[string]any{"sid": sub.SID, "sink_sid": sub.Sink, "account_sid": AccountSID, "description": "a subscription"}
}

// subscriptionOf returns the index of the subscription with a SID or of a sink,
// or -1.
func (st *Streams) subscriptionOf(sid string) int {
	return slices.IndexFunc(st.subscriptions, func(sub Subscription) bool { return sub.SID == sid || sub.Sink == sid })
}

func (s *Server) deleteSubscription(r *http.Request) (int, any) {
	s.Streams.subscriptions = slices.DeleteFunc(s.Streams.subscriptions, func(sub Subscription) bool { return sub.SID == r.PathValue("sid") })
	return http.StatusNoContent, nil
}

func (s *Server) addType(r *http.Request) (int, any) {
	i := s.Streams.subscriptionOf(r.PathValue("sid"))
	version, err := strconv.Atoi(r.PostForm.Get("SchemaVersion"))
	if i < 0 || err != nil {
		return http.StatusBadRequest, fmt.Errorf("no such subscription, or no version: %v", r.PostForm)
	}
	t := eventType{r.PostForm.Get("Type"), version}
	if err := s.Streams.subscribe(s.Streams.subscriptions[i], t); err != nil {
		return http.StatusBadRequest, err
	}
	return http.StatusCreated, t
}

func (s *Server) listSinks(r *http.Request) (int, any) {
	var all []any
	for _, sink := range s.Streams.sinks {
		all = append(all, sink.json())
	}
	return page("sinks", all, r.URL)
}

func (s *Server) listSubscriptions(r *http.Request) (int, any) {
	var all []any
	for _, sub := range s.Streams.subscriptions {
		if sink := r.URL.Query().Get("SinkSid"); sink == "" || sink == sub.Sink {
			all = append(all, sub.json())
		}
	}
	return page("subscriptions", all, r.URL)
}

func (s *Server) listTypes(r *http.Request) (int, any) {
	i := s.Streams.subscriptionOf(r.PathValue("sid"))
	if i < 0 {
		return http.StatusNotFound, fmt.Errorf("no such subscription")
	}
	var all []any
	types := s.Streams.subscriptions[i].Types
	for _, name := range slices.Sorted(maps.Keys(types)) {
		all = append(all, eventType{name, types[name]})
	}
	return page("types", all, r.URL)
}

// page returns the page of a list that a question asks for. The address of the
// next one names Twilio's host, as in Twilio's answers.
func page(key string, all []any, question *url.URL) (int, any) {
	query := question.Query()
	number, _ := strconv.Atoi(query.Get("Page"))
	if number > 0 && query.Get("PageToken") == "" {
		return http.StatusBadRequest, fmt.Errorf("page %d needs its PageToken", number)
	}
	from := min(number*streamsPage, len(all))
	to := min(from+streamsPage, len(all))
	meta := map[string]any{"key": key, "page": number, "page_size": streamsPage, "next_page_url": nil}
	if to < len(all) {
		query.Set("Page", strconv.Itoa(number+1))
		query.Set("PageToken", "PT"+strconv.Itoa(to))
		meta["next_page_url"] = "https://events.twilio.com" + question.Path + "?" + query.Encode()
	}
	return http.StatusOK, map[string]any{key: append([]any{}, all[from:to]...), "meta": meta}
}
