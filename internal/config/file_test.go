package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// settingsFile returns a lookup in a file with a content.
func settingsFile(t *testing.T, content string) func(string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Environment(file)
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	t.Setenv("ALERT_FROM", "environment")
	t.Setenv("LEVELS", "")
	getenv := settingsFile(t, "ALERT_TO=+1 # comment\nALERT_FROM=file\nLEVELS=file\n")
	if got := getenv("ALERT_TO") + " " + getenv("ALERT_FROM") + getenv("LEVELS"); got != "+1 environment" {
		t.Errorf("got %q", got)
	}
}

func TestSettingsFilesAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"ADMIN_PASSWORD=hunter2":                      "hunter2",
		"ADMIN_PASSWORD=hunter2\r":                    "hunter2",
		"\ufeffADMIN_PASSWORD=hunter2":                "hunter2",
		"  export  ADMIN_PASSWORD = hunter2  ":        "hunter2",
		"ADMIN_PASSWORD=\"hunter2\"":                  "hunter2",
		"ADMIN_PASSWORD='hunter2' # mine, \"shared\"": "hunter2",
		"ADMIN_PASSWORD=hunter2 # mine":               "hunter2",
		"ADMIN_PASSWORD=hunter#2":                     "hunter#2",
		"ADMIN_PASSWORD=\"hunter # 2\"":               "hunter # 2",
		"ADMIN_PASSWORD=#hunter2":                     "#hunter2",
		"ADMIN_PASSWORD=${HOME}$$\\n":                 "${HOME}$$\\n",
		"ADMIN_PASSWORD=\"$HOME\\t\\\"\"":             "$HOME\\t\\\"",
		"ADMIN_PASSWORD=it's":                         "it's",
		"ADMIN_PASSWORD=a=b==":                        "a=b==",
		"ADMIN_PASSWORD=first\nADMIN_PASSWORD=last":   "last",
		"# ADMIN_PASSWORD=x\n\n":                      "",
		"ADMIN_PASSWORD= # none yet":                  "",
	} {
		r := newReader(settingsFile(t, line+"\nALERT_TO=+15005550009\n"))
		if got := r.text("ADMIN_PASSWORD", ""); got != want || len(r.problems) > 0 || r.text("ALERT_TO", "") != "+15005550009" {
			t.Errorf("%q: got %q %v, want %q", line, got, r.problems, want)
		}
	}
	if r := newReader(Environment(filepath.Join(t.TempDir(), "missing"))); len(r.problems) > 0 {
		t.Errorf("a missing file: %v", r.problems)
	}
}

// TestBrokenSettingsFile: every broken line is named, and nothing of it shown.
func TestBrokenSettingsFile(t *testing.T) {
	t.Parallel()
	for content, want := range map[string][]string{
		"my account\nTWILIO_AUTH_TOKEN=" + firstToken:             {", line 1: expected NAME=value"},
		"\n# my account\n" + firstToken + "\nmine: " + firstToken: {", line 3: expected NAME=value", ", line 4: expected NAME=value"},
		"TWILIO_AUTH_TOKEN=\"" + firstToken + "\nALERT_TO='":      {", line 1: expected quotes around the whole value", ", line 2: expected quotes"},
		"=" + firstToken:                  {", line 1: expected NAME=value"},
		"\xff\xfeT\x00=\x00" + firstToken: {": not in UTF-8; save it again"},
		"A\x00=" + firstToken:             {": not in UTF-8"},
	} {
		getenv := settingsFile(t, content)
		_, err := Load(getenv)
		_, serverErr := LoadServer(getenv)
		for _, err := range []error{err, serverErr} {
			if err == nil {
				t.Errorf("%q was accepted", content)
				continue
			}
			for _, want := range want {
				if !strings.Contains(err.Error(), ".env"+want) {
					t.Errorf("%q: %v, want %q", content, err, want)
				}
			}
			for _, leak := range []string{firstToken, "my account", "mine"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("%q is repeated: %v", leak, err)
				}
			}
		}
	}
	if _, err := LoadServer(Environment(t.TempDir())); err == nil || !strings.Contains(err.Error(), "reading settings: ") {
		t.Errorf("a folder in place of the file: %v", err)
	}
}

func TestNamesThatAreNoSettings(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ALERT_T0":         "ALERT_T0 is not a setting; did you mean ALERT_TO?",
		"ALTER_TO":         "did you mean ALERT_TO?",
		"TWILIO_ACCOUNT":   "did you mean TWILIO_ACCOUNT_SID?",
		"AUTH_TOKEN":       "did you mean TWILIO_AUTH_TOKEN?",
		"TWILIO_AUTH_TOKN": "did you mean TWILIO_AUTH_TOKEN?",
		"FROM":             "did you mean ALERT_FROM?",
		"alert_to":         "this name is not a setting; did you mean ALERT_TO?",
		"HTTPS_PROXY":      "HTTPS_PROXY is not a setting; see .env.example",
		"cGFzc3dvcmQ":      "this name is not a setting; see .env.example",
		"ALERT_TO":         "",
	} {
		c, err := Load(settingsFile(t, "DRY_RUN=true\n"+name+"=+15005550009\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Warnings, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.Contains(got, ".env, line 2: ") {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
