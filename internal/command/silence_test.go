package command

import (
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"twilio-error-sms/internal/outbox"
)

// TestSilence follows an operator who silences codes from a terminal.
func TestSilence(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "alerts.db")}
	getenv := func(name string) string { return env[name] }
	if err := Silence(t.Context(), []string{"11200", "2h"}, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "run this in its folder") {
		t.Errorf("where no server has run: %v", err)
	}
	server, err := outbox.Visit(t.Context(), env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, step := range []struct{ typed, want, err string }{
		{"list", "nothing is silenced", ""},
		{"11200 2h", `11200 is silenced until \d{4}-\d\d-\d\d \d\d:\d\d UTC`, ""},
		{"all tomorrow", `all codes are silenced until \d{4}-\d\d-\d\d 00:00 UTC`, ""},
		{"list", `(?s)11200 is silenced .*all codes are silenced`, ""},
		{"end 11200", "11200 may ring again; all codes are silenced", ""},
		{"end 11200", "", `"11200" is not silenced`},
		{"end", "", "name the code"},
		{"", "", "expected a code"},
		{"11200", "", `expected a duration such as 30m or 2h, or "tomorrow"`},
		{"11200 1s", "", "between 1m and 720h"},
		{"11200 2h 3h", "", `unexpected "3h"`},
	} {
		var out strings.Builder
		err := Silence(t.Context(), strings.Fields(step.typed), getenv, &out)
		if step.err == "" && err != nil || step.err != "" && (err == nil || !strings.Contains(err.Error(), step.err)) {
			t.Errorf("silence %s: %v, want %q", step.typed, err, step.err)
		}
		if !regexp.MustCompile(step.want).MatchString(out.String()) {
			t.Errorf("silence %s prints %q, want %q", step.typed, out.String(), step.want)
		}
	}
}
