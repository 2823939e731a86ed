package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// startPolling starts a server that only reads the log of a stand-in for
// Twilio.
func startPolling(t *testing.T, twilio *twiliotest.Server) *process {
	return startProgram(t, t.TempDir(), sending(twilio.URL, "PUBLIC_URL=", "TRIGGERS=", "POLL_EVERY=5m")...)
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
	p := startPolling(t, twilio)
	within(t, "an SMS", func() bool { return len(twilio.Messages()) > 0 })
	if got, want := twilio.Messages()[0].Form.Get("Body"), "11200 Bad Gateway (100th "; !strings.Contains(got, want) {
		t.Errorf("got SMS %q, want it to say %q", got, want)
	}
	answer, _, err := postForm(http.DefaultClient, p.URL, "/error_trigger", "", url.Values{"ErrorCode": {"11200"}})
	if err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger's webhook was answered %v %v, want 403", answer, err)
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
	address := startPolling(t, twilio).URL + "/healthz"
	within(t, "503 from /healthz", func() bool {
		status, body := get(t, address)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "Authenticate") && strings.Contains(body, "TWILIO_AUTH_TOKEN")
	})
	right.Store(true)
	within(t, "200 from /healthz", func() bool {
		status, body := get(t, address)
		return status == http.StatusOK && body == "ok\n"
	})
}
