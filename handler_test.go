package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/signature"
)

const (
	publicURL   = "https://alerts.example.com"
	firstToken  = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	secondToken = "ffffffffffffffffffffffffffffffff"
	formType    = "application/x-www-form-urlencoded"
	jsonType    = "application/json"
	recipeForm  = "ErrorCode=11200&Description=HTTP+retrieval+failure"
	recipeText  = "An error on your Twilio app occurred! 11200 HTTP retrieval failure https://www.twilio.com/docs/api/errors/11200"
)

// TestRecipe is the recipe of 2014: a form with ErrorCode and Description is
// posted, and the phone gets an SMS with both and the link.
func TestRecipe(t *testing.T) {
	t.Parallel()
	handler, box, _ := newHandler(t, map[string]string{"ALERT_TO": "+15005550009"})
	phone := startPhone(t, box)

	w := request(handler, "POST", "/error_trigger", formType, recipeForm, "")
	if w.Code != http.StatusOK || w.Body.String() != recipeText+"\n" {
		t.Errorf("answered %d %q, want 200 %q", w.Code, w.Body, recipeText)
	}

	if got := <-phone; got.To != "+15005550009" || got.Body != recipeText {
		t.Errorf("%s got %q, want +15005550009 and %q", got.To, got.Body, recipeText)
	}
}

// phone receives SMS. It is the sender of a worker: in the server Twilio stands
// here.
type phone chan alert.SMS

func (p phone) Send(_ context.Context, sms alert.SMS) (sid string, err error) {
	p <- sms
	return "SMcccccccccccccccccccccccccccccccc", nil
}

// startPhone starts a worker that sends the SMS of box to a phone.
func startPhone(t *testing.T, box *outbox.Outbox) phone {
	p := make(phone, 10)
	var worker sync.WaitGroup
	worker.Go(func() { outbox.NewWorker(box, p).Run(t.Context()) })
	t.Cleanup(worker.Wait)
	return p
}

// newHandler returns a handler in a dry run with the settings env, its outbox in
// a folder of its own, and what it logs.
func newHandler(t testing.TB, env map[string]string) (http.Handler, *outbox.Outbox, *bytes.Buffer) {
	t.Helper()
	settings := load(t, env)
	box := openOutbox(t, settings.Outbox)
	var log bytes.Buffer
	return NewHandler(settings, box, box.Health, metrics.New().Webhook, slog.New(slog.NewTextHandler(&log, nil))), box, &log
}

