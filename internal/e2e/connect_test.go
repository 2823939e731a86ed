package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"twilio-error-sms/internal/twiliotest"
)

// TestConnect is the whole road of a new user: an empty folder, five settings,
// the server, connect, and an error that Twilio reports through the new sink.
func TestConnect(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Change(func(a *twiliotest.Account) { a.Type = "Trial" })
	twilio.Fault = func(int, url.Values) twiliotest.Fault { return twiliotest.Trial }
	var server atomic.Pointer[url.URL]
	tunnel := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(server.Load()) }})
	t.Cleanup(tunnel.Close)
	dir := t.TempDir()
	settings := fmt.Sprintf("TWILIO_ACCOUNT_SID=%s\nTWILIO_AUTH_TOKEN=%s\nALERT_FROM=+15005550006\nALERT_TO=+15005550009\nPUBLIC_URL=%s\n",
		twiliotest.AccountSID, twiliotest.AuthToken, tunnel.URL)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, dir, "TWILIO_BASE_URL="+twilio.URL)
	address, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	server.Store(address)
	p.waitForLines(t, "trial account: texts leave room for Twilio's words before them, and only verified phones get SMS", 1)

	connect := exec.Command("twilio-error-sms", "connect")
	connect.Dir, connect.Env = dir, append(os.Environ(), "TWILIO_BASE_URL="+twilio.URL)
	if out, err := connect.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok    test event, from Twilio to the server\n") {
		t.Fatalf("connect: %v\n%s", err, out)
	}

	answer, err := twilio.Report("12100", "Document parse failure: the root element is missing in the answer of https://example.com/voice")
	if err != nil || answer == nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("the error was answered %v, %v", answer, err)
	}
	within(t, "the SMS", func() bool { return len(twilio.Messages()) > 0 })
	want := "Sent from your Twilio trial account - An error on your Twilio app occurred! 12100 Document parse fai... (1st today) https://www.twilio.com/docs/api/errors/12100"
	if got := twilio.Messages()[0].Form.Get("Body"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.stop(t)
	if n := len(twilio.Messages()); n != 1 {
		t.Errorf("got %d SMS for one error and the test events", n)
	}
}

// What may not be known: a standard API key may not read the account.
func TestTrialIsLearned(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Change(func(a *twiliotest.Account) { a.Type = "Trial" })
	key := []string{"TWILIO_API_KEY=" + twiliotest.APIKey, "TWILIO_API_SECRET=" + twiliotest.APISecret}
	p := startProgram(t, t.TempDir(), sending(twilio.URL, key...)...)
	p.waitForLines(t, "trial account: texts leave room for Twilio's words before them, and only verified phones get SMS", 1)
	p = startProgram(t, t.TempDir(), sending(twilio.URL, append(key, "TWILIO_AUTH_TOKEN=", "WEBHOOK_AUTH_TOKENS="+twiliotest.AuthToken)...)...)
	lines := p.waitForLines(t, "whether the account is a trial is not known: texts leave no room for Twilio's words before them", 1)
	if lines[0]["level"] != "INFO" {
		t.Errorf("got %v", lines)
	}
}

// TestWrongTokenIsSaidAtOnce: with it every webhook of Twilio is refused, so no SMS
// would ever tell.
func TestWrongTokenIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	p := startProgram(t, t.TempDir(), sending(twiliotest.New(t).URL, "TWILIO_AUTH_TOKEN=rotated")...)
	within(t, "/healthz says what to do", func() bool {
		status, health := get(t, p.URL+"/healthz")
		return status == http.StatusServiceUnavailable && strings.Contains(health, "set TWILIO_AUTH_TOKEN")
	})
	if status, _ := get(t, p.URL+"/livez"); status != http.StatusOK {
		t.Errorf("/livez: got %d, a restart does not fix it", status)
	}
	p.waitForLines(t, "Twilio refuses TWILIO_AUTH_TOKEN, so its webhooks are refused here", 1)
}
