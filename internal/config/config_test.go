package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	publicURL   = "https://alerts.example.com"
	firstToken  = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	secondToken = "ffffffffffffffffffffffffffffffff"
)

// load returns the settings of env.
func load(t *testing.T, env map[string]string) Config {
	t.Helper()
	config, err := Load(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// realSettings is the settings of somebody with an account and a public address.
func realSettings() map[string]string {
	return map[string]string{
		"TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef", "TWILIO_AUTH_TOKEN": firstToken,
		"ALERT_FROM": "+15005550006", "ALERT_TO": "+15005550009", "PUBLIC_URL": publicURL,
	}
}

func TestSettingsThatWork(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]string{
		"as they are":              {},
		"a messaging service":      {"ALERT_FROM": "MG0123456789abcdef0123456789abcdef"},
		"WhatsApp":                 {"ALERT_FROM": "whatsapp:+15005550006", "ALERT_TO": "whatsapp:+15005550009"},
		"a name that sends":        {"ALERT_FROM": "Acme Alerts"},
		"an API key":               {"TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "s"},
		"no token but an API key":  {"TWILIO_AUTH_TOKEN": "", "TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "s", "WEBHOOK_AUTH_TOKENS": secondToken},
		"unsigned, on purpose":     {"PUBLIC_URL": "", "ALLOW_UNSIGNED": "true"},
		"no webhook, only the log": {"PUBLIC_URL": "", "POLL_EVERY": "5m"},
		"a platform's PORT":        {"ADDR": ":1", "PORT": "3000"},
		"a page on loopback":       {"ADMIN_ADDR": "127.0.0.1:9090"},
		"a page with a password":   {"ADMIN_ADDR": ":9090", "ADMIN_PASSWORD": "p"},
		"Postgres":                 {"DATABASE_URL": "postgres://u:p@db/alerts"},
		"everything about alerts":  {"TRIGGERS": "* at 1; 13226 every 1", "LEVELS": "error,warning", "SMS_PER_HOUR": "5", "ALERT_TEXT": "{code} {link}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := realSettings()
			maps.Copy(env, change)
			load(t, env)
		})
	}
}

func TestSettingsThatDoNot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change map[string]string
		want   []string
	}{
		"nothing set":              {map[string]string{"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": "", "ALERT_FROM": "", "ALERT_TO": "", "PUBLIC_URL": ""}, []string{"TWILIO_ACCOUNT_SID: missing", "DRY_RUN=true", "TWILIO_AUTH_TOKEN: missing", "ALERT_FROM: missing", "ALERT_TO: missing", "PUBLIC_URL: missing"}},
		"an empty token":           {map[string]string{"TWILIO_AUTH_TOKEN": ""}, []string{"TWILIO_AUTH_TOKEN: missing", "PUBLIC_URL: needs TWILIO_AUTH_TOKEN"}},
		"credentials, no trust":    {map[string]string{"PUBLIC_URL": ""}, []string{"PUBLIC_URL: missing", "ALLOW_UNSIGNED=true"}},
		"half an API key":          {map[string]string{"TWILIO_API_KEY": "SK1"}, []string{"TWILIO_API_KEY: set TWILIO_API_KEY and TWILIO_API_SECRET together"}},
		"a token with a space":     {map[string]string{"TWILIO_AUTH_TOKEN": "a b"}, []string{"TWILIO_AUTH_TOKEN: expected letters and digits"}},
		"a number without a plus":  {map[string]string{"ALERT_TO": "+15005550009, 15005550009"}, []string{"ALERT_TO: recipient 2 is no number"}},
		"a sender of digits":       {map[string]string{"ALERT_FROM": "15005550006"}, []string{"ALERT_FROM: expected a number"}},
		"channels that differ":     {map[string]string{"ALERT_FROM": "whatsapp:+15005550006"}, []string{"ALERT_TO: recipient 1 is reached by SMS, but ALERT_FROM sends by whatsapp"}},
		"no address":               {map[string]string{"PUBLIC_URL": "alerts.example.com"}, []string{"PUBLIC_URL: expected an address"}},
		"an address with a user":   {map[string]string{"PUBLIC_URL": "https://u:p@alerts.example.com"}, []string{"PUBLIC_URL: expected an address"}},
		"an address with #":        {map[string]string{"PUBLIC_URL": publicURL + "#rc=3"}, []string{"PUBLIC_URL: expected an address"}},
		"triggers, two mistakes":   {map[string]string{"TRIGGERS": "* on 1; 11200 at x"}, []string{`TRIGGERS: rule "* on 1": expected "at"`, `rule "11200 at x": expected counts`}},
		"a level that is none":     {map[string]string{"LEVELS": "error,info"}, []string{"LEVELS: expected error, or error,warning"}},
		"an unknown placeholder":   {map[string]string{"ALERT_TEXT": "{kode}"}, []string{"ALERT_TEXT: unknown {kode}"}},
		"no SMS at all":            {map[string]string{"SMS_PER_HOUR": "0"}, []string{"SMS_PER_HOUR: expected a number of at least 1"}},
		"a duration without unit":  {map[string]string{"GIVE_UP_AFTER": "24"}, []string{"GIVE_UP_AFTER: expected a duration"}},
		"neither true nor false":   {map[string]string{"ALLOW_UNSIGNED": "maybe"}, []string{"ALLOW_UNSIGNED: expected true or false"}},
		"no port":                  {map[string]string{"ADDR": "localhost"}, []string{"ADDR: expected host:port"}},
		"a page for everybody":     {map[string]string{"ADMIN_ADDR": ":9090"}, []string{"ADMIN_PASSWORD: missing"}},
		"a log level that is none": {map[string]string{"LOG_LEVEL": "loud"}, []string{"LOG_LEVEL: expected debug, info, warn or error"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := realSettings()
			maps.Copy(env, c.change)
			_, err := Load(func(name string) string { return env[name] })
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), firstToken) {
				t.Errorf("the token is in: %v", err)
			}
		})
	}
}

