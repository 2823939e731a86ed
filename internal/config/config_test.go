package config

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/signature"
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

// realSettings are the settings of a user with an account and a public address.
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
		"no page":                  {"ADMIN_ADDR": "off"},
		"phones as links":          {"ALERT_TO": "sms:+15005550009, tel:+1-500-555-0010"},
		"Postgres":                 {"DATABASE_URL": "postgres://u:p@db/alerts"},
		"names with + - _ &":       {"ALERT_FROM": "A+b-c_d&1 2"},
		"a short code":             {"ALERT_FROM": "12345"},
		"another channel":          {"ALERT_FROM": "messenger:1", "ALERT_TO": "messenger:2"},
		"a region with its edge":   {"TWILIO_REGION": "AU1"},
		"an unknown region":        {"TWILIO_REGION": "xx1", "TWILIO_EDGE": "somewhere"},
		"this machine":             {"PUBLIC_URL": "http://127.0.0.1:8080"},
		"durations with blanks":    {"GIVE_UP_AFTER": "5 H", "KEEP_FOR": " 48h "},
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
		"a number without a plus":  {map[string]string{"ALERT_TO": "+15005550009, 15005550009"}, []string{"ALERT_TO: recipient 2 is not a number; write it with +"}},
		"a sender of digits":       {map[string]string{"ALERT_FROM": "15005550006"}, []string{"ALERT_FROM: expected a number"}},
		"channels that differ":     {map[string]string{"ALERT_FROM": "whatsapp:+15005550006"}, []string{"ALERT_TO: recipient 1 is reached by SMS, but ALERT_FROM sends by whatsapp"}},
		"no address":               {map[string]string{"PUBLIC_URL": "alerts.example.com"}, []string{"PUBLIC_URL: expected an address"}},
		"an address with a user":   {map[string]string{"PUBLIC_URL": "https://u:p@alerts.example.com"}, []string{"PUBLIC_URL: expected an address"}},
		"an address with #":        {map[string]string{"PUBLIC_URL": publicURL + "#rc=3"}, []string{"PUBLIC_URL: expected an address"}},
		"triggers, two mistakes":   {map[string]string{"TRIGGERS": "* on 1; 11200 at x"}, []string{`TRIGGERS: rule "* on 1": expected "at"`, `rule "11200 at x": expected counts`}},
		"a level that is none":     {map[string]string{"LEVELS": "error,info"}, []string{"LEVELS: expected error, or error,warning"}},
		"an unknown placeholder":   {map[string]string{"ALERT_TEXT": "{kode}"}, []string{"ALERT_TEXT: unknown {kode}"}},
		"no SMS at all":            {map[string]string{"SMS_PER_HOUR": "0"}, []string{"SMS_PER_HOUR: expected a number of at least 1"}},
		"a duration without unit":  {map[string]string{"GIVE_UP_AFTER": "24"}, []string{"GIVE_UP_AFTER: expected a duration of at least 1m in the units h, m and s"}},
		"neither true nor false":   {map[string]string{"ALLOW_UNSIGNED": "maybe"}, []string{"ALLOW_UNSIGNED: expected true or false"}},
		"no port":                  {map[string]string{"ADDR": "localhost"}, []string{"ADDR: expected host:port"}},
		"a page for everybody":     {map[string]string{"ADMIN_ADDR": ":9090"}, []string{"ADMIN_PASSWORD: missing"}},
		"a log level that is none": {map[string]string{"LOG_LEVEL": "loud"}, []string{"LOG_LEVEL: expected debug, info, warn or error"}},
		"days":                     {map[string]string{"KEEP_FOR": "30d"}, []string{`KEEP_FOR: expected a duration`, "720h for 30 days", `got "30d"`}},
		"minutes in words":         {map[string]string{"POLL_EVERY": "5min"}, []string{"POLL_EVERY: ", "in the units h, m and s"}},
		"history of half a day":    {map[string]string{"KEEP_FOR": "12h"}, []string{`KEEP_FOR: expected a duration of at least 24h, got "12h"`}},
		"history too short":        {map[string]string{"KEEP_FOR": "24h"}, []string{"KEEP_FOR: must be at least GIVE_UP_AFTER plus 5h", "write 29h or more"}},
		"WhatsApp without number":  {map[string]string{"ALERT_FROM": "whatsapp:+15005550006", "ALERT_TO": "whatsapp:555"}, []string{"ALERT_TO: recipient 1 is not a number", "whatsapp:+15551234567"}},
		"WhatsApp from nowhere":    {map[string]string{"ALERT_FROM": "whatsapp:555"}, []string{"ALERT_FROM: expected a number", "whatsapp:+15551234567"}},
		"half a service":           {map[string]string{"ALERT_FROM": "MG123"}, []string{"ALERT_FROM: expected", "a messaging service (MG and 32 digits or small letters a to f)"}},
		"a service in capitals":    {map[string]string{"ALERT_FROM": "MG0123456789ABCDEF0123456789ABCDEF"}, []string{"ALERT_FROM: expected"}},
		"a long name":              {map[string]string{"ALERT_FROM": "Acme Alerting"}, []string{"ALERT_FROM: expected", "a name of up to 11 letters"}},
		"numbers, only blanks":     {map[string]string{"ALERT_TO": "+15005550009 +15005550010"}, []string{"ALERT_TO: recipient 1 is not a number", "commas"}},
		"an API key as account":    {map[string]string{"TWILIO_ACCOUNT_SID": "SK0123456789abcdef0123456789abcdef"}, []string{"TWILIO_ACCOUNT_SID: SK… is an API key", "TWILIO_API_KEY", "AC…"}},
		"an account in capitals":   {map[string]string{"TWILIO_ACCOUNT_SID": "AC0123456789ABCDEF0123456789ABCDEF"}, []string{"TWILIO_ACCOUNT_SID: ", "write AC0123456789abcdef0123456789abcdef"}},
		"a token as account":       {map[string]string{"TWILIO_ACCOUNT_SID": firstToken}, []string{"TWILIO_ACCOUNT_SID: expected AC and 32 digits"}},
		"an account as token":      {map[string]string{"TWILIO_AUTH_TOKEN": "AC0123456789abcdef0123456789abcdef"}, []string{"TWILIO_AUTH_TOKEN: this is the account's SID"}},
		"a secret with a dash":     {map[string]string{"TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": firstToken + "-"}, []string{"TWILIO_API_SECRET: expected letters and digits only; copy it again"}},
		"a token of no account":    {map[string]string{"WEBHOOK_AUTH_TOKENS": secondToken + ",main:" + firstToken}, []string{"WEBHOOK_AUTH_TOKENS: entry 2 is not an auth token", "AC…:token"}},
		"an account, no token":     {map[string]string{"WEBHOOK_AUTH_TOKENS": "AC0123456789abcdef0123456789abcdef:"}, []string{"WEBHOOK_AUTH_TOKENS: entry 1"}},
		"an unknown region":        {map[string]string{"TWILIO_REGION": "xx1"}, []string{`TWILIO_EDGE: missing; set the edge of region "xx1"`}},
		"a region with a host":     {map[string]string{"TWILIO_REGION": "au1.example.com/"}, []string{"TWILIO_REGION: expected a region such as au1"}},
		"PUBLIC_URL, its route":    {map[string]string{"PUBLIC_URL": publicURL + "/error_trigger"}, []string{"PUBLIC_URL: ", "write " + publicURL}},
		"and all of it":            {map[string]string{"PUBLIC_URL": publicURL + "/twilio/error_trigger/#rc=3&rp=all"}, []string{"PUBLIC_URL: ", "write " + publicURL + "/twilio"}},
		"the other route":          {map[string]string{"PUBLIC_URL": publicURL + "/message_status"}, []string{"PUBLIC_URL: ", "write " + publicURL}},
		"no scheme":                {map[string]string{"PUBLIC_URL": "alerts.example.com:8443"}, []string{"PUBLIC_URL: ", "write " + publicURL + ":8443"}},
		"another scheme":           {map[string]string{"PUBLIC_URL": "ftp://alerts.example.com"}, []string{"PUBLIC_URL: ", "write " + publicURL}},
		"a query":                  {map[string]string{"PUBLIC_URL": publicURL + "/?key=" + firstToken}, []string{"PUBLIC_URL: ", "write " + publicURL}},
		"a user in PUBLIC_URL":     {map[string]string{"PUBLIC_URL": "https://" + firstToken + "@alerts.example.com"}, []string{"PUBLIC_URL: ", "write " + publicURL}},
		"a token as PUBLIC_URL":    {map[string]string{"PUBLIC_URL": firstToken}, []string{"PUBLIC_URL: expected an address such as"}},
		"an underscore":            {map[string]string{"PUBLIC_URL": "https://my_alerts.example.com"}, []string{"PUBLIC_URL: Twilio refuses a host with an underscore", "-"}},
		"a path with blanks":       {map[string]string{"PUBLIC_URL": publicURL + "/a%20b"}, []string{"PUBLIC_URL: expected a path of letters"}},
		"a port that is none":      {map[string]string{"PORT": "70000"}, []string{"PORT: expected a port of up to 65535"}},
		"a named port":             {map[string]string{"ADDR": ":http"}, []string{"ADDR: expected host:port"}},
		"a page on a named port":   {map[string]string{"ADMIN_ADDR": "127.0.0.1:x"}, []string{"ADMIN_ADDR: expected host:port"}},
		"perhaps":                  {map[string]string{"DRY_RUN": "perhaps"}, []string{"DRY_RUN: expected true or false"}},
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
			names := make(map[string]bool)
			for line := range strings.Lines(err.Error()) {
				name, _, _ := strings.Cut(line, ":")
				if names[name] && c.change[name] != "" && name != "TRIGGERS" { // has a line for each rule
					t.Errorf("%s is wrong twice:\n%v", name, err)
				}
				names[name] = true
			}
			if len(c.want) == 1 && len(c.change) == 1 && len(names) > 2 {
				t.Errorf("one mistake makes others:\n%v", err)
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
	if _, err := Load(func(name string) string {
		if name != fileProblems && name != fileNames {
			read[name] = true
		}
		return ""
	}); err == nil {
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

// TestServerOfTheSettings: how check, mock and healthcheck reach the server.
func TestServerOfTheSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env         map[string]string
		want, wrong string
	}{
		"nothing set":          {nil, "http://127.0.0.1:8080", ""},
		"a platform's PORT":    {map[string]string{"PORT": "3000"}, "http://127.0.0.1:3000", ""},
		"both":                 {map[string]string{"PORT": "3000", "ADDR": "192.0.2.1:9000"}, "http://192.0.2.1:3000", ""},
		"all interfaces":       {map[string]string{"ADDR": ":9000"}, "http://127.0.0.1:9000", ""},
		"all interfaces, IPv6": {map[string]string{"ADDR": "[::]:9000"}, "http://127.0.0.1:9000", ""},
		"one interface":        {map[string]string{"ADDR": "192.0.2.1:9000"}, "http://192.0.2.1:9000", ""},
		"no port":              {map[string]string{"ADDR": "localhost"}, "", "ADDR: expected host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			getenv := func(name string) string { return c.env[name] }
			server, err := LoadServer(getenv)
			got := server.LocalURL()
			if c.wrong == "" && (err != nil || got != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("got %q, %v, want %q %s", got, err, c.want, c.wrong)
			}
		})
	}
	env := map[string]string{"PUBLIC_URL": publicURL + "/alerts/", "TWILIO_AUTH_TOKEN": firstToken}
	server, err := LoadServer(func(name string) string { return env[name] })
	if err != nil || server.PublicURL != publicURL+"/alerts" || server.AuthToken != firstToken {
		t.Errorf("got %+v, %v", server, err)
	}
	env = map[string]string{"PUBLIC_URL": "alerts.example.com", "TWILIO_AUTH_TOKEN": "a b", "PORT": "x"}
	_, err = LoadServer(func(name string) string { return env[name] })
	for name := range env {
		if err == nil || !strings.Contains(err.Error(), name+": expected") || strings.Contains(err.Error(), "a b") {
			t.Errorf("no mistake in %s: %v", name, err)
		}
	}
}

