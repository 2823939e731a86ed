package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/signature"
)

const mockManual = `NAME
  twilio-error-sms mock - post a mock notification to a server, as Twilio would

SYNOPSIS
  twilio-error-sms mock [flags] [URL]

DESCRIPTION
  Posts what Twilio would post when something went wrong, and prints what the
  server answers. Twilio has four shapes for it: an App Monitor trigger of
  2014, an Alarm, a Debugger webhook and an event of Event Streams.

  Without a URL it posts to PUBLIC_URL, or else to ADDR on this machine, there
  to /error_trigger, as with a URL that has no path.

  With TWILIO_AUTH_TOKEN it is signed, for the address below PUBLIC_URL where
  that is set, so that a server reached by another way believes it, too.

  A server that sends SMS sends them. Mock errors happen in the account
  ` + mockAccount + `, whose counts are its own.

FLAGS
{flags}

EXIT STATUS
  0 when the server took all of it; 1 when it refused, or could not be asked.

EXAMPLE
  twilio-error-sms mock -kind debugger -code 30003 -n 10
`

// mockAccount is where mock errors happen. It is not the user's account:
// errors are counted by account and code, and a mock must not use up the
// alert of a real error.
const mockAccount = "AC00000000000000000000000000000000"

// mocker posts mock notifications.
type mocker struct {
	kind, code, description, level string

	target string // where to post
	signed string // the address that Twilio would have been given
	token  string // signs, or is empty
}

// mock posts mock notifications to a server, or prints them as curl lines.
func mock(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	m := new(mocker)
	flags := flag.NewFlagSet("mock", flag.ContinueOnError)
	flags.StringVar(&m.kind, "kind", "trigger", "`shape` of it: trigger, alarm, debugger or stream")
	flags.StringVar(&m.code, "code", "11200", "Twilio's error `code`, may be empty")
	flags.StringVar(&m.description, "description", "", "`text` that says what happened (default the code's name)")
	flags.StringVar(&m.level, "level", "error", "`level` of it: error or warning")
	n := flags.Int("n", 1, "`number` of notifications, each of them news")
	curl := flags.Bool("curl", false, "post nothing, print the curl line that would")
	if done, err := parseFlags(flags, args, 1, mockManual, stdout); done || err != nil {
		return err
	}
	if err := errors.Join(m.validate(), m.aim(flags.Args(), getenv)); err != nil {
		return err
	}
	show := *n > 1 && isTerminal(stderr)
	for i := range *n {
		p := m.newNotification()
		answer := p.curl()
		if !*curl {
			var err error
			if answer, err = m.send(ctx, p); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(stdout, answer); err != nil {
			return err
		}
		if show { // the next answer overwrites it
			fmt.Fprintf(stderr, "%d of %d\r", i+1, *n)
		}
	}
	if show {
		fmt.Fprintln(stderr)
	}
	return nil
}

// isTerminal reports whether somebody watches w.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (m *mocker) validate() error {
	if !slices.Contains([]string{"trigger", "alarm", "debugger", "stream"}, m.kind) {
		return fmt.Errorf("-kind: expected trigger, alarm, debugger or stream, got %q", m.kind)
	}
	if m.level != "error" && m.level != "warning" {
		return fmt.Errorf("-level: expected error or warning, got %q", m.level)
	}
	m.description = cmp.Or(m.description, alert.Event{Code: m.code}.Name())
	return nil
}

// aim settles where to post, and for which address to sign.
func (m *mocker) aim(args []string, getenv func(string) string) error {
	s := &settings{getenv: getenv}
	var config Config
	s.addresses(&config)
	public := s.url("PUBLIC_URL")
	m.token = s.matching("TWILIO_AUTH_TOKEN", secret, "letters and digits only")
	if err := errors.Join(s.problems...); err != nil {
		return err
	}
	address := localURL(config.Addr) + "/error_trigger"
	switch {
	case len(args) == 1:
		address = args[0]
	case public != nil:
		address = public.String() + "/error_trigger"
	}
	target, err := url.Parse(address)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return fmt.Errorf("expected a URL such as http://127.0.0.1:8080, got %q", address)
	}
	if target.Path == "" || target.Path == "/" {
		target.Path = "/error_trigger"
	}
	target.Fragment = "" // Twilio's #rc=3&rp=all is neither sent nor signed
	m.target = target.String()
	target.User = nil
	m.signed = target.String()
	if public != nil {
		path := strings.TrimPrefix(target.RequestURI(), public.EscapedPath()+"/")
		m.signed = public.String() + "/" + strings.TrimPrefix(path, "/")
	}
	return nil
}

