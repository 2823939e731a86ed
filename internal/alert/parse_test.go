package alert

import (
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// TestPayloads compares what comes of each file of testdata/payloads with its
// golden file. A new case is a new file, and a run with -update.
func TestPayloads(t *testing.T) {
	t.Parallel()
	for name, body := range payloads(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, err := parsePayload(name, body)
			for _, e := range events {
				checkEvent(t, e)
			}
			got := describe(events, err)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestPayloadsHaveNoLeftovers keeps testdata free of answers to payloads that
// are no more.
func TestPayloadsHaveNoLeftovers(t *testing.T) {
	t.Parallel()
	names := payloads(t)
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, golden := range goldens {
		if _, ok := names[strings.TrimSuffix(filepath.Base(golden), ".golden")]; !ok {
			t.Errorf("%s belongs to no payload", golden)
		}
	}
}

// payloads returns the files of testdata/payloads by name.
func payloads(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/payloads/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/payloads has %d files: %v", len(files), err)
	}
	all := make(map[string]string)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(body)
	}
	return all
}

// parsePayload parses a payload by the kind of its file: .form or .json.
func parsePayload(name, body string) ([]Event, error) {
	if filepath.Ext(name) == ".json" {
		return ParseJSON([]byte(body), "")
	}
	e, err := ParseForm(ParseQuery(body), "")
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

// describe writes events for a golden file, with what each alerts when it is
// the first of the day and warnings count.
func describe(events []Event, err error) string {
	var b strings.Builder
	triggers := Triggers{Rules: []Trigger{{Subjects: []string{"*"}, At: []int64{1}, Period: Daily}}, Warnings: true}
	for _, e := range events {
		write := func(name, value string) {
			if value != "" {
				fmt.Fprintf(&b, "%-12s %s\n", name+":", value)
			}
		}
		write("kind", string(e.Kind))
		write("id", e.ID)
		write("account", e.Account)
		write("code", e.Code)
		write("level", string(e.Level))
		write("description", e.Description)
		write("resource", e.Resource)
		if !e.Time.IsZero() {
			write("time", e.Time.Format(time.RFC3339Nano))
		}
		if e.Count != 0 || e.Period != "" {
			write("count", fmt.Sprintf("%d %s", e.Count, e.Period))
		}
		d := triggers.Decide([]Event{e}, make(tallies), news)[0]
		if d.Alert {
			write("text", DefaultText().Render(e, d).Now)
		}
		write("no text", d.Reason)
		b.WriteByte('\n')
	}
	if err != nil {
		fmt.Fprintf(&b, "error:\n%v\n", err)
	}
	return strings.TrimSpace(b.String()) + "\n"
}

func TestCodes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, code, want string }{
		{"five digits", "11200", "11200"},
		{"three digits", "404", "404"},
		{"six digits", "572005", "572005"},
		{"leading zeros", "00404", "00404"},
		{"empty", "", ""},
		{"two digits", "11", ""},
		{"seven digits", "1120000", ""},
		{"500 digits", strings.Repeat("1", 500), ""},
		{"a path", "11200/../..", ""},
		{"a query", "11200?x=1", ""},
		{"a line break behind", "11200\n", ""},
		{"a line break within", "11\n200", ""},
		{"a space before", " 11200", ""},
		{"a space behind", "11200 ", ""},
		{"NUL", "11200\x00", ""},
		{"Arabic-Indic digits", "١١٢٠٠", ""},
		{"full-width digits", "１１２００", ""},
		{"a sign", "-11200", ""},
		{"a decimal", "11200.0", ""},
		{"hexadecimal", "0x2bc0", ""},
		{"letters", "error", ""},
		{"bytes that are not UTF-8", "\xff\xff\xff", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := alarm(t, "AppMonitorTriggerSid", "AK", "ErrorCode", tt.code).Event
			if got.Code != tt.want {
				t.Errorf("the code is %q, want %q", got.Code, tt.want)
			}
			link := "https://www.twilio.com/docs/api/errors"
			if tt.want != "" {
				link += "/" + tt.want
			}
			if got.Link() != link {
				t.Errorf("the link is %s, want %s", got.Link(), link)
			}
		})
	}
}