// TestPlatformsSetPort: they reach the server by an address of the machine.
func TestPlatformsSetPort(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]map[string]string{
		"127.0.0.1:8080": {},
		":3000":          {"PORT": "3000"},
		"127.0.0.1:3000": {"PORT": "3000", "ADDR": "127.0.0.1:8080"},
		"[::1]:8080":     {"ADDR": "[::1]:8080"},
	} {
		env := realSettings()
		maps.Copy(env, change)
		if got := load(t, env).Addr; got != want {
			t.Errorf("%v: listens on %s, want %s", change, got, want)
		}
	}
}

// TestQuotesAndBlanksAroundSettings: docker run --env-file keeps quotes, and
// secrets of files end in a line break.
func TestQuotesAndBlanksAroundSettings(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef", "TWILIO_AUTH_TOKEN": firstToken, "TWILIO_API_KEY": "SK1",
		"TWILIO_API_SECRET": "s", "TWILIO_REGION": "au1", "TWILIO_EDGE": "sydney", "ALERT_FROM": "+15005550006",
		"ALERT_TO": "+15005550009,+15005550010", "PUBLIC_URL": publicURL, "WEBHOOK_AUTH_TOKENS": secondToken, "ALLOW_UNSIGNED": "false",
		"TRIGGERS": "* at 2 hourly", "LEVELS": "error,warning", "SMS_PER_HOUR": "5", "ALERT_TEXT": "It's {code}", "DRY_RUN": "true",
		"ADDR": ":9000", "PORT": "3000", "ADMIN_ADDR": ":9090", "ADMIN_PASSWORD": `hunter"2'$`, "DATABASE_URL": "sqlite:other.db",
		"POLL_EVERY": "5m", "GIVE_UP_AFTER": "12h", "KEEP_FOR": "48h", "LOG_LEVEL": "warn", "TWILIO_BASE_URL": "http://127.0.0.1:1",
	}
	want := fmt.Sprintf("%#v", shown(load(t, all)))
	for _, around := range []string{`"%s"`, `'%s'`, " \t%s\r\n", " \"%s\"\n", "'%s '"} {
		env := make(map[string]string)
		for name, value := range all {
			env[name] = fmt.Sprintf(around, value)
		}
		if got := fmt.Sprintf("%#v", shown(load(t, env))); got != want {
			t.Errorf("with %s\n%s, want\n%s", around, got, want)
		}
	}
	env := realSettings()
	env["ADMIN_PASSWORD"] = `""a""`
	if got := load(t, env).AdminPassword; got != `"a"` {
		t.Errorf("of two pairs of quotes stays %s, want one", got)
	}
}