// openOutbox opens an outbox in a folder of its own.
func openOutbox(t testing.TB, options outbox.Options) *outbox.Outbox {
	t.Helper()
	options.Logger = slog.New(slog.DiscardHandler)
	box, err := outbox.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// load returns the settings env of a dry run.
func load(t testing.TB, env map[string]string) config.Config {
	t.Helper()
	all := map[string]string{"DRY_RUN": "true"}
	maps.Copy(all, env)
	settings, err := config.Load(func(name string) string { return all[name] })
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// request serves one request, with an X-Twilio-Signature unless it is empty.
func request(handler http.Handler, method, target, contentType, body, signature string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if signature != "" {
		r.Header.Set("X-Twilio-Signature", signature)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// history returns what is in an outbox.
func history(t *testing.T, box *outbox.Outbox) outbox.History {
	t.Helper()
	h, err := box.History(t.Context(), time.Now(), outbox.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWaysToPostTheRecipe(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]struct{ target, contentType, body string }{
		"a form":                           {"/error_trigger", formType, recipeForm},
		"a form in another charset's name": {"/error_trigger", formType + "; charset=utf-8", recipeForm},
		"the query":                        {"/error_trigger?" + recipeForm, "", ""},
		"the query, no form in the body":   {"/error_trigger?" + recipeForm, formType, ""},
		"with slashes":                     {"//error_trigger/", formType, recipeForm},
		"a percent sign that encodes none": {"/error_trigger?a=100%", formType, recipeForm},
		"half query, half form":            {"/error_trigger?ErrorCode=11200", formType, "Description=HTTP+retrieval+failure"},
		"JSON with strings":                {"/error_trigger", jsonType, `{"ErrorCode":"11200","Description":"HTTP retrieval failure"}`},
		"JSON with numbers":                {"/error_trigger", jsonType, `{"ErrorCode":11200,"Description":"HTTP retrieval failure"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, _, _ := newHandler(t, nil)
			w := request(handler, "POST", r.target, r.contentType, r.body, "")
			if w.Code != http.StatusOK || w.Body.String() != recipeText+"\n" {
				t.Errorf("got %d %q, want 200 %q", w.Code, w.Body, recipeText)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	handler, box, _ := newHandler(t, nil)
	for name, r := range map[string]struct {
		method, target, contentType, body string
		status                            int
		answer                            string
	}{
		"nothing of Twilio's":    {"POST", "/error_trigger", formType, "a=b", 400, "missing ErrorCode, Description or AppMonitorTriggerSid"},
		"an empty form":          {"POST", "/error_trigger", formType, "", 400, "missing ErrorCode"},
		"nothing at all":         {"POST", "/error_trigger", "", "", 400, "missing ErrorCode"},
		"broken JSON":            {"POST", "/error_trigger", jsonType, `{"ErrorCode":`, 400, "broken JSON"},
		"JSON that is a number":  {"POST", "/error_trigger", jsonType, "11200", 400, "expected a JSON object"},
		"JSON that is null":      {"POST", "/error_trigger", jsonType, "null", 400, "expected a JSON object"},
		"an empty array":         {"POST", "/error_trigger", jsonType, "[]", 400, "an empty array"},
		"an array of bad events": {"POST", "/error_trigger", jsonType, `[1,{"a":2}]`, 400, "event 1 of 2"},
		"a broken Payload":       {"POST", "/error_trigger", formType, "Sid=NO1&Payload={'a'", 400, "the field Payload is not a JSON object"},
		"another content type":   {"POST", "/error_trigger", "text/plain", "ErrorCode=11200", 415, "expected application/x-www-form-urlencoded or application/json"},
		"a body of no type":      {"POST", "/error_trigger", "", "ErrorCode=11200", 415, "expected"},
		"multipart":              {"POST", "/error_trigger", "multipart/form-data; boundary=x", "--x--", 415, "expected"},
		"another method":         {"GET", "/error_trigger?ErrorCode=11200", "", "", 405, "this path takes POST"},
		"the address alone":      {"POST", "/", formType, "ErrorCode=11200", 405, "Twilio posts errors to /error_trigger"},
		"another path":           {"POST", "/error", formType, "ErrorCode=11200", 404, "Twilio posts errors to /error_trigger"},
		"too large":              {"POST", "/error_trigger", formType, "Description=" + strings.Repeat("x", 1<<20), 413, "the body is above 1048576 bytes"},
		"a report of nothing":    {"POST", "/message_status", formType, "MessageStatus=sent", 400, "missing MessageSid or MessageStatus"},
	} {
		t.Run(name, func(t *testing.T) {
			w := request(handler, r.method, r.target, r.contentType, r.body, "")
			if w.Code != r.status || !strings.Contains(w.Body.String(), r.answer) || strings.Count(w.Body.String(), "\n") != 1 {
				t.Errorf("got %d %q, want %d and one line with %q", w.Code, w.Body, r.status, r.answer)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("Allow is missing")
			}
			if events := history(t, box).Events; len(events) > 0 {
				t.Errorf("recorded %v", events)
			}
		})
	}
}

// TestStrangeCodes: nothing that a stranger sent becomes part of a link.
func TestStrangeCodes(t *testing.T) {
	t.Parallel()
	handler, _, log := newHandler(t, nil)
	for _, code := range []string{"11200/../..", "11200\n", "\u0661\u0661\u0662\u0660\u0660", strings.Repeat("1", 500), "<script>", "", "12", "1234567", "-1120"} {
		log.Reset()
		w := request(handler, "POST", "/error_trigger", formType, url.Values{"ErrorCode": {code}, "Description": {"broken"}}.Encode(), "")
		want := "An error on your Twilio app occurred! broken https://www.twilio.com/docs/api/errors\n"
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("code %q: got %d %q, want 200 %q", code, w.Code, w.Body, want)
		}
		if code != "" && strings.Contains(log.String(), code) && len(code) > 4 {
			t.Errorf("code %q is in the log: %s", code, log)
		}
	}
}

// fullDisk is an outbox that cannot be written.
type fullDisk struct{}

func (fullDisk) RecordRequest(context.Context, string, []alert.Event) ([]outbox.Result, error) {
	return nil, errors.New("database or disk is full")
}

func (fullDisk) Deliver(context.Context, alert.Report) (bool, error) {
	return false, errors.New("database or disk is full")
}

func TestOutboxUnavailable(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	healthy := func(context.Context) outbox.Health { return outbox.Health{} }
	handler := NewHandler(load(t, nil), fullDisk{}, healthy, metrics.New().Webhook, slog.New(slog.NewTextHandler(&log, nil)))
	for target, body := range map[string]string{
		"/error_trigger":  recipeForm,
		"/message_status": "MessageSid=SM33333333333333333333333333333333&MessageStatus=delivered",
	} {
		log.Reset()
		w := request(handler, "POST", target, formType, body, "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "nothing was recorded") {
			t.Errorf("%s: got %d %q", target, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "disk") || !strings.Contains(log.String(), "disk is full") {
			t.Errorf("%s: the cause belongs into the log %q, not into the answer %q", target, log.String(), w.Body)
		}
	}
}

// TestBadEventInBatch: one bad event must not lose the others.
func TestBadEventInBatch(t *testing.T) {
	t.Parallel()
	handler, box, log := newHandler(t, nil)
	event := `{"specversion":"1.0","type":"com.twilio.error-logs.error.logged","id":"NO%d","data":{"error_code":"11200","level":"ERROR"}}`
	w := request(handler, "POST", "/error_trigger", jsonType, fmt.Sprintf("["+event+`,"bad",`+event+"]", 1, 2), "")
	events := history(t, box).Events
	if w.Code != http.StatusOK || len(events) != 2 || !strings.Contains(w.Body.String(), "event 2 of 3") || !strings.Contains(log.String(), "event 2 of 3") {
		t.Errorf("got %d %q, %d events recorded, log %q", w.Code, w.Body, len(events), log)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	form := url.Values{"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}, "ParentAccountSid": {""}}
	repeated := url.Values{"ErrorCode": {"11200"}, "Description": {"b", "a", "b"}}
	json := `{"ErrorCode":"11200"}`
	sum := sha256.Sum256([]byte(json))
	hashed := "/error_trigger?bodySHA256=" + hex.EncodeToString(sum[:])
	signed := func(address string) string { return signature.Sign(firstToken, address, form) }
	for name, r := range map[string]struct {
		env               map[string]string
		target, signature string
		body, contentType string
		want              int
	}{
		"right":                          {nil, "/error_trigger", signed(publicURL + "/error_trigger"), form.Encode(), formType, 200},
		"missing":                        {nil, "/error_trigger", "", form.Encode(), formType, 403},
		"of another token":               {nil, "/error_trigger", signature.Sign("12345", publicURL+"/error_trigger", form), form.Encode(), formType, 403},
		"of an empty token":              {nil, "/error_trigger", signature.Sign("", publicURL+"/error_trigger", form), form.Encode(), formType, 403},
		"of another URL":                 {nil, "/error_trigger", signed("https://evil.example.com/error_trigger"), form.Encode(), formType, 403},
		"of another body":                {nil, "/error_trigger", signed(publicURL + "/error_trigger"), form.Encode() + "&More=1", formType, 403},
		"of http for https":              {nil, "/error_trigger", signed("http://alerts.example.com/error_trigger"), form.Encode(), formType, 403},
		"with the default port":          {nil, "/error_trigger", signed(publicURL + ":443/error_trigger"), form.Encode(), formType, 200},
		"port in PUBLIC_URL":             {map[string]string{"PUBLIC_URL": publicURL + ":8443"}, "/error_trigger", signed(publicURL + ":8443/error_trigger"), form.Encode(), formType, 200},
		"port in PUBLIC_URL, not signed": {map[string]string{"PUBLIC_URL": publicURL + ":8443"}, "/error_trigger", signed(publicURL + "/error_trigger"), form.Encode(), formType, 200},
		"a query":                        {nil, "/error_trigger?a=%20b&c", signed(publicURL + "/error_trigger?a=%20b&c"), form.Encode(), formType, 200},
		"another query":                  {nil, "/error_trigger?a=2", signed(publicURL + "/error_trigger?a=1"), form.Encode(), formType, 403},
		"all fields in the query":        {nil, "/error_trigger?" + form.Encode(), signature.Sign(firstToken, publicURL+"/error_trigger?"+form.Encode(), nil), "", "", 200},
		"repeated fields":                {nil, "/error_trigger", signature.Sign(firstToken, publicURL+"/error_trigger", repeated), repeated.Encode(), formType, 200},
		"prefix removed by the proxy":    {map[string]string{"PUBLIC_URL": publicURL + "/alerts/"}, "/error_trigger", signed(publicURL + "/alerts/error_trigger"), form.Encode(), formType, 200},
		"prefix kept by the proxy":       {map[string]string{"PUBLIC_URL": publicURL + "/alerts"}, "/alerts/error_trigger", signed(publicURL + "/alerts/error_trigger"), form.Encode(), formType, 200},
		"prefix twice":                   {map[string]string{"PUBLIC_URL": publicURL + "/alerts"}, "/alerts/alerts/error_trigger", signed(publicURL + "/alerts/alerts/error_trigger"), form.Encode(), formType, 404},
		"an empty query":                 {nil, "/error_trigger?", signed(publicURL + "/error_trigger?"), form.Encode(), formType, 200},
		"second token":                   {map[string]string{"WEBHOOK_AUTH_TOKENS": "x1, " + secondToken}, "/error_trigger", signature.Sign(secondToken, publicURL+"/error_trigger", form), form.Encode(), formType, 200},
		"JSON with its hash":             {nil, hashed, signature.Sign(firstToken, publicURL+hashed, nil), json, jsonType, 200},
		"JSON with another's hash":       {nil, hashed, signature.Sign(firstToken, publicURL+hashed, nil), `{"ErrorCode":"11201"}`, jsonType, 403},
		"JSON with an upper-case hash":   {nil, "/error_trigger?bodySHA256=" + strings.ToUpper(hex.EncodeToString(sum[:])), signature.Sign(firstToken, publicURL+"/error_trigger?bodySHA256="+strings.ToUpper(hex.EncodeToString(sum[:])), nil), json, jsonType, 403},
		"JSON without a hash":            {nil, "/error_trigger", signature.Sign(firstToken, publicURL+"/error_trigger", nil), json, jsonType, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"PUBLIC_URL": publicURL, "TWILIO_AUTH_TOKEN": firstToken}
			maps.Copy(env, r.env)
			handler, box, log := newHandler(t, env)
			w := request(handler, "POST", r.target, r.contentType, r.body, r.signature)
			if events := history(t, box).Events; w.Code != r.want || len(events) > 0 != (w.Code == 200) {
				t.Errorf("got %d with %d events, want %d: %s%s", w.Code, len(events), r.want, w.Body, log)
			}
			if w.Code == http.StatusForbidden && (!strings.Contains(log.String(), "checked_url="+publicURL) && !strings.Contains(log.String(), `checked_url="`+publicURL) || strings.Contains(log.String(), firstToken)) {
				t.Errorf("the log should say which URL was checked, and no token: %s", log)
			}
		})
	}
}

// TestTokensHaveOneUse: the token of a subaccount reports its errors, and not
// those of others, nor what became of our SMS.
func TestTokensHaveOneUse(t *testing.T) {
	t.Parallel()
	const ours, theirs = "AC0123456789abcdef0123456789abcdef", "ACffffffffffffffffffffffffffffffff"
	handler, _, _ := newHandler(t, map[string]string{
		"PUBLIC_URL": publicURL, "TWILIO_AUTH_TOKEN": firstToken, "WEBHOOK_AUTH_TOKENS": "anyAccounts," + theirs + ":" + secondToken,
	})
	report := url.Values{"MessageSid": {"SM33333333333333333333333333333333"}, "MessageStatus": {"delivered"}}
	of := func(account string) url.Values { return url.Values{"ErrorCode": {"11200"}, "AccountSid": {account}} }
	for name, c := range map[string]struct {
		token, target string
		form          url.Values
		want          int
	}{
		"our error":                          {firstToken, "/error_trigger", of(ours), 200},
		"an error of any account":            {"anyAccounts", "/error_trigger", of(ours), 200},
		"their error":                        {secondToken, "/error_trigger", of(theirs), 200},
		"our error by their token":           {secondToken, "/error_trigger", of(ours), 403},
		"an error of no account":             {secondToken, "/error_trigger", of(""), 403},
		"our SMS":                            {firstToken, "/message_status", report, 204},
		"our SMS by the token of any":        {"anyAccounts", "/message_status", report, 403},
		"our SMS by their token":             {secondToken, "/message_status", report, 403},
		"our SMS by their token and account": {theirs + ":" + secondToken, "/message_status", report, 403},
	} {
		w := request(handler, "POST", c.target, formType, c.form.Encode(), signature.Sign(c.token, publicURL+c.target, c.form))
		if w.Code != c.want {
			t.Errorf("%s: got %d %q, want %d", name, w.Code, w.Body, c.want)
		}
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	handler, _, _ := newHandler(t, map[string]string{
		"DRY_RUN": "false", "TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef", "TWILIO_AUTH_TOKEN": firstToken,
		"ALERT_FROM": "+15005550006", "ALERT_TO": "+15005550009", "POLL_EVERY": "5m",
	})
	if w := request(handler, "POST", "/error_trigger", formType, "ErrorCode=11200", ""); w.Code != http.StatusForbidden {
		t.Errorf("without PUBLIC_URL a webhook got %d, want 403", w.Code)
	}
}

func TestMessageStatus(t *testing.T) {
	t.Parallel()
	handler, box, log := newHandler(t, nil)
	phone := startPhone(t, box)
	request(handler, "POST", "/error_trigger", formType, recipeForm, "")
	sms := <-phone
	body := "MessageSid=SMcccccccccccccccccccccccccccccccc&MessageStatus=undelivered&ErrorCode=30034&To=%2B15005550009"
	if w := request(handler, "POST", "/message_status?sms="+sms.ID, formType, body, ""); w.Code != http.StatusNoContent {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	got := history(t, box).SMS[0]
	if got.SID != "SMcccccccccccccccccccccccccccccccc" || got.Status != outbox.Undelivered || got.Error != "30034" {
		t.Errorf("the outbox holds %+v, want an SMS that is undelivered with error 30034", got)
	}
	for _, word := range []string{"level=ERROR", "code=30034", "...0009"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("%q is not in the log: %s", word, log)
		}
	}
	if strings.Contains(log.String(), "15005550009") {
		t.Errorf("a phone number is in the log: %s", log)
	}
}

// TestProbes: /healthz tells what a person must fix, /livez only what a restart
// may, and both are answered below the path of PUBLIC_URL, too.
func TestProbes(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PUBLIC_URL": publicURL + "/alerts", "TWILIO_AUTH_TOKEN": firstToken}
	for name, c := range map[string]struct {
		health outbox.Health
		path   string
		status int
		answer string
	}{
		"healthy":                 {outbox.Health{}, "/healthz", 200, "ok\n"},
		"healthy, live":           {outbox.Health{}, "/livez", 200, "ok\n"},
		"with notes":              {outbox.Health{Notes: []string{"2 SMS undelivered"}}, "/healthz", 200, "ok\n2 SMS undelivered\n"},
		"with notes, live":        {outbox.Health{Notes: []string{"2 SMS undelivered"}}, "/livez", 200, "ok\n"},
		"nothing is sent":         {outbox.Health{Problem: "3 SMS overdue"}, "/healthz", 503, "3 SMS overdue\n"},
		"nothing is sent, live":   {outbox.Health{Problem: "3 SMS overdue"}, "/livez", 200, "ok\n"},
		"nothing is stored":       {outbox.Health{Problem: "disk full", Down: true}, "/healthz", 503, "disk full\n"},
		"nothing is stored, live": {outbox.Health{Problem: "disk full", Down: true}, "/livez", 503, "disk full\n"},
		"a person looks":          {outbox.Health{Problem: "disk full", Down: true}, "/", 200, "twilio-error-sms texts Twilio's errors: Twilio posts them to " + publicURL + "/alerts/error_trigger\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			health := func(context.Context) outbox.Health { return c.health }
			handler := NewHandler(load(t, env), fullDisk{}, health, metrics.New().Webhook, slog.New(slog.DiscardHandler))
			for _, method := range []string{"GET", "HEAD"} {
				for _, below := range []string{"", "/alerts", "/"} {
					w := request(handler, method, below+c.path, "", "", "")
					if w.Code != c.status || w.Body.String() != c.answer || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
						t.Errorf("%s %s: got %d %q, want %d %q", method, below+c.path, w.Code, w.Body, c.status, c.answer)
					}
				}
			}
			if w := request(handler, "POST", c.path, formType, recipeForm, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
				t.Errorf("POST: got %d, allowed is %q", w.Code, w.Header().Get("Allow"))
			}
		})
	}
}

// TestManyProbes: they ask the outbox once a second.
func TestManyProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		health := onceASecond(func(context.Context) outbox.Health { asked++; return outbox.Health{} })
		for range 100 {
			health(t.Context())
			time.Sleep(25 * time.Millisecond)
		}
		if asked != 3 {
			t.Errorf("asked %d times in 2.5 s, want 3", asked)
		}
	})
}

