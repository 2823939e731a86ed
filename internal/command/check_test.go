package command

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// An error about the SMS of check -send makes no alert, also where its status
// callback does not reach the server.
func TestSMSOfCheckAreOurs(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	env := map[string]string{
		"TWILIO_BASE_URL": twilio.URL, "TWILIO_ACCOUNT_SID": twiliotest.AccountSID, "TWILIO_AUTH_TOKEN": twiliotest.AuthToken,
		"ALERT_FROM": "+15005550006", "ALERT_TO": "+15005550009", "PUBLIC_URL": "https://alerts.invalid",
		"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "alerts.db"),
	}
	if err := Check(t.Context(), []string{"-send"}, func(name string) string { return env[name] }, io.Discard); err == nil {
		t.Error("a PUBLIC_URL that does not exist is not bad")
	}
	messages := twilio.Messages()
	if len(messages) != 1 || !strings.HasPrefix(messages[0].Form.Get("StatusCallback"), "https://alerts.invalid/message_status?sms=check-") {
		t.Fatalf("got SMS %v, want one with a status callback", messages)
	}
	triggers, err := alert.ParseTriggers("* every 1")
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), env["DATABASE_URL"], outbox.Options{
		Triggers: triggers, Text: alert.DefaultText(), PerHour: 1, GiveUpAfter: time.Hour, KeepFor: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	results, err := box.Record(t.Context(), []alert.Event{{Kind: alert.Debugger, Code: "30003", Level: alert.Error, Resource: messages[0].SID}})
	if err != nil || results[0].Reason != "an SMS of our own" {
		t.Errorf("got %v, %v", results, err)
	}
}

// What was probably meant is suggested, and nothing far-fetched.
func TestUnknownCommands(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"chek": "did you mean check?", "connnect": "did you mean connect?", "moc": "did you mean mock?", "helthcheck": "did you mean healthcheck?", "usage": "\"usage\"\nusage:", "serve": "\"serve\"\nusage:",
	} {
		if err := Unknown(name).Error(); !strings.Contains(err, want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}
