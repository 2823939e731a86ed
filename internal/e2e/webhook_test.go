package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/signature"
	"twilio-error-sms/internal/twiliotest"
)

// publicURL is where Twilio thinks that the server is: it signs this address.
const publicURL = "https://alerts.example.com"

// webhook is what Twilio's Debugger says of an error.
type webhook struct {
	sid, account, code, level, description, resource string
	at                                               time.Time
}

// newWebhook returns an error of its own.
func newWebhook(code, description string) webhook {
	return webhook{
		sid: twiliotest.NewSID("NO"), account: twiliotest.AccountSID, code: code, level: "ERROR",
		description: description, resource: twiliotest.NewSID("CA"), at: time.Now(),
	}
}

// payload is the JSON that tells what happened.
func (w webhook) payload() string {
	payload, _ := json.Marshal(map[string]any{
		"resource_sid": w.resource, "service_sid": nil, "error_code": w.code,
		"more_info": map[string]string{"Msg": w.description, "LogLevel": w.level},
	})
	return string(payload)
}

func (w webhook) form() url.Values {
	return url.Values{
		"Sid": {w.sid}, "AccountSid": {w.account}, "ParentAccountSid": {""}, "Level": {w.level},
		"Timestamp": {w.at.UTC().Format(time.RFC3339Nano)}, "PayloadType": {"application/json"}, "Payload": {w.payload()},
	}
}

// cloudEvent is the same error as Event Streams tells it.
func (w webhook) cloudEvent() map[string]any {
	return map[string]any{
		"specversion": "1.0", "type": "com.twilio.error-logs.error.logged", "id": twiliotest.NewSID("EZ"),
		"data": map[string]any{
			"sid": w.sid, "account_sid": w.account, "level": w.level, "error_code": w.code,
			"date_created": w.at.UTC().Format(time.RFC3339Nano), "payload": w.payload(),
		},
	}
}

// postForm posts a form to the server at base, signed with a token unless that
// is empty, and returns the answer and its body.
func postForm(client *http.Client, base, path, token string, form url.Values) (*http.Response, string, error) {
	signed := ""
	if token != "" {
		signed = signature.Sign(token, publicURL+path, form)
	}
	return post(client, base+path, "application/x-www-form-urlencoded", form.Encode(), signed)
}

// postJSON posts JSON as Twilio does, signed with its hash.
func postJSON(client *http.Client, base, path, body string) (*http.Response, string, error) {
	hash := sha256.Sum256([]byte(body))
	path += "?bodySHA256=" + hex.EncodeToString(hash[:])
	return post(client, base+path, "application/json", body, signature.Sign(twiliotest.AuthToken, publicURL+path, nil))
}

func post(client *http.Client, address, contentType, body, signed string) (*http.Response, string, error) {
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Content-Type", contentType)
	if signed != "" {
		request.Header.Set("X-Twilio-Signature", signed)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}

// report posts an error that the program must take, and returns the answer.
func report(t testing.TB, base string, w webhook) string {
	t.Helper()
	answer, text, err := postForm(http.DefaultClient, base, "/error_trigger", twiliotest.AuthToken, w.form())
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", answer.Status, text)
	}
	return text
}

// get returns what a server answers.
func get(t testing.TB, address string) (status int, body string) {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(all)
}

// replicas are processes behind a load balancer, some of them dead at times.
type replicas struct {
	mu      sync.Mutex
	running []*process // nil: dead
	turn    int
}

// url returns the address of the replica whose turn it is, empty when all are
// dead.
func (r *replicas) url() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range r.running {
		r.turn++
		if p := r.running[r.turn%len(r.running)]; p != nil {
			return p.URL
		}
	}
	return ""
}

// set puts p, or nil, in the place of the ith, and returns the one before.
func (r *replicas) set(i int, p *process) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.running[i]
	r.running[i] = p
	return before
}

// reportFailure reports that an SMS did not reach its phone, as Twilio does: by
// the Debugger, by Event Streams, or by both.
func (r *replicas) reportFailure(ctx context.Context, sms string) {
	w := newWebhook("30003", "Unreachable destination handset")
	w.resource = sms
	n := rand.N(3)
	if n > 0 {
		r.deliver(ctx, http.DefaultClient, w)
	}
	if n == 1 {
		return
	}
	body, _ := json.Marshal([]any{w.cloudEvent()})
	for ctx.Err() == nil {
		answer, _, err := postJSON(http.DefaultClient, r.url(), "/error_trigger", string(body))
		if err == nil && answer.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// deliver posts w until a replica answers 200, as Twilio would if it were
// patient, and reports whether that happened before ctx ended.
func (r *replicas) deliver(ctx context.Context, client *http.Client, w webhook) bool {
	form := w.form()
	for ctx.Err() == nil {
		answer, _, err := postForm(client, r.url(), "/error_trigger", twiliotest.AuthToken, form)
		if err == nil && answer.StatusCode == http.StatusOK {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