// TestKindsOfWebhooks: metrics are told what each request brought.
func TestKindsOfWebhooks(t *testing.T) {
	t.Parallel()
	var observed []string
	observe := func(kind string, status int) { observed = append(observed, fmt.Sprint(kind, " ", status)) }
	settings := load(t, map[string]string{"PUBLIC_URL": publicURL, "TWILIO_AUTH_TOKEN": firstToken})
	box := openOutbox(t, settings.Outbox)
	handler := NewHandler(settings, box, box.Health, observe, slog.New(slog.DiscardHandler))
	for _, r := range []struct{ target, body, want string }{
		{"/error_trigger", recipeForm, "alarm 200"},
		{"/error_trigger", "Nothing=of+Twilio", "unread 400"},
		{"/error_trigger", "", "unread 403"},
		{"/message_status", "MessageSid=SM33333333333333333333333333333333&MessageStatus=delivered", "status 204"},
		{"/healthz", "", ""},
	} {
		observed = nil
		signed := ""
		if form, _ := url.ParseQuery(r.body); len(form) > 0 {
			signed = signature.Sign(firstToken, publicURL+r.target, form)
		}
		request(handler, "POST", r.target, formType, r.body, signed)
		if got := strings.Join(observed, ", "); got != r.want {
			t.Errorf("%s %q: observed %q, want %q", r.target, r.body, got, r.want)
		}
	}
}

