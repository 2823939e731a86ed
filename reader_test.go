package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// polling returns the settings of a server that only reads the log of a
// stand-in for Twilio.
func polling(t *testing.T, twilio *twiliotest.Server) map[string]string {
	return map[string]string{
		"TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken, "TWILIO_BASE_URL": twilio.URL,
		"ALERT_FROM": "+15005550006", "ALERT_TO": "+15551234567", "POLL_EVERY": "5m", "ADDR": "127.0.0.1:0",
		"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "alerts.db"),
	}
}

// serving runs the server until the test ends and returns its address.
func serving(t *testing.T, settings map[string]string) string {
	ctx, cancel := context.WithCancel(t.Context())
	logs, log := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, nil, func(name string) string { return settings[name] }, io.Discard, log)
		log.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	lines := bufio.NewReader(logs)
	var first struct{ Addr string }
	if line, err := lines.ReadBytes('\n'); err != nil || json.Unmarshal(line, &first) != nil || first.Addr == "" {
		t.Fatalf("the first line of the log is %q, error %v, want an address", line, err)
	}
	go io.Copy(io.Discard, lines)
	return "http://" + first.Addr
}

// eventually waits for up to ten seconds until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// page returns what a server answers.
func page(t *testing.T, address string) (status int, body string) {
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

func TestAlertsWithoutAPublicAddress(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	for i := range 1201 {
		at := time.Now().Add(-5*time.Minute + time.Duration(i)*time.Millisecond)
		twilio.Monitor.Add(twiliotest.Entry{SID: twiliotest.NewSID("NO"), Code: "11200", Level: "error", Text: "Msg=Bad+Gateway&ErrorCode=11200", Generated: at, Created: at})
	}
	faults := []twiliotest.Fault{twiliotest.TooManyRequests, "", twiliotest.CutPage}
	twilio.Monitor.Fault = func(n int, _ url.Values) twiliotest.Fault {
		if n <= len(faults) {
			return faults[n-1]
		}
		return ""
	}
	address := serving(t, polling(t, twilio))
	eventually(t, "an SMS", func() bool { return len(twilio.Messages()) > 0 })
	if got, want := twilio.Messages()[0].Form.Get("Body"), "11200 Bad Gateway (100th "; !strings.Contains(got, want) {
		t.Errorf("got SMS %q, want it to say %q", got, want)
	}
	answer, err := http.PostForm(address+"/error_trigger", url.Values{"ErrorCode": {"11200"}})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger's webhook was answered %d, want 403", answer.StatusCode)
	}
}

func TestHealthzSaysThatTwilioRefuses(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	var right atomic.Bool
	twilio.Monitor.Fault = func(int, url.Values) twiliotest.Fault {
		if right.Load() {
			return ""
		}
		return twiliotest.Unauthorized
	}
	address := serving(t, polling(t, twilio)) + "/healthz"
	eventually(t, "503 from /healthz", func() bool {
		status, body := page(t, address)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "Authenticate") && strings.Contains(body, "TWILIO_AUTH_TOKEN")
	})
	right.Store(true)
	eventually(t, "200 from /healthz", func() bool {
		status, body := page(t, address)
		return status == http.StatusOK && body == "ok\n"
	})
}

func TestPollEvery(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings string // NAME=value, separated by spaces
		want     string // in the error, "" for none
	}{
		"a dry run with an account":                   {"DRY_RUN=true POLL_EVERY=5m TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID + " TWILIO_AUTH_TOKEN=a1", ""},
		"a dry run with an API key":                   {"DRY_RUN=true POLL_EVERY=5m TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID + " TWILIO_API_KEY=SK1 TWILIO_API_SECRET=a1", ""},
		"a dry run without an account":                {"DRY_RUN=true POLL_EVERY=5m", "POLL_EVERY: reads your Twilio account's log"},
		"a dry run without a token":                   {"DRY_RUN=true POLL_EVERY=5m TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID, "POLL_EVERY: reads your Twilio account's log"},
		"off":                                         {"DRY_RUN=true POLL_EVERY=off", ""},
		"too often":                                   {"DRY_RUN=true POLL_EVERY=1s", "POLL_EVERY: expected a duration of at least 10s"},
		"so rare that errors are too old to alert":    {"DRY_RUN=true POLL_EVERY=24h TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID + " TWILIO_AUTH_TOKEN=a1", "POLL_EVERY: must be shorter than GIVE_UP_AFTER (24h0m0s)"},
		"so rare that errors are forgotten meanwhile": {"DRY_RUN=true POLL_EVERY=45m KEEP_FOR=1h TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID + " TWILIO_AUTH_TOKEN=a1", "KEEP_FOR: must be longer than POLL_EVERY and 15m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := make(map[string]string)
			for setting := range strings.FieldsSeq(test.settings) {
				name, value, _ := strings.Cut(setting, "=")
				settings[name] = value
			}
			_, err := LoadConfig(func(name string) string { return settings[name] })
			if got := fmt.Sprint(err); (err != nil) != (test.want != "") || !strings.Contains(got, test.want) {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}