// shown makes all of the settings visible to fmt.
func shown(c Config) []any {
	all := []any{c.Account.BaseURL.String(), fmt.Sprint(c.Outbox)}
	c.Account.BaseURL, c.Outbox = nil, outbox.Options{}
	return append(all, c)
}

func TestNumbersAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for to, want := range map[string][]string{
		"+1 (555) 123-4567":                          {"+15551234567"},
		"+15551234567; +1.555.123.4568":              {"+15551234567", "+15551234568"},
		"+15551234567\n+15551234568\n":               {"+15551234567", "+15551234568"},
		"+15551234567,+1 555 123 4567,":              {"+15551234567"},
		"\"+15551234567\", \"+15551234568\"":         {"+15551234567", "+15551234568"},
		"+44 (0)7700 900123":                         {"+447700900123"},
		"\u202a+1\u00a0555\u2011123\u20114567\u202c": {"+15551234567"},
		"+49/171/1234567":                            {"+491711234567"},
	} {
		env := realSettings()
		env["ALERT_TO"], env["ALERT_FROM"] = to, "+1 (500) 555-0006"
		c := load(t, env)
		if !slices.Equal(c.Outbox.Recipients, want) || c.From != "+15005550006" {
			t.Errorf("%q: to %q from %q, want %q", to, c.Outbox.Recipients, c.From, want)
		}
	}
	env := realSettings()
	env["ALERT_TO"], env["ALERT_FROM"] = "whatsapp: +1 (555) 123-4567", "whatsapp:+15005550006"
	if got := load(t, env).Outbox.Recipients; !slices.Equal(got, []string{"whatsapp:+15551234567"}) {
		t.Errorf("WhatsApp: %q", got)
	}
}