// TestLimits shows the server's bounds over a real connection: headers above
// 64 KiB get 431, a body above 1 MiB gets 413, and the connection closes.
func TestLimits(t *testing.T) {
	t.Parallel()
	handler, _, _ := newHandler(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(handler, slog.New(slog.DiscardHandler))
	go server.Serve(listener)
	defer server.Close()
	for name, request := range map[string]string{
		"431 Request Header Fields Too Large": "POST /error_trigger HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"413 Request Entity Too Large":        "POST /error_trigger HTTP/1.1\r\nHost: a\r\nContent-Type: " + formType + "\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 2_000_000),
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, request)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if answer.Status != name || !answer.Close {
			t.Errorf("got %s, closed %t, want %s and closed", answer.Status, answer.Close, name)
		}
		conn.Close()
	}
}

// alertsAlways is an outbox where each event alerts. Without a database the
// fuzzer sees the same steps for the same input.
type alertsAlways struct{ text alert.Text }

func (o alertsAlways) RecordRequest(_ context.Context, _ string, events []alert.Event) ([]outbox.Result, error) {
	results := make([]outbox.Result, len(events))
	for i, event := range events {
		results[i].Text = o.text.Render(event, alert.Decision{Alert: true}).Now
	}
	return results, nil
}

func (alertsAlways) Deliver(context.Context, alert.Report) (bool, error) { return true, nil }

