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
	"os"
	"strconv"
	"strings"
	"time"

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

// destination is where notifications go.
type destination struct {
	target string // where to post
	signed string // the address that Twilio would have been given
	token  string // signs, or is empty
}

// form returns the notification of a form.
func (d destination) form(form url.Values) notification {
	return notification{d.target, "application/x-www-form-urlencoded", d.sign(d.signed, form), form.Encode()}
}

// json returns the notification of a JSON body, with its hash in the query.
func (d destination) json(body string) notification {
	hash := sha256.Sum256([]byte(body))
	query := "?bodySHA256=" + hex.EncodeToString(hash[:])
	if strings.Contains(d.target, "?") {
		query = "&" + query[1:]
	}
	return notification{d.target + query, "application/json", d.sign(d.signed+query, nil), body}
}

// sign returns what X-Twilio-Signature says, or "" without a token.
func (d destination) sign(address string, form url.Values) string {
	if d.token == "" {
		return ""
	}
	return signature.Sign(d.token, address, form)
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

// newNotification returns the next notification, of the file of its kind.
func (m *mocker) newNotification() notification {
	code, _ := strconv.Atoi(m.code) // in the payload of a stream it is a number
	fill := filler(map[string]string{
		"account":          mockAccount,
		"code":             m.code,
		"description":      m.description,
		"level":            m.level,
		"LEVEL":            strings.ToUpper(m.level),
		"log":              map[string]string{"error": "0", "warning": "1"}[m.level],
		"json code":        quoted(m.code),
		"json description": quoted(m.description),
		"json payload":     quoted(fmt.Sprintf(`{"error_code":%d,"message":%s}`, code, quoted(m.description))),
	})
	if m.kind == "stream" {
		return m.json(fill(file("mocks/stream.json")))
	}
	form := make(url.Values)
	for line := range strings.Lines(file("mocks/" + m.kind + ".txt")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		form.Set(name, fill(value))
	}
	return m.form(form)
}

// testEvent returns the test event that Twilio posts to a sink of Event Streams.
func testEvent(account string) string {
	return filler(map[string]string{"account": account})(file("mocks/test-event.json"))
}

// filler returns what fills in the ${names} of a text: the values given, the time,
// and for two letters a fresh SID that begins with them, always the same. Twilio
// makes an alarm's token of its SID: two alarms differ in token and DateFired (in
// seconds) only.
func filler(values map[string]string) func(string) string {
	now := time.Now().UTC()
	values["time"] = now.Format("2006-01-02T15:04:05.000Z")
	values["date"] = now.Format(time.RFC1123Z)
	values["random"] = rand.Text()
	value := func(name string) string {
		if _, ok := values[name]; !ok {
			values[name] = newSID(name)
		}
		return values[name]
	}
	return func(text string) string { return os.Expand(strings.ReplaceAll(text, "\n", ""), value) }
}

// quoted returns s as a text of JSON.
func quoted(s string) string {
	text, _ := json.Marshal(s) // a string can always be written
	return string(text)
}

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