// notification is one of them, ready to go out.
type notification struct {
	url, contentType, signature, body string
}

// newNotification returns the next one.
func (m *mocker) newNotification() notification {
	if m.kind == "stream" {
		body := m.stream()
		hash := sha256.Sum256([]byte(body))
		query := "bodySHA256=" + hex.EncodeToString(hash[:])
		return notification{addQuery(m.target, query), "application/json", m.sign(addQuery(m.signed, query), nil), body}
	}
	form := m.alarm()
	if m.kind == "debugger" {
		form = m.debugger()
	}
	return notification{m.target, "application/x-www-form-urlencoded", m.sign(m.signed, form), form.Encode()}
}

func addQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

// sign returns what X-Twilio-Signature says, or "" without a token.
func (m *mocker) sign(address string, form url.Values) string {
	if m.token == "" {
		return ""
	}
	return signature.Sign(m.token, address, form)
}

// alarm returns the form of an Alarm or of its ancestor, the App Monitor
// trigger. The SID is fresh: a token that Twilio makes of it, and a date in
// seconds, are all that tells one from the next.
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
		"Timestamp":        {mockTime()},
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
	sid, now := newSID("NO"), mockTime()
	code, _ := strconv.Atoi(m.code) // in the payload it is a number
	return jsonText([]any{map[string]any{
		"specversion":     "1.0",
		"type":            "com.twilio.error-logs.error.logged",
		"source":          newSID("AB"),
		"id":              sid,
		"dataschema":      "https://events-schemas.twilio.com/ErrorLogs.Error/2",
		"datacontenttype": "application/json",
		"time":            now,
		"data": map[string]string{
			"sid":                sid,
			"account_sid":        mockAccount,
			"date_created":       now,
			"level":              strings.ToUpper(m.level),
			"master_account_sid": mockAccount,
			"request_sid":        newSID("RQ"),
			"service_sid":        newSID("ZH"),
			"correlation_sid":    newSID("ZE"),
			"product_name":       "Event Streams",
			"error_code":         m.code,
			"payload":            jsonText(map[string]any{"error_code": code, "message": m.description}),
		},
	}})
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and numbers have no way to fail
	}
	return string(text)
}

func mockTime() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func newSID(prefix string) string {
	b := make([]byte, 16)
	rand.Read(b)
	return prefix + hex.EncodeToString(b)
}

// send posts p and returns the server's answer.
func (m *mocker) send(ctx context.Context, p notification) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(p.body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", p.contentType)
	if p.signature != "" {
		request.Header.Set("X-Twilio-Signature", p.signature)
	}
	// Twilio would follow a redirect, and lose the fields.
	client := http.Client{Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("nothing listens at %s: start the server, or name its URL: %w", request.URL.Host, err)
	}
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("reading the server's answer: %w", err)
	}
	answer := strings.TrimSpace(string(body))
	if response.StatusCode/100 != 2 {
		return "", fmt.Errorf("the server answered %s: %s%s", response.Status, answer, m.causes(response))
	}
	return answer, nil
}

// causes returns the likely causes of a refusal, "" where the answer says
// enough.
func (m *mocker) causes(response *http.Response) string {
	switch {
	case response.StatusCode/100 == 3:
		return "\nit redirects to " + response.Header.Get("Location") + ", where Twilio arrives without the fields: use the final address, for PUBLIC_URL too"
	case response.StatusCode != http.StatusForbidden:
		return ""
	}
	token := "TWILIO_AUTH_TOKEN is neither the server's nor one of its WEBHOOK_AUTH_TOKENS"
	if m.token == "" {
		token = "it is not signed: set TWILIO_AUTH_TOKEN to the server's"
	}
	return fmt.Sprintf(`
likely causes:
  - %s
  - PUBLIC_URL differs: Twilio would have been given %s
  - a proxy changed path or query on the way: the server logs what it checked as checked_url`, token, m.signed)
}

// curl returns the command that posts p.
func (p notification) curl() string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	line := "curl " + quote(p.url) + " -H " + quote("Content-Type: "+p.contentType)
	if p.signature != "" {
		line += " -H " + quote("X-Twilio-Signature: "+p.signature)
	}
	return line + " --data-raw " + quote(p.body)
}