var linkPattern = regexp.MustCompile(`[A-Za-z]+://\S*`)

// FuzzHandler: never a panic, never a 500, never a link that is not Twilio's.
func FuzzHandler(f *testing.F) {
	for _, pattern := range []string{"*.form", "*.json"} {
		files, err := filepath.Glob(filepath.Join("internal", "alert", "testdata", "payloads", pattern))
		if err != nil || len(files) == 0 {
			f.Fatal("no payloads", err)
		}
		for _, file := range files {
			body, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add("", map[string]string{"*.form": formType, "*.json": jsonType}[pattern], string(body))
		}
	}
	f.Add("ErrorCode=11200&Description=http%3A%2F%2Fevil.example.com", "", "")
	settings := load(f, nil)
	handler := NewHandler(settings, alertsAlways{settings.Outbox.Text}, nil, metrics.New().Webhook, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := httptest.NewRequest("POST", "/error_trigger", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header["Content-Type"] = []string{contentType}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 413, 415:
		default:
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			return
		}
		for line := range strings.Lines(w.Body.String()) {
			for _, link := range linkPattern.FindAllString(line, -1) {
				code := strings.TrimPrefix(strings.TrimPrefix(link, alert.IndexLink), "/")
				if !strings.HasPrefix(link, alert.IndexLink) || len(code) > 6 || strings.Trim(code, "0123456789") != "" {
					t.Errorf("a link that is not Twilio's: %q in %q", link, line)
				}
			}
		}
	})
}

