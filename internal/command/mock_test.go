package command

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/signature"
	"twilio-error-sms/internal/twiliotest"
)

// A mock notification has the keys of a real one, no more and no less.
func TestMockHasTheKeysOfTwilio(t *testing.T) {
	for kind, sample := range map[string]string{
		"trigger": "trigger-2014.form", "alarm": "alarm.form", "debugger": "debugger-11200-not-found.form", "stream": "stream-batch.json",
	} {
		t.Run(kind, func(t *testing.T) {
			real, err := os.ReadFile(filepath.Join("../alert/testdata/payloads", sample))
			if err != nil {
				t.Fatal(err)
			}
			m := mocker{kind: kind, code: "11200", level: "error", description: "a description"}
			got, want := keys(t, m.newNotification().body), keys(t, string(real))
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// keys returns the keys of a form, or those of the first event of a batch and
// of its data.
func keys(t *testing.T, body string) []string {
	t.Helper()
	if !strings.HasPrefix(body, "[") {
		form, err := url.ParseQuery(strings.TrimSpace(body))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(form))
	}
	var batch []map[string]any
	if err := json.Unmarshal([]byte(body), &batch); err != nil {
		t.Fatal(err)
	}
	data := batch[0]["data"].(map[string]any)
	return slices.Concat(slices.Sorted(maps.Keys(batch[0])), slices.Sorted(maps.Keys(data)))
}

// Of each kind the server reads what was to be mocked.
func TestMockSaysWhatWasAsked(t *testing.T) {
	want := alert.Event{Account: mockAccount, Code: "30003", Level: alert.Warning, Description: `It's "off" & <gone>`}
	for kind, as := range map[string]alert.Kind{"trigger": alert.Alarm, "alarm": alert.Alarm, "debugger": alert.Debugger, "stream": alert.Stream} {
		t.Run(kind, func(t *testing.T) {
			m := mocker{kind: kind, code: want.Code, level: "warning", description: want.Description}
			got, again := parseMock(t, m.newNotification()), parseMock(t, m.newNotification())
			if got.ID == "" || got.ID == again.ID {
				t.Errorf("the second has the identity %q of the first", again.ID)
			}
			if got.Time.IsZero() {
				t.Error("it does not say when it happened")
			}
			want := want
			want.Kind, want.ID, want.Time, want.Resource, want.Count, want.Period = as, got.ID, got.Time, got.Resource, got.Count, got.Period
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func parseMock(t *testing.T, p notification) alert.Event {
	t.Helper()
	if p.contentType == "application/json" {
		events, err := alert.ParseJSON([]byte(p.body), "")
		if err != nil || len(events) != 1 {
			t.Fatalf("got %d events, %v", len(events), err)
		}
		return events[0]
	}
	form, err := url.ParseQuery(p.body)
	if err != nil {
		t.Fatal(err)
	}
	event, err := alert.ParseForm(form, "")
	if err != nil {
		t.Fatal(err)
	}
	return event
}

// What -curl prints is one command of a shell, and the server takes what it
// posts. The shell is real; curl is this test.
func TestMockCurl(t *testing.T) {
	env := map[string]string{"PUBLIC_URL": "https://alerts.example.com", "TWILIO_AUTH_TOKEN": twiliotest.AuthToken}
	for _, kind := range []string{"trigger", "alarm", "debugger", "stream"} {
		t.Run(kind, func(t *testing.T) {
			var line strings.Builder
			args := []string{"-curl", "-kind", kind, "-description", "It's `true` that $HOME isn't \"there\""}
			if err := Mock(t.Context(), args, func(name string) string { return env[name] }, &line); err != nil {
				t.Fatal(err)
			}
			printed, err := exec.Command("sh", "-c", `curl() { printf '%s\0' "$@"; }; `+line.String()).Output()
			if err != nil {
				t.Fatal(err)
			}
			words := strings.Split(string(printed), "\x00")
			request, body := curlRequest(t, words[:len(words)-1])
			var form url.Values
			if kind != "stream" {
				if form, err = url.ParseQuery(body); err != nil {
					t.Fatal(err)
				}
			}
			hash := sha256.Sum256([]byte(body))
			if form == nil && request.URL.RawQuery != "bodySHA256="+hex.EncodeToString(hash[:]) {
				t.Errorf("the hash does not match: %s", line.String())
			}
			if want := signature.Sign(twiliotest.AuthToken, env["PUBLIC_URL"]+request.URL.RequestURI(), form); request.Header.Get("X-Twilio-Signature") != want {
				t.Errorf("the signature does not match: %s", line.String())
			}
			if !strings.Contains(body, "HOME") {
				t.Errorf("the description got lost: %s", body)
			}
		})
	}
}

// curlRequest returns the request that curl sends with the given arguments.
func curlRequest(t *testing.T, args []string) (request *http.Request, body string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, args[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(args); i += 2 {
		switch args[i] {
		case "-H":
			name, value, _ := strings.Cut(args[i+1], ": ")
			request.Header.Set(name, value)
		case "--data-raw":
			body = args[i+1]
		default:
			t.Fatalf("curl does not know %q", args[i])
		}
	}
	return request, body
}
