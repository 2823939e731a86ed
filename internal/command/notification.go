package command

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/signature"
)

// mockAccount is where mock errors happen. It is not the user's account:
// the server counts errors by account and code, and a mock must not use up the
// alert of a real error.
const mockAccount = "AC00000000000000000000000000000000"

// notification is a request as Twilio would send it.
type notification struct {
	url, contentType, signature, body string
}

// aim is where notifications go.
type aim struct {
	target string // where to post
	signed string // the address that Twilio would have been given
	token  string // signs, or is empty
}

// form returns the notification of a form.
func (a aim) form(form url.Values) notification {
	return notification{a.target, "application/x-www-form-urlencoded", a.sign(a.signed, form), form.Encode()}
}

// json returns the notification of a JSON body, with its hash in the query.
func (a aim) json(body string) notification {
	hash := sha256.Sum256([]byte(body))
	query := "?bodySHA256=" + hex.EncodeToString(hash[:])
	if strings.Contains(a.target, "?") {
		query = "&" + query[1:]
	}
	return notification{a.target + query, "application/json", a.sign(a.signed+query, nil), body}
}

// sign returns what X-Twilio-Signature says, or "" without a token.
func (a aim) sign(address string, form url.Values) string {
	if a.token == "" {
		return ""
	}
	return signature.Sign(a.token, address, form)
}

// post posts n, and returns the answer and the beginning of its body.
func (n notification) post(ctx context.Context) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, strings.NewReader(n.body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Content-Type", n.contentType)
	if n.signature != "" {
		request.Header.Set("X-Twilio-Signature", n.signature)
	}
	response, answer, err := exchange(request)
	if err != nil {
		return nil, "", fmt.Errorf("posting to %s: %w", request.URL.Host, err)
	}
	return response, answer, nil
}

// exchange sends a request, and returns the answer and the beginning of its body.
// It does not follow a redirect: Twilio would, and lose the fields.
func exchange(request *http.Request) (*http.Response, string, error) {
	client := http.Client{Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if address, ok := errors.AsType[*url.Error](err); ok {
		err = address.Err // the address is long, and known
	}
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, "", fmt.Errorf("reading the answer: %w", err)
	}
	return response, strings.TrimSpace(string(body)), nil
}

// newNotification returns the next notification, with fresh SIDs.
func (m *mocker) newNotification() notification {
	switch m.kind {
	case "stream":
		return m.json(m.stream())
	case "debugger":
		return m.form(m.debugger())
	}
	return m.form(m.alarm())
}

// alarm returns the form of an Alarm or of its ancestor, the App Monitor
// trigger. The SID is fresh: Twilio makes the token of it, and two alarms differ
// in token and DateFired (in seconds) only.
func (m *mocker) alarm() url.Values {
	sid := newSID("AK")
	form := url.Values{
		"AccountSid":           {mockAccount},
		"AppMonitorTriggerSid": {sid},
		"CurrentValue":         {"1"},
		"DateFired":            {time.Now().UTC().Format(time.RFC1123Z)},
		"Description":          {m.description},
		"ErrorCode":            {m.code},
		"IdempotencyToken":     {mockAccount + "-FIRES-" + sid},
		"Log":                  {m.level},
		"TimePeriod":           {"ONE_DAY"},
		"TriggerValue":         {"1.000000"},
	}
	if m.kind == "trigger" {
		form.Set("IdempotencyToken", rand.Text())
		form.Set("Log", map[string]string{"error": "0", "warning": "1"}[m.level])
		form.Set("TimePeriod", "daily")
		form.Set("TriggerValue", "1")
	}
	return form
}

// debugger returns the form of a Debugger webhook.
func (m *mocker) debugger() url.Values {
	level := strings.ToUpper(m.level)
	return url.Values{
		"Sid":              {newSID("NO")},
		"AccountSid":       {mockAccount},
		"ParentAccountSid": {""},
		"Timestamp":        {timestamp()},
		"Level":            {level},
		"PayloadType":      {"application/json"},
		"Payload": {jsonText(map[string]any{
			"resource_sid": newSID("CA"),
			"service_sid":  nil,
			"error_code":   m.code,
			"more_info":    map[string]string{"Msg": m.description, "ErrorCode": m.code, "LogLevel": level},
			"webhook":      map[string]any{"type": "application/json", "request": map[string]any{}},
		})},
	}
}

// stream returns a batch of Event Streams with one error.
func (m *mocker) stream() string {
	sid := newSID("NO")
	code, _ := strconv.Atoi(m.code) // in the payload it is a number
	return cloudEvent("com.twilio.error-logs.error.logged", newSID("AB"), sid, "ErrorLogs.Error/2", map[string]string{
		"sid":                sid,
		"account_sid":        mockAccount,
		"date_created":       timestamp(),
		"level":              strings.ToUpper(m.level),
		"master_account_sid": mockAccount,
		"request_sid":        newSID("RQ"),
		"service_sid":        newSID("ZH"),
		"correlation_sid":    newSID("ZE"),
		"product_name":       "Event Streams",
		"error_code":         m.code,
		"payload":            jsonText(map[string]any{"error_code": code, "message": m.description}),
	})
}

// testEvent returns the test event that Twilio posts to a sink of Event Streams.
func testEvent(account string) string {
	return cloudEvent(alert.TestEvent, "Sink", account, "EventStreams.TestSink/1.json", map[string]string{"test_id": rand.Text()})
}

// cloudEvent returns a batch of Event Streams with one event.
func cloudEvent(kind, source, id, schema string, data map[string]string) string {
	return jsonText([]any{map[string]any{
		"specversion":     "1.0",
		"type":            kind,
		"source":          source,
		"id":              id,
		"dataschema":      "https://events-schemas.twilio.com/" + schema,
		"datacontenttype": "application/json",
		"time":            timestamp(),
		"data":            data,
	}})
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and numbers can be written
	}
	return string(text)
}

func timestamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func newSID(prefix string) string {
	b := make([]byte, 16)
	rand.Read(b)
	return prefix + hex.EncodeToString(b)
}

// curl returns the command that posts n.
func (n notification) curl() string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	line := "curl " + quote(n.url) + " -H " + quote("Content-Type: "+n.contentType)
	if n.signature != "" {
		line += " -H " + quote("X-Twilio-Signature: "+n.signature)
	}
	return line + " --data-raw " + quote(n.body)
}
