package twiliotest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// MaxEntries is the most entries of the error log that Twilio gives for one
// question. Source: https://www.twilio.com/docs/usage/monitor-alert.
const MaxEntries = 10_000

// Faults of the error log, besides those of sending.
const (
	Forbidden Fault = "403"
	CutPage   Fault = "connection cut in the middle of a page"
)

// Entry is an entry of Twilio's error log, a Monitor Alert.
type Entry struct {
	SID, Code, Level, Text, Resource string
	// Generated is when the error happened, Created when it enters the log.
	Generated, Created time.Time
}

// Monitor is Twilio's error log. The zero value is empty and works.
type Monitor struct {
	// WholeDays makes the filter look at dates without their time.
	WholeDays bool
	// Fault returns what goes wrong with the nth page, from 1, or "". It may be
	// nil.
	Fault func(n int, query url.Values) Fault

	mu      sync.Mutex
	entries []Entry
	queries []url.Values
}

// Add puts entries into the error log.
func (m *Monitor) Add(entries ...Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, entries...)
}

// Queries returns the query of each page that was asked for so far.
func (m *Monitor) Queries() []url.Values {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.queries)
}

// Find returns what Twilio gives for a question: the entries generated from
// one time to another that have entered the log by now, the newest first, and
// at most MaxEntries of them.
func (m *Monitor) Find(from, to time.Time) []Entry {
	if m.WholeDays {
		const day = 24 * time.Hour
		from, to = from.Truncate(day), to.Truncate(day).Add(day)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var found []Entry
	for _, e := range m.entries {
		at := e.Generated.Truncate(time.Second)
		if !at.Before(from) && !at.After(to) && !e.Created.After(now) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b Entry) int { return b.Generated.Compare(a.Generated) })
	return found[:min(len(found), MaxEntries)]
}

// alerts answers a page of the error log. The address of the next page names
// Twilio's host, as in Twilio's answers.
func (s *Server) alerts(w http.ResponseWriter, r *http.Request) {
	m, query := &s.Monitor, r.URL.Query()
	m.mu.Lock()
	m.queries = append(m.queries, query)
	n := len(m.queries)
	m.mu.Unlock()
	page, err := m.page(query)
	if err != nil {
		refuse(w, http.StatusBadRequest, 20001, err.Error())
		return
	}
	fault := Fault("")
	if m.Fault != nil {
		fault = m.Fault(n, query)
	}
	switch fault {
	case "":
		answer(w, http.StatusOK, page)
	case CutPage:
		whole := httptest.NewRecorder()
		answer(whole, http.StatusOK, page)
		w.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
		w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		s.fail(w, r, fault)
	}
}

// page returns the body of a page. A page other than the first needs the token
// that the page before it gave.
func (m *Monitor) page(query url.Values) (map[string]any, error) {
	from, wrongStart := time.Parse("2006-01-02T15:04:05Z", query.Get("StartDate"))
	to, wrongEnd := time.Parse("2006-01-02T15:04:05Z", query.Get("EndDate"))
	size, wrongSize := strconv.Atoi(query.Get("PageSize"))
	if wrongStart != nil || wrongEnd != nil || wrongSize != nil || size < 1 || size > 1000 {
		return nil, fmt.Errorf("expected StartDate, EndDate and a PageSize of up to 1000, got %v", query)
	}
	found := m.Find(from, to)
	first, number := 0, 0
	if token := query.Get("PageToken"); token != "" {
		number, _ = strconv.Atoi(query.Get("Page"))
		first = slices.IndexFunc(found, func(e Entry) bool { return "PA"+e.SID == token })
	} else if query.Get("Page") > "0" {
		first = -1
	}
	if first < 0 {
		return nil, fmt.Errorf("page %s needs its PageToken", query.Get("Page"))
	}
	last := min(first+size, len(found))
	alerts := make([]map[string]any, 0, size)
	for _, e := range found[first:last] {
		alerts = append(alerts, e.json())
	}
	meta := map[string]any{"key": "alerts", "page": number, "page_size": size, "next_page_url": nil}
	if last < len(found) {
		next := url.Values{"StartDate": query["StartDate"], "EndDate": query["EndDate"], "PageSize": query["PageSize"],
			"Page": {strconv.Itoa(number + 1)}, "PageToken": {"PA" + found[last].SID}}
		meta["next_page_url"] = "https://monitor.twilio.com/v1/Alerts?" + next.Encode()
	}
	return map[string]any{"alerts": alerts, "meta": meta}, nil
}

func (e Entry) json() map[string]any {
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	return map[string]any{
		"sid": e.SID, "account_sid": AccountSID, "error_code": e.Code, "log_level": e.Level, "alert_text": e.Text,
		"resource_sid": e.Resource, "service_sid": nil, "api_version": "2010-04-01", "request_method": "POST",
		"request_url": "https://example.com/sms", "more_info": "https://www.twilio.com/docs/errors/" + e.Code,
		"date_generated": date(e.Generated), "date_created": date(e.Created), "date_updated": date(e.Created),
		"url": "https://monitor.twilio.com/v1/Alerts/" + e.SID,
	}
}