// TestExampleSettings keeps .env.example, the README and the program in step.
func TestExampleSettings(t *testing.T) {
	t.Parallel()
	read := make(map[string]bool)
	if _, err := Load(func(name string) string { read[name] = true; return "" }); err == nil {
		t.Error("no settings at all were accepted")
	}
	for file, pattern := range map[string]string{".env.example": `(?m)^(?:# )?([A-Z_]+)=`, "README.md": "(?m)`([A-Z][A-Z_]+)`"} {
		text, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		named := make(map[string]bool)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			named[match[1]] = true
		}
		if got, want := slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(read)); !slices.Equal(got, want) {
			t.Errorf("%s names\n%v, the program reads\n%v", file, got, want)
		}
	}
}

// TestExampleDefaults: what .env.example shows as defaults are the defaults.
func TestExampleDefaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	env := realSettings()
	without, err := Load(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^# ([A-Z_]+)=(.+)$`).FindAllStringSubmatch(string(text), -1) {
		env[match[1]] = match[2]
	}
	with := load(t, env)
	if without.LogValue().String() != with.LogValue().String() || without.DatabaseURL != with.DatabaseURL || without.Addr != with.Addr || without.Outbox.GiveUpAfter != with.Outbox.GiveUpAfter || without.Outbox.KeepFor != with.Outbox.KeepFor || without.LogLevel != with.LogLevel {
		t.Errorf("with the example's defaults %v, without %v", with, without)
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte("ALERT_TO=\"+1\" # comment\nALERT_FROM=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ALERT_FROM", "environment")
	getenv, err := Environment(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := getenv("ALERT_TO") + " " + getenv("ALERT_FROM"); got != "+1 environment" {
		t.Errorf("got %q", got)
	}
	if _, err := Environment(filepath.Join(t.TempDir(), "missing")); err != nil {
		t.Errorf("a missing file: %v", err)
	}
}

// TestServerOfTheSettings: how check, mock and healthcheck reach the server.
func TestServerOfTheSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env         map[string]string
		want, wrong string
	}{
		"nothing set":          {nil, "http://127.0.0.1:8080", ""},
		"a platform's PORT":    {map[string]string{"PORT": "3000"}, "http://127.0.0.1:3000", ""},
		"all interfaces":       {map[string]string{"ADDR": ":9000"}, "http://127.0.0.1:9000", ""},
		"all interfaces, IPv6": {map[string]string{"ADDR": "[::]:9000"}, "http://127.0.0.1:9000", ""},
		"one interface":        {map[string]string{"ADDR": "192.0.2.1:9000"}, "http://192.0.2.1:9000", ""},
		"no port":              {map[string]string{"ADDR": "localhost"}, "", "ADDR: expected host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			getenv := func(name string) string { return c.env[name] }
			got, err := LocalURL(getenv)
			if c.wrong == "" && (err != nil || got != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("got %q, %v, want %q %s", got, err, c.want, c.wrong)
			}
		})
	}
	env := map[string]string{"PUBLIC_URL": publicURL + "/alerts/", "TWILIO_AUTH_TOKEN": firstToken}
	server, err := LoadServer(func(name string) string { return env[name] })
	if err != nil || server.PublicURL.String() != publicURL+"/alerts" || server.AuthToken != firstToken {
		t.Errorf("got %+v, %v", server, err)
	}
	env = map[string]string{"PUBLIC_URL": "alerts.example.com", "TWILIO_AUTH_TOKEN": "a b", "PORT": "x"}
	_, err = LoadServer(func(name string) string { return env[name] })
	for name := range env {
		if err == nil || !strings.Contains(err.Error(), name+": expected") {
			t.Errorf("no mistake in %s: %v", name, err)
		}
	}
}