func TestCodeBeforeText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, payload, want string }{
		{"its own field first", `{"error_code":"11200","more_info":{"ErrorCode":"32009"},"webhook":{"response":{"headers":{"X-Twilio-WebhookError":"11203 x"}}}}`, "11200"},
		{"then more_info", `{"error_code":"","more_info":{"ErrorCode":"32009,text"},"webhook":{"response":{"headers":{"X-Twilio-WebhookError":"11203 x"}}}}`, "32009"},
		{"then the header", `{"more_info":{"ErrorCode":"text"},"webhook":{"response":{"headers":{"X-Twilio-WebhookError":"11203 x"}}}}`, "11203"},
		{"then none", `{"more_info":{"ErrorCode":"text"},"webhook":{"response":{"headers":{"X-Twilio-WebhookError":"x 11203"}}}}`, ""},
		{"no text behind its own field", `{"error_code":"32009,text"}`, ""},
		{"too many digits before the text", `{"more_info":{"ErrorCode":"1120000,text"}}`, ""},
		{"a number with a fraction", `{"error_code":11200.5}`, ""},
		{"a number with an exponent", `{"error_code":112e2}`, ""},
		{"a boolean", `{"error_code":true}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := ParseForm(url.Values{"Payload": {tt.payload}}, "")
			if err != nil {
				t.Fatal(err)
			}
			if e.Code != tt.want {
				t.Errorf("the code is %q, want %q", e.Code, tt.want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	const fired = "Tue, 09 Aug 2022 16:51:20 +0000"
	tests := []struct {
		name, fields, header, want string
	}{
		{"an alarm's token with its date", "ErrorCode=11200&IdempotencyToken=abc&DateFired=" + url.QueryEscape(fired), "xyz", "alarm abc " + fired},
		{"an alarm's token alone repeats, so the header", "ErrorCode=11200&IdempotencyToken=abc", "xyz", "request xyz"},
		{"an alarm's date alone, so the header", "ErrorCode=11200&DateFired=" + url.QueryEscape(fired), "xyz", "request xyz"},
		{"a bare curl is always news", "ErrorCode=11200", "", ""},
		{"a debugger's Sid", "Sid=NO1&Payload={}", "xyz", "NO1"},
		{"a debugger's header, without a Sid", "Payload={}", "xyz", "request xyz"},
		{"a debugger event without either", "Payload={}", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fields, err := url.ParseQuery(tt.fields)
			if err != nil {
				t.Fatal(err)
			}
			e, err := ParseForm(fields, tt.header)
			if err != nil {
				t.Fatal(err)
			}
			if e.ID != tt.want {
				t.Errorf("the ID is %q, want %q", e.ID, tt.want)
			}
		})
	}
}

// TestLongIdentities shows that long or odd identities stay unique in the
// space and letters of an ID.
func TestLongIdentities(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, sid := range []string{
		strings.Repeat("N", 101), strings.Repeat("N", 102), strings.Repeat("N", 100_000), "NO\x00", "NO\x01", "NOé", "NO\xff", strings.Repeat("é", 200),
	} {
		e, err := ParseForm(url.Values{"Sid": {sid}, "Payload": {"{}"}}, "")
		if err != nil {
			t.Fatal(err)
		}
		checkEvent(t, e)
		if other, ok := seen[e.ID]; ok || e.ID == "" {
			t.Errorf("%.20q and %.20q have the same ID %q", sid, other, e.ID)
		}
		seen[e.ID] = sid
		if again, _ := ParseForm(url.Values{"Sid": {sid}, "Payload": {"{}"}}, ""); again.ID != e.ID {
			t.Errorf("a redelivery of %.20q has another ID: %q and %q", sid, e.ID, again.ID)
		}
	}
}

// TestPrivacy shows that none of the phone numbers, message bodies and addresses
// in a payload reaches an event.
func TestPrivacy(t *testing.T) {
	t.Parallel()
	secrets := []string{"15005550006", "5005550009", "500-555", "555-00", "5511955550006", "Stop", "4711", "secret", "app.example.com/sms", "unable to fetch", "sip:alice"}
	for name, body := range payloads(t) {
		events, _ := parsePayload(name, body)
		for _, e := range events {
			all := fmt.Sprintf("%+v %s", e, DefaultText().Render(e, Decision{}))
			for _, secret := range secrets {
				if strings.Contains(all, secret) {
					t.Errorf("%s: %q is in %s", name, secret, all)
				}
			}
		}
	}
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, description, want string }{
		{"plain words", "HTTP retrieval failure", "HTTP retrieval failure"},
		{"a link loses its scheme", "see https://evil.example.com/pay", "see evil.example.com/pay"},
		{"a link in capitals", "see HTTPS://EVIL.EXAMPLE.COM", "see EVIL.EXAMPLE.COM"},
		{"a link in mixed case", "see hTTps://evil.example.com", "see hTTps evil.example.com"},
		{"another scheme", "see ftp://evil.example.com", "see ftp evil.example.com"},
		{"a scheme within a scheme", "see hthttps://tps://evil.example.com", "see evil.example.com"},
		{"a link with an invisible mark", "see https:\u200b//evil.example.com", "see evil.example.com"},
		{"a link of look-alikes", "see https：⁄⁄evil.example.com", "see evil.example.com"},
		{"a link in full width", "see https：／／evil.example.com/pay?to=1", "see evil.example.com/pay"},
		{"a link in full width among Japanese", "接続できません https：／／evil.example.com", "接続できません evil.example.com"},
		{"a link among Japanese", "接続できません https://evil.example.com", "接続できません evil.example.com"},
		{"a link whose scheme is in full width", "see ｈｔｔｐｓ：／／evil.example.com", "see ｈｔｔｐｓ evil.example.com"},
		{"a link with a combining mark", "see https:/\u0301/evil.example.com", "see evil.example.com"},
		{"a link with a joiner", "see https:\u200d//evil.example.com", "see evil.example.com"},
		{"bidi marks vanish", "a\u202eb\u202cc\u2066d\u2069e\u200ff", "abcdef"},
		{"joiners of scripts stay", "नमस्\u200dते", "नमस्\u200dते"},
		{"an E.164 number", "to +15005550006 failed", "to (number) failed"},
		{"a channel address", "to whatsapp:+15005550006 failed", "to whatsapp:(number) failed"},
		{"a number with separators", "to +1 (500) 555-0006 failed", "to (number) failed"},
		{"a number without a plus", "to 15005550006 failed", "to (number) failed"},
		{"a national number", "to (500) 555-0006 failed", "to (number) failed"},
		{"a number with no-break hyphens", "to +1‑500‑555‑0006 failed", "to (number) failed"},
		{"more digits than a number has", "to +" + strings.Repeat("1", 40) + " failed", "to (number) failed"},
		{"a code is not a number", "error 11200 of 30003", "error 11200 of 30003"},
		{"a SID is not a number", "SM01234567890123456789012345678901", "SM01234567890123456789012345678901"},
		{"500 characters at most", strings.Repeat("é", 600), strings.Repeat("é", 500)},
		{"500 characters of four bytes", strings.Repeat("🔥", 600), strings.Repeat("🔥", 500)},
		{"cut between two bytes of a character", strings.Repeat("\u200b", 660) + strings.Repeat("é", 600), strings.Repeat("é", 10)},
		{"look-alikes longer than 500 characters", "://" + strings.Repeat("…", 497), " " + strings.Repeat("…", 497)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := alarm(t, "AppMonitorTriggerSid", "AK", "Description", tt.description).Event
			checkEvent(t, e)
			if e.Description != tt.want {
				t.Errorf("got  %q\nwant %q", e.Description, tt.want)
			}
		})
	}
}

func TestConsoleLinks(t *testing.T) {
	t.Parallel()
	sid := "NO0123456789abcdef0123456789abcdef"
	for id, want := range map[string]string{
		sid: "https://www.twilio.com/console/debugger/" + sid,
		"":  "", "NO1": "", sid + "0": "", "AC0123456789abcdef0123456789abcdef": "", "alarm abc": "", "request " + sid: "",
		"NO0123456789abcdef0123456789abcde/": "", "NO0123456789abcdef0123456789abcde?": "", "NO..............................//": "",
	} {
		if got := (Event{ID: id}).ConsoleLink(); got != want {
			t.Errorf("%q is at %q, want %q", id, got, want)
		}
	}
}

func TestSIDs(t *testing.T) {
	t.Parallel()
	long := "AC" + strings.Repeat("0", 32)
	for s, want := range map[string]string{
		long: long, "SM1": "SM1", "": "", "AC": "", "A1": "", "12": "", long + "0": "", "AC/../..": "", "AC 1": "", "AC1\n": "", "ACé": "",
		"+15005550006": "", "15005550006": "", "whatsapp:+15005550006": "",
	} {
		e := ParseErrorLogEntry(ErrorLogEntry{Account: s, Resource: s})
		if e.Account != want || e.Resource != want {
			t.Errorf("%q is the account %q and the resource %q, want %q", s, e.Account, e.Resource, want)
		}
	}
}

func TestJSONAlarmWithHeader(t *testing.T) {
	t.Parallel()
	events, err := ParseJSON([]byte(`{"ErrorCode":11200}`), "xyz")
	if err != nil || len(events) != 1 || events[0].ID != "request xyz" {
		t.Errorf("got %+v, %v, want one event with the ID of the request", events, err)
	}
	events, err = ParseJSON([]byte(`[{"ErrorCode":11200},{"ErrorCode":11200}]`), "xyz")
	if err != nil || len(events) != 2 || events[0].ID != "" {
		t.Errorf("got %+v, %v, want two events, for whose redelivery one header says nothing", events, err)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"2026-11-23T08:15:54Z":            "2026-11-23T08:15:54Z",
		"2026-11-23T08:15:54.289Z":        "2026-11-23T08:15:54.289Z",
		"2026-11-23T10:15:54.289+02:00":   "2026-11-23T08:15:54.289Z",
		"Tue, 09 Aug 2022 16:51:20 +0000": "2022-08-09T16:51:20Z",
		"Tue, 9 Aug 2022 16:51:20 +0000":  "2022-08-09T16:51:20Z",
		"Tue, 09 08 2022 16:51:20 +0000":  "2022-08-09T16:51:20Z",
		"Tue, 09 Aug 2022 16:51:20 GMT":   "2022-08-09T16:51:20Z",
		"Tue, 09 Aug 2022 18:51:20 +0200": "2022-08-09T16:51:20Z",
		"":                                "",
		"yesterday":                       "",
		"2026-02-30T08:15:54Z":            "",
		"0001-01-01T00:00:00Z":            "",
		"9999-12-31T23:59:59Z":            "",
		"1700000000":                      "",
	} {
		got := ""
		if e := alarm(t, "ErrorCode", "11200", "DateFired", s).Event; !e.Time.IsZero() {
			got = e.Time.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

func TestParseErrorLogEntry(t *testing.T) {
	t.Parallel()
	entry := ErrorLogEntry{
		SID: "NOa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1", Account: "AC0123456789abcdef0123456789abcdef", Code: "11200", Level: "error",
		Resource: "SM33333333333333333333333333333333", Generated: "2026-11-23T08:15:54Z",
	}
	tests := []struct {
		name, code, text      string
		wantCode, description string
	}{
		{"a form", "11200", "sourceComponent=14100&ErrorCode=11200&LogLevel=ERROR&Msg=Bad+Gateway&EmailNotification=false", "11200", "Bad Gateway"},
		{"a form with msg", "11200", "msg=Bad+Gateway", "11200", "Bad Gateway"},
		{"a form with an empty Msg", "11200", "Msg=&ErrorCode=11200", "11200", ""},
		{"a form with a key alone", "11200", "Msg&sourceComponent=14100&ErrorCode=11200", "11200", ""},
		{"a form without the code of the entry", "", "ErrorCode=32009%2Ctext&Msg=Not+registered", "32009", "Not registered"},
		{"a form with a broken field", "", "Msg=Bad+Gateway&ErrorCode=11200&From=%2B15005550006&Body=50% off", "11200", "Bad Gateway"},
		{"a form with a semicolon", "", "Msg=Bad+Gateway&ErrorCode=11200&Body=secret; words", "11200", "Bad Gateway"},
		{"a form with a semicolon in its words", "", "Msg=Timeout; again&ErrorCode=11200", "11200", "Timeout; again"},
		{"a form with a lone percent sign in its words", "", "Msg=100% busy&ErrorCode=11200", "11200", "100% busy"},
		{"a form whose Msg is empty", "", "Msg=&parserMessage=Error+on+line+11+of+document&ErrorCode=12100&LogLevel=ERROR", "12100", "Error on line 11 of document"},
		{"a form whose Msg is blank", "", "Msg=+&description=Sink+unreachable&ErrorCode=93101", "93101", "Sink unreachable"},
		{"a form of a channel", "", "ErrorCode=63016&errorMessage=Outside+the+window+of+%2B15005550006", "63016", "Outside the window of (number)"},
		{"a form without Msg", "12100", "parserMessage=Error+on+line+11", "12100", "Error on line 11"},
		{"JSON with the parser's words", "", `{"error_code":12100,"more_info":{"Msg":null,"parserMessage":"Error on line 11"}}`, "12100", "Error on line 11"},
		{"JSON", "11200", `{"error_code":11200,"more_info":{"Msg":"Bad Gateway"}}`, "11200", "Bad Gateway"},
		{"JSON with a message", "", `{"error_code":"93101","message":"Error delivering"}`, "93101", "Error delivering"},
		{"plain words", "11200", "The server said 502", "11200", "The server said 502"},
		{"plain words with an equals sign", "11200", "x=1 is wrong", "11200", "x=1 is wrong"},
		{"plain words with a percent sign", "11200", "50% failed", "11200", "50% failed"},
		{"plain words with a number", "11200", "to +15005550006", "11200", "to (number)"},
		{"a number alone", "11200", "502", "11200", "502"},
		{"nothing", "11200", "", "11200", ""},
		{"no code anywhere", "none", "The server said 502", "", "The server said 502"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entry := entry
			entry.Code, entry.Text = tt.code, tt.text
			got := ParseErrorLogEntry(entry)
			want := Event{
				ID: entry.SID, Kind: ErrorLog, Account: entry.Account, Code: tt.wantCode, Level: Error, Description: tt.description,
				Resource: entry.Resource, Time: time.Date(2026, time.November, 23, 8, 15, 54, 0, time.UTC),
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			checkEvent(t, got)
		})
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]url.Values{
		"":                                   {},
		"&&":                                 {},
		"a":                                  {"a": {""}},
		"=b":                                 {"": {"b"}},
		"a=b=c":                              {"a": {"b=c"}},
		"a=1&a=2":                            {"a": {"1", "2"}},
		"a=b+c%20d%2B":                       {"a": {"b c d+"}},
		"a=Timeout; again":                   {"a": {"Timeout; again"}},
		"a;b=c":                              {"a;b": {"c"}},
		"a=100% busy":                        {"a": {"100% busy"}},
		"a=100%":                             {"a": {"100%"}},
		"a=100%2":                            {"a": {"100%2"}},
		"a=%zz%41%+":                         {"a": {"%zzA% "}},
		"%=%":                                {"%": {"%"}},
		"a=%e2%82%ac 5%":                     {"a": {"€ 5%"}},
		"a=%ff":                              {"a": {"\xff"}},
		"a=%-1%+1%0x":                        {"a": {"%-1% 1%0x"}},
		"ErrorCode=11200&Description=50%; x": {"ErrorCode": {"11200"}, "Description": {"50%; x"}},
	} {
		if got := ParseQuery(s); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%q has the fields %q, want %q", s, got, want)
		}
	}
}

func TestErrorLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]Level{
		"error": Error, "ERROR": Error, "Error": Error, "0": Error, "": Error, "fatal": Error,
		"warning": Warning, "WARNING": Warning, "Warning": Warning, "warn": Warning, "1": Warning,
		"info": Info, "INFO": Info, "notice": Info, "debug": Info, "DEBUG": Info,
	} {
		if got := ParseErrorLogEntry(ErrorLogEntry{Level: level}).Level; got != want {
			t.Errorf("%q is the level %s, want %s", level, got, want)
		}
	}
}

func FuzzParseForm(f *testing.F) {
	for name, body := range payloads(f) {
		if filepath.Ext(name) != ".form" {
			continue
		}
		fields := ParseQuery(body)
		payload := fields.Get("Payload")
		fields.Del("Payload")
		f.Add(fields.Encode(), payload, "")
	}
	f.Add("ErrorCode=11200%0a&Description=+"+strings.Repeat("1", 40)+"&CurrentValue=1e11&TimePeriod=%ff", "", "token\xff")
	f.Add("Sid="+strings.Repeat("N", 200), `{"more_info":{"Msg":"https://`+strings.Repeat("+1", 300)+`"}}`, "")
	f.Fuzz(func(t *testing.T, body, payload, token string) {
		fields := ParseQuery(body)
		if strict, err := url.ParseQuery(body); err == nil && !maps.EqualFunc(fields, strict, slices.Equal) {
			t.Errorf("%q has the fields %q, want %q", body, fields, strict)
		}
		if payload != "" {
			fields.Set("Payload", payload)
		}
		if e, err := ParseForm(fields, token); err == nil {
			checkEvent(t, e)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for name, body := range payloads(f) {
		if filepath.Ext(name) == ".json" {
			f.Add([]byte(body), "")
		}
	}
	f.Add([]byte(`[{"specversion":null},[],{"ErrorCode":"\ud800","Description":"\u0000"}]`), "token")
	f.Fuzz(func(t *testing.T, body []byte, token string) {
		events, _ := ParseJSON(body, token)
		for _, e := range events {
			checkEvent(t, e)
		}
	})
}

func FuzzParseErrorLogEntry(f *testing.F) {
	f.Add("11200", "error", "Msg=Bad+Gateway&ErrorCode=11200", "NO1")
	f.Add("", "", `{"error_code":11200,"message":"x"}`, "")
	f.Fuzz(func(t *testing.T, code, level, text, sid string) {
		checkEvent(t, ParseErrorLogEntry(ErrorLogEntry{SID: sid, Account: sid, Resource: sid, Code: code, Level: level, Text: text, Generated: text}))
	})
}

var (
	wellFormedSID  = regexp.MustCompile(`^([A-Za-z]{2}[A-Za-z0-9]{1,32})?$`)
	wellFormedCode = regexp.MustCompile(`^([0-9]{3,6})?$`)
	wellFormedID   = regexp.MustCompile(`^[ -~]{0,100}$`)
	e164           = regexp.MustCompile(`\+[0-9]{7,15}`)
)

// checkEvent holds an event to what the comments of its fields promise, and
// its link to Twilio's pages.
func checkEvent(t *testing.T, e Event) {
	t.Helper()
	if !wellFormedID.MatchString(e.ID) {
		t.Errorf("the ID %q is too long or odd", e.ID)
	}
	switch e.Kind {
	case Alarm, Debugger, Stream, ErrorLog, Other:
	default:
		t.Errorf("%q is not a kind", e.Kind)
	}
	switch e.Level {
	case Error, Warning, Info:
	default:
		t.Errorf("%q is not a level", e.Level)
	}
	if !wellFormedSID.MatchString(e.Account) || !wellFormedSID.MatchString(e.Resource) {
		t.Errorf("the account %q or the resource %q is not a SID", e.Account, e.Resource)
	}
	if !wellFormedCode.MatchString(e.Code) {
		t.Errorf("%q is not a code", e.Code)
	}
	checkLine(t, "description", e.Description, 500)
	checkLine(t, "period", e.Period, 20)
	if strings.Contains(e.Description, "://") {
		t.Errorf("the description %q has a link", e.Description)
	}
	if e164.MatchString(e.Description) {
		t.Errorf("the description %q has a phone number", e.Description)
	}
	if year := e.Time.Year(); !e.Time.IsZero() && (e.Time.Location() != time.UTC || year < 2000 || year > 3000) {
		t.Errorf("the time %v is odd", e.Time)
	}
	if e.Count < 0 || e.Count >= 1e12 {
		t.Errorf("the count %d is odd", e.Count)
	}
	link := "https://www.twilio.com/docs/api/errors"
	if e.Code != "" {
		link += "/" + e.Code
	}
	if e.Link() != link {
		t.Errorf("the link is %s, want %s", e.Link(), link)
	}
	text := DefaultText().Render(e, count(1, Daily)).Now
	if !strings.HasSuffix(text, link) || strings.Count(text, "://") != 1 {
		t.Errorf("%q does not end in the one link %s", text, link)
	}
}

// checkLine checks that s is one line of valid UTF-8 with at most limit
// characters, none of them invisible but the joiners.
func checkLine(t *testing.T, what, s string, limit int) {
	t.Helper()
	invisible := func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) && r != ' ' || unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d'
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, invisible) {
		t.Errorf("the %s %q is not one clean line", what, s)
	}
	if n := utf8.RuneCountInString(s); n > limit {
		t.Errorf("the %s has %d characters, more than %d", what, n, limit)
	}
}