// FuzzSplits: however the fields of a request are split anew, which its signature
// does not show, one of all the requests is news.
func FuzzSplits(f *testing.F) {
	for _, lengths := range [][]byte{
		{10, 34, 5, 5, 7, 36, 3, 34, 9, 24}, {10, 34, 5, 5, 7, 73, 9, 24}, {10, 34, 5, 5, 7, 36, 12, 25, 9, 24}, {0, 44, 5, 5, 7, 36, 3, 34, 9, 24},
		{10, 34, 0, 0, 5, 5, 7, 36, 3, 34, 9, 24}, {44, 0, 10, 0, 43, 0, 37, 0, 33, 0}, {255, 255}, {},
	} {
		f.Add(lengths)
	}
	settings := load(f, map[string]string{"PUBLIC_URL": publicURL, "TWILIO_AUTH_TOKEN": firstToken, "TRIGGERS": "* every 1"})
	box := openOutbox(f, settings.Outbox)
	handler := NewHandler(settings, box, box.Health, metrics.New().Webhook, slog.New(slog.DiscardHandler))
	n := 0
	f.Fuzz(func(t *testing.T, lengths []byte) {
		n++
		sid, at := fmt.Sprintf("NO%032x", n), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		form := url.Values{"AccountSid": {"AC0123456789abcdef0123456789abcdef"}, "Level": {"ERROR"}, "Payload": {`{"error_code":"11200","more_info":0}`}, "Sid": {sid}, "Timestamp": {at}}
		rest := "AccountSidAC0123456789abcdef0123456789abcdefLevelERRORPayload" + form.Get("Payload") + "Sid" + sid + "Timestamp" + at
		next := func() (part string) {
			length := len(rest)
			if len(lengths) > 0 {
				length, lengths = min(int(lengths[0]), length), lengths[1:]
			}
			part, rest = rest[:length], rest[length:]
			return part
		}
		split := url.Values{}
		for rest != "" || len(lengths) > 0 {
			name := next()
			split[name] = append(split[name], next())
		}
		signed := signature.Sign(firstToken, publicURL+"/error_trigger", form)
		news := 0
		for _, fields := range []url.Values{split, form, split} {
			w := request(handler, "POST", "/error_trigger", formType, fields.Encode(), signed)
			if w.Code == http.StatusOK && w.Body.String() != "seen before\n" {
				news++
			}
		}
		if news != 1 {
			t.Errorf("%d of the requests are news: %v", news, split)
		}
	})
}
