package admin

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// record records an event of a code that happened now.
func record(t testing.TB, box *outbox.Outbox, code, description string) string {
	t.Helper()
	results, err := box.Record(t.Context(), []alert.Event{{ID: twiliotest.NewSID("NO"), Kind: alert.Debugger, Account: twiliotest.AccountSID,
		Code: code, Level: alert.Error, Description: description, Time: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].String()
}

// post posts the form of the page.
func post(handler http.Handler, form url.Values, change func(*http.Request)) (status int, body string) {
	answer := ask(handler, "/silence", func(r *http.Request) {
		r.Method = http.MethodPost
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(form.Encode()))
		if change != nil {
			change(r)
		}
	})
	return answer.Code, answer.Body.String()
}

func TestSilenceByThePage(t *testing.T) {
	t.Parallel()
	settings := adminConfig(t, map[string]string{"TRIGGERS": "* every 1", "SMS_PER_HOUR": "100"})
	box := openOutbox(t, settings.Outbox)
	page := newPage(settings, box, metrics.New())
	body := func(path string) string { return ask(page, path, nil).Body.String() }

	for _, form := range []url.Values{{"code": {"11200"}, "for": {"4h"}}, {"code": {" all "}, "for": {"tomorrow"}}} {
		if status, text := post(page, form, nil); status != http.StatusSeeOther {
			t.Fatalf("%v was answered %d %s", form, status, text)
		}
	}
	for _, want := range []string{"<b>11200 is silenced until ", "<b>all codes are silenced until " + alert.Daily.End(time.Now()).Format("2006-01-02 15:04 UTC")} {
		if !strings.Contains(body("/"), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if !strings.Contains(body("/metrics"), "\ntwilio_error_sms_silences 2\n") {
		t.Error("the metrics do not tell of two silences")
	}
	if said := record(t, box, "11200", "Bad gateway"); !strings.HasPrefix(said, "silenced until ") {
		t.Errorf("the event was answered %q", said)
	}
	if !strings.Contains(body("/"), "Bad gateway") || !strings.Contains(body("/"), ">silenced until ") {
		t.Error("the page does not show the silenced event")
	}
	for _, code := range []string{"11200", "all"} {
		if status, text := post(page, url.Values{"code": {code}, "for": {"end"}}, nil); status != http.StatusSeeOther {
			t.Fatalf("to end %s was answered %d %s", code, status, text)
		}
	}
	if strings.Contains(body("/"), "<b>11200 is silenced") || !strings.Contains(body("/metrics"), "\ntwilio_error_sms_silences 0\n") {
		t.Error("the silences did not end")
	}
	if said := record(t, box, "11200", "Bad gateway"); !strings.Contains(said, "11200") {
		t.Errorf("after the silence the event was answered %q", said)
	}
}

func TestSilenceIsRefused(t *testing.T) {
	t.Parallel()
	open := adminConfig(t, nil)
	closed := open
	closed.AdminPassword = "correct horse"
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	good := url.Values{"code": {"11200"}, "for": {"1h"}}
	box := openOutbox(t, open.Outbox)
	for name, test := range map[string]struct {
		password bool
		form     url.Values
		change   func(*http.Request)
		want     int
	}{
		"from the page":               {false, good, header("Sec-Fetch-Site", "same-origin"), 303},
		"by a browser without it":     {false, good, header("Origin", "http://127.0.0.1:9090"), 303},
		"by another site":             {false, good, header("Sec-Fetch-Site", "cross-site"), 403},
		"by another origin":           {false, good, header("Origin", "https://evil.example.com"), 403},
		"by a sandboxed frame":        {false, good, header("Origin", "null"), 403},
		"by a stranger's name":        {false, good, func(r *http.Request) { r.Host = "evil.example.com" }, 403},
		"without the password":        {true, good, nil, 401},
		"with the password":           {true, good, func(r *http.Request) { r.SetBasicAuth("", "correct horse") }, 303},
		"with it, by another origin":  {true, good, func(r *http.Request) { r.SetBasicAuth("", "correct horse"); r.Header.Set("Origin", "null") }, 403},
		"no code":                     {false, url.Values{"code": {""}, "for": {"1h"}}, nil, 400},
		"what is not a code":          {false, url.Values{"code": {"<script>"}, "for": {"1h"}}, nil, 400},
		"for ever":                    {false, url.Values{"code": {"11200"}, "for": {"99999h"}}, nil, 400},
		"for no time":                 {false, url.Values{"code": {"11200"}}, nil, 400},
		"a silence that ended before": {false, url.Values{"code": {"30003"}, "for": {"end"}}, nil, 303},
		"got, not posted":             {false, good, func(r *http.Request) { r.Method = http.MethodGet }, 405},
	} {
		settings := open
		if test.password {
			settings = closed
		}
		if status, text := post(newPage(settings, box, metrics.New()), test.form, test.change); status != test.want {
			t.Errorf("%s: answer %d %s, want %d", name, status, text, test.want)
		}
	}
}

// TestOlderOnes: the links to older ones lead to every alert and every event once.
func TestOlderOnes(t *testing.T) {
	t.Parallel()
	settings := adminConfig(t, map[string]string{"TRIGGERS": "* every 1", "SMS_PER_HOUR": "1000"})
	box := openOutbox(t, settings.Outbox)
	for i := range 130 {
		record(t, box, []string{"11200", "30003", "30007"}[i%3], fmt.Sprintf("number %d!", i))
	}
	page := newPage(settings, box, metrics.New())
	link := regexp.MustCompile(`href="(\?[^"]*)">(?:older|more) (alerts|events)<`)
	for _, test := range []struct {
		start, what, row string
		want             int
	}{
		{"", "alerts", `id="alert-`, 130},
		{"", "events", `id="event-`, 130},
		{"?code=30007", "alerts", `id="alert-`, 43},
		{"?code=30007", "events", `id="event-`, 43},
		{"?status=pending", "alerts", `id="alert-`, 130},
		{"?status=failed", "alerts", `id="alert-`, 0},
		{"?code=12345", "events", `id="event-`, 0},
	} {
		seen := make(map[string]int)
		pages, next := 0, test.start
		for ; next != "" || pages == 0; pages++ {
			answer := ask(page, "/"+next, nil)
			if answer.Code != http.StatusOK {
				t.Fatalf("%s: %d", next, answer.Code)
			}
			for _, row := range strings.Split(answer.Body.String(), test.row)[1:] {
				id, _, _ := strings.Cut(row, `"`)
				seen[id]++
			}
			next = ""
			for _, found := range link.FindAllStringSubmatch(answer.Body.String(), -1) {
				if found[2] == test.what {
					next = html.UnescapeString(found[1])
				}
			}
		}
		for id, n := range seen {
			if n > 1 {
				t.Errorf("%s %s: %s is there %d times", test.start, test.what, id, n)
			}
		}
		if len(seen) != test.want {
			t.Errorf("%s %s: %d on %d pages, want %d", test.start, test.what, len(seen), pages, test.want)
		}
	}
	for _, odd := range []string{"?alerts=yesterday", "?events=~NO1"} {
		if answer := ask(page, "/"+odd, nil); strings.Count(answer.Body.String(), `id="alert-`) != briefAlerts {
			t.Errorf("%s does not show the newest", odd)
		}
	}
	if answer := ask(page, "/?status=read", nil); answer.Code != http.StatusOK || strings.Contains(answer.Body.String(), `id="alert-`) {
		t.Errorf("a status that is none: answer %d", answer.Code)
	}
}

// TestFoldedEvents: the newest codes, and where one is missing, more are all.
func TestFoldedEvents(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1732543500000)
	var all []outbox.PastEvent
	for i, code := range []string{"11200", "30003", "11200", "30007", "11200"} {
		all = append(all, outbox.PastEvent{Event: alert.Event{ID: fmt.Sprint("NO", i), Code: code}, Received: now.Add(-time.Duration(i) * time.Minute)})
	}
	further := outbox.Position{At: now.Add(-time.Hour), ID: "NO9"}
	for codes, want := range map[int]string{2: "[3 1] 1732543500001~", 3: "[3 1 1] 1732539900000~NO9"} {
		groups, older := codeGroups(all, codes, further)
		var sizes []int
		for _, g := range groups {
			sizes = append(sizes, len(g.Events))
		}
		if got := fmt.Sprint(sizes, " ", new(pageView).Position(older)); got != want {
			t.Errorf("%d codes: %s, want %s", codes, got, want)
		}
	}
}

// TestAlertCutAtTheLimit is left for the next page, with all its phones.
func TestAlertCutAtTheLimit(t *testing.T) {
	t.Parallel()
	now := time.Now()
	sms := func(event, to string) outbox.PastSMS {
		return outbox.PastSMS{SMS: alert.SMS{To: to}, Created: now, Event: outbox.PastEvent{Event: alert.Event{ID: event}}}
	}
	all := []outbox.PastSMS{sms("NO3", "1"), sms("NO3", "2"), sms("NO2", "1"), sms("NO2", "2"), sms("NO1", "1")}
	for _, test := range []struct {
		rows, limit int
		want        []int // phones of each alert
		older       string
	}{{9, 6, []int{2, 2, 1}, ""}, {9, 5, []int{2, 2}, "NO2"}, {1, 5, []int{2}, "NO3"}, {2, 6, []int{2, 2}, "NO2"}, {3, 6, []int{2, 2, 1}, ""}} {
		alerts, older := alertRows(all, test.rows, test.limit)
		var got []int
		for _, a := range alerts {
			got = append(got, len(a))
		}
		if !slices.Equal(got, test.want) || older.ID != test.older {
			t.Errorf("%d rows, limit %d: phones %v and older than %q, want %v and %q", test.rows, test.limit, got, older.ID, test.want, test.older)
		}
	}
}

// rendered returns what a template of the page makes of a value.
func rendered(t *testing.T, name string, value any) string {
	t.Helper()
	var text strings.Builder
	if err := pageTemplate.ExecuteTemplate(&text, name, value); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text.String(), "")
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 11, 25, 14, 5, 0, 0, time.UTC)
	for want, s := range map[string]outbox.PastSMS{
		"held back by SMS_PER_HOUR, its summary is due at Nov 25 14:05 UTC":  {Status: outbox.Held, Due: true, Summary: at},
		"held back by SMS_PER_HOUR, told in the summary of Nov 25 14:05 UTC": {Status: outbox.Held, Summary: at},
		"held back by SMS_PER_HOUR, told in a summary":                       {Status: outbox.Held},
		"waits to be sent":                                          {Status: outbox.Pending},
		"attempt 2 failed, next at Nov 25 14:05 UTC":                {Status: outbox.Pending, Attempts: 2, Next: at},
		"perhaps accepted: asks Twilio’s log before it tries again": {Status: outbox.Sending, SMS: alert.SMS{DoubtSince: at}},
		"on its way to Twilio":                                      {Status: outbox.Sending},
		"accepted by Twilio":                                        {Status: outbox.Sent},
		"reached the phone":                                         {Status: outbox.Delivered},
		"did not reach the phone":                                   {Status: outbox.Undelivered},
		"not accepted by Twilio, given up":                          {Status: outbox.Failed},
	} {
		if got := rendered(t, "outcome", s); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}

func TestTroubles(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 11, 25, 14, 5, 0, 0, time.UTC)
	h := outbox.History{
		Phones: []outbox.Phone{
			{To: "+15551230001", Delivered: at.Add(-time.Hour), Lost: at, Error: "30005"},
			{To: "+15551230002", Delivered: at, Lost: at.Add(-time.Hour), Error: "21608"},
			{To: "+15551230003", Accepted: at, Lost: at.Add(-time.Hour), Error: "30005"},
			{To: "+15551230004"},
		},
		Losses: []outbox.Loss{{To: "+15551230001", Status: outbox.Undelivered, Error: "30005", N: 3}, {To: "+15551230002", Status: outbox.Failed, Error: "21608", N: 2}},
	}
	want := regexp.MustCompile(`(?s)^\s*…0001 gets nothing: its last SMS, of Nov 25 14:05 UTC, was lost: error 30005 .*
…0001: 3 SMS undelivered in the last day: error 30005 .*
…0002: 2 SMS failed in the last day: error 21608 \(.*\): verify the phone in the Console[^…]*$`)
	if got := rendered(t, "troubles", pageView{History: h}); !want.MatchString(got) {
		t.Errorf("got %q", got)
	}
	if why := reason("given up: connection refused"); why.Code() != "" || why.Name() != "" {
		t.Errorf("%q has code %q, name %q", why, why.Code(), why.Name())
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	digits := "0123456789abcdef0123456789abcdef"
	for sid, want := range map[string]string{
		"NO" + digits:             "https://www.twilio.com/console/debugger/NO" + digits,
		"CA" + digits:             "https://www.twilio.com/console/voice/calls/logs/CA" + digits,
		"SM" + digits:             "https://www.twilio.com/console/sms/logs/SM" + digits,
		"MM" + digits:             "https://www.twilio.com/console/sms/logs/MM" + digits,
		"CA/../" + digits[:28]:    "",
		"AC" + digits:             "",
		"a made-up identity 2026": "",
		"":                        "",
	} {
		if got := console(sid); got != want {
			t.Errorf("%q: %q, want %q", sid, got, want)
		}
	}
}