// TestOutboxKnowsTheAccount: it tells errors of our own SMS by it.
func TestOutboxKnowsTheAccount(t *testing.T) {
	t.Parallel()
	if c := load(t, realSettings()); c.Outbox.Account == "" || c.Outbox.Account != c.Account.SID {
		t.Errorf("the outbox knows %q, want %q", c.Outbox.Account, c.Account.SID)
	}
}

func TestStatusCallback(t *testing.T) {
	t.Parallel()
	env := realSettings()
	env["PUBLIC_URL"] = publicURL + "/alerts"
	if got := load(t, env).StatusCallback(); got != publicURL+"/alerts/message_status" {
		t.Errorf("got %q", got)
	}
	env["TWILIO_API_KEY"], env["TWILIO_API_SECRET"], env["WEBHOOK_AUTH_TOKENS"] = "SK1", "secret", env["TWILIO_AUTH_TOKEN"]
	delete(env, "TWILIO_AUTH_TOKEN")
	if got := load(t, env).StatusCallback(); got != "" {
		t.Errorf("without the token that signs it: got %q", got)
	}
}

func TestTokensOfAccounts(t *testing.T) {
	t.Parallel()
	const sid = "AC00000000000000000000000000000001"
	env := realSettings()
	env["WEBHOOK_AUTH_TOKENS"] = secondToken + "; " + sid + ":third"
	c := load(t, env)
	if want := []signature.Token{{Token: secondToken}, {Account: sid, Token: "third"}}; c.AuthToken != firstToken || !slices.Equal(c.WebhookTokens, want) {
		t.Errorf("got %q and %q, want %q", c.AuthToken, c.WebhookTokens, want)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change map[string]string
		want   string
	}{
		"none":                     {nil, ""},
		"a path and a port":        {map[string]string{"PUBLIC_URL": publicURL + ":8443/twilio/"}, ""},
		"not encrypted":            {map[string]string{"PUBLIC_URL": "http://alerts.example.com/a"}, "PUBLIC_URL: http:// lets strangers on the way read your errors; write https://alerts.example.com/a"},
		"localhost":                {map[string]string{"PUBLIC_URL": "http://localhost:8080"}, "PUBLIC_URL: Twilio cannot reach localhost; write"},
		"loopback":                 {map[string]string{"PUBLIC_URL": "http://127.0.0.1:8080"}, "PUBLIC_URL: Twilio cannot reach 127.0.0.1"},
		"loopback, IPv6":           {map[string]string{"PUBLIC_URL": "http://[::1]:8080"}, "PUBLIC_URL: Twilio cannot reach ::1"},
		"a private address":        {map[string]string{"PUBLIC_URL": "https://10.0.0.1"}, "PUBLIC_URL: Twilio cannot reach 10.0.0.1"},
		"a name without a dot":     {map[string]string{"PUBLIC_URL": "https://server"}, "PUBLIC_URL: Twilio cannot reach server"},
		"a name of this network":   {map[string]string{"PUBLIC_URL": "https://server.local"}, "PUBLIC_URL: Twilio cannot reach server.local"},
		"unsigned on loopback":     {map[string]string{"PUBLIC_URL": "", "ALLOW_UNSIGNED": "true", "ADDR": "localhost:8080"}, ""},
		"unsigned everywhere":      {map[string]string{"PUBLIC_URL": "", "ALLOW_UNSIGNED": "true", "PORT": "8080"}, "ALLOW_UNSIGNED: anyone who reaches :8080 can post errors; set PUBLIC_URL, or ADDR=127.0.0.1:8080"},
		"allowed, but signed":      {map[string]string{"ALLOW_UNSIGNED": "true", "PORT": "8080"}, "ALLOW_UNSIGNED: has no effect beside PUBLIC_URL"},
		"rules for some codes":     {map[string]string{"TRIGGERS": "30003 never; 11200 every 5"}, "TRIGGERS: codes that it does not name never alert; for these too, write * at 1,10,100 daily; before it"},
		"rules for all codes":      {map[string]string{"TRIGGERS": "30003 never; any at 1"}, ""},
		"a text cut at a comment":  {map[string]string{"ALERT_TEXT": "Bug"}, "ALERT_TEXT: it says nothing of the error"},
		"a dry run in a container": {map[string]string{"PUBLIC_URL": "", "DRY_RUN": "true", "ADDR": ":8080"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := realSettings()
			maps.Copy(env, c.change)
			got := load(t, env).Warnings
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestTokenInTheWrongPlace: no message repeats it.
func TestTokenInTheWrongPlace(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^(?:# )?([A-Z_]+)=`).FindAllStringSubmatch(string(text), -1) {
		env := realSettings()
		env[match[1]] = firstToken
		c, err := Load(func(name string) string { return env[name] })
		if err != nil && strings.Contains(err.Error(), firstToken[:30]) || strings.Contains(strings.Join(c.Warnings, ""), firstToken[:30]) {
			t.Errorf("as %s: %v %q", match[1], err, c.Warnings)
		}
	}
}
