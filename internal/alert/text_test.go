package alert

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// aTuesday is the time of the events in these tests.
var aTuesday = time.Date(2022, time.August, 9, 16, 51, 20, 0, time.UTC)

// alarm returns the alert of an alarm that Twilio sent with these fields,
// written as name, value, name, value.
func alarm(t *testing.T, fields ...string) told {
	t.Helper()
	form := make(url.Values)
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	e, err := ParseForm(form, "")
	if err != nil {
		t.Fatalf("ParseForm(%v): %v", form, err)
	}
	return told{Event: e, Decision: Decision{Alert: true}}
}

// counted returns the alert of an 11200 that we counted ourselves.
func counted(d Decision) told {
	d.Alert = true
	return told{
		Event:    Event{Kind: Debugger, Code: "11200", Level: Error, Description: "Bad Gateway", Time: aTuesday},
		Decision: d,
	}
}

// told is an event that alerts, as it is told now or later.
type told struct {
	Event    Event
	Decision Decision
	later    bool
}

// in returns the SMS that text makes of it.
func (a told) in(text Text) string {
	words := text.Render(a.Event, a.Decision)
	if a.later {
		return words.Later
	}
	return words.Now
}

// count returns the decision of the nth event of a period.
func count(n int64, period Period) Decision {
	return Decision{Alert: true, Counts: []Count{{Counter{Code: "11200", Period: period, Start: period.Start(aTuesday)}, n}}}
}

// countOfAll returns the decision of the nth event of all.
func countOfAll(n int64, period Period) Decision {
	d := count(n, period)
	d.Counts[0].Code = anyCode
	return d
}

// both returns the decision of an event that is due in two counters.
func both(a, b Decision) Decision {
	a.Counts = append(a.Counts, b.Counts...)
	return a
}

func TestDefaultText(t *testing.T) {
	t.Parallel()
	late := func(a told) told { a.later = true; return a }
	const link = "https://www.twilio.com/docs/api/errors"
	tests := []struct {
		name  string
		alert told
		want  string
	}{
		{"the recipe's curl", alarm(t, "ErrorCode", "11200", "Description", "HTTP retrieval failure"),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure " + link + "/11200"},
		{"a warning of 2014", alarm(t, "ErrorCode", "13226", "Description", "Dial: Invalid country code", "Log", "1"),
			"A warning on your Twilio app occurred! 13226 Dial: Invalid country code " + link + "/13226"},
		{"a warning of today", alarm(t, "ErrorCode", "13520", "Description", "Say: Invalid text", "Log", "warning"),
			"A warning on your Twilio app occurred! 13520 Say: Invalid text " + link + "/13520"},
		{"the first of the day, by Twilio's count", alarm(t, "ErrorCode", "11200", "Description", "HTTP retrieval failure", "CurrentValue", "1", "TimePeriod", "daily"),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure " + link + "/11200"},
		{"no code", alarm(t, "Description", "Something broke"),
			"An error on your Twilio app occurred! Something broke " + link},
		{"a code that is none", alarm(t, "ErrorCode", "11200/../..", "Description", "Something broke"),
			"An error on your Twilio app occurred! Something broke " + link},
		{"no description", alarm(t, "ErrorCode", "11200"),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure " + link + "/11200"},
		{"no description and no name", alarm(t, "ErrorCode", "999999"),
			"An error on your Twilio app occurred! 999999 " + link + "/999999"},
		{"neither code nor description", alarm(t, "AppMonitorTriggerSid", "AK22222222222222222222222222222222"),
			"An error on your Twilio app occurred! " + link},
		{"an alarm that watches everything", alarm(t, "ErrorCode", "10004", "Description", "Any Warning or Error"),
			"An error on your Twilio app occurred! 10004 Any Warning or Error: Call concurrency limit exceeded " + link + "/10004"},
		{"an alarm that watches every error, of an unknown code", alarm(t, "ErrorCode", "999999", "Description", "Any error"),
			"An error on your Twilio app occurred! 999999 Any error " + link + "/999999"},
		{"a description that only begins with any", alarm(t, "ErrorCode", "11200", "Description", "Any answer was too late"),
			"An error on your Twilio app occurred! 11200 Any answer was too late " + link + "/11200"},
		{"a late alarm", late(alarm(t, "ErrorCode", "11200", "DateFired", "Tue, 09 Aug 2022 16:51:20 +0000")),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure (at 2022-08-09 16:51 UTC) " + link + "/11200"},
		{"a late alarm that Twilio counted", late(alarm(t, "ErrorCode", "11200", "CurrentValue", "55", "TimePeriod", "ONE_DAY", "DateFired", "Tue, 09 Aug 2022 16:51:20 +0000")),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure (55 in a day, at 2022-08-09 16:51 UTC) " + link + "/11200"},
		{"our first of the day", counted(count(1, Daily)),
			"An error on your Twilio app occurred! 11200 Bad Gateway (1st today) " + link + "/11200"},
		{"our tenth of the hour", counted(count(10, Hourly)),
			"An error on your Twilio app occurred! 11200 Bad Gateway (10th this hour) " + link + "/11200"},
		{"our 22nd of the month", counted(count(22, Monthly)),
			"An error on your Twilio app occurred! 11200 Bad Gateway (22nd this month) " + link + "/11200"},
		{"our 113th of the year", counted(count(113, Yearly)),
			"An error on your Twilio app occurred! 11200 Bad Gateway (113th this year) " + link + "/11200"},
		{"the 1000th of all", counted(countOfAll(1000, Daily)),
			"An error on your Twilio app occurred! 11200 Bad Gateway (1000th of all today) " + link + "/11200"},
		{"late", late(counted(count(3, Daily))),
			"An error on your Twilio app occurred! 11200 Bad Gateway (3rd of 2022-08-09, at 16:51 UTC) " + link + "/11200"},
		{"late, of all", late(counted(countOfAll(100, Monthly))),
			"An error on your Twilio app occurred! 11200 Bad Gateway (100th of all of 2022-08, at 2022-08-09 16:51 UTC) " + link + "/11200"},
		{"late, of the hour", late(counted(count(3, Hourly))),
			"An error on your Twilio app occurred! 11200 Bad Gateway (3rd of its hour, at 2022-08-09 16:51 UTC) " + link + "/11200"},
		{"due for its code and for all", counted(both(count(1, Daily), countOfAll(3, Daily))),
			"An error on your Twilio app occurred! 11200 Bad Gateway (1st today, 3rd of all today) " + link + "/11200"},
		{"late, due for its code and for all", late(counted(both(count(1, Daily), countOfAll(3, Daily)))),
			"An error on your Twilio app occurred! 11200 Bad Gateway (1st of 2022-08-09, 3rd of all of 2022-08-09, at 16:51 UTC) " + link + "/11200"},
		{"a late trigger of 2014", late(alarm(t, "ErrorCode", "11200", "CurrentValue", "10", "TimePeriod", "daily", "DateFired", "Tue, 09 Aug 2022 16:51:20 +0000")),
			"An error on your Twilio app occurred! 11200 HTTP retrieval failure (10 in 2022-08-09, at 2022-08-09 16:51 UTC) " + link + "/11200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.alert.in(DefaultText())
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkSMS(t, got, 160)
		})
	}
}

func TestLateTextIsInUTC(t *testing.T) {
	t.Parallel()
	a := counted(count(1, Daily))
	a.later = true
	a.Event.Time = aTuesday.In(time.FixedZone("Tokyo", 9*60*60))
	if got, want := a.in(DefaultText()), "of 2022-08-09, at 16:51 UTC"; !strings.Contains(got, want) {
		t.Errorf("%s does not say %s", got, want)
	}
}

func TestTwilioCounted(t *testing.T) {
	t.Parallel()
	tests := []struct{ count, period, want string }{
		{"55", "ONE_DAY", "(55 in a day) "},
		{"55", "TWELVE_HOURS", "(55 in 12 hours) "},
		{"55", "ONE_HOUR", "(55 in an hour) "},
		{"55", "FIFTEEN_MINS", "(55 in 15 minutes) "},
		{"55", "FIVE_MINS", "(55 in 5 minutes) "},
		{"55", "five_mins", "(55 in 5 minutes) "},
		{"10", "daily", "(10 today) "},
		{"10", "monthly", "(10 this month) "},
		{"10", "yearly", "(10 this year) "},
		{"10", "", "(10 so far) "},
		{"10", "FORTNIGHT", "(10 so far) "},
		{"10.000000", "daily", "(10 today) "},
		{"1", "daily", ""},
		{"0", "daily", ""},
		{"-3", "daily", ""},
		{"NaN", "daily", ""},
		{"Inf", "daily", ""},
		{"many", "daily", ""},
		{"", "daily", ""},
	}
	for _, tt := range tests {
		t.Run(tt.count+" "+tt.period, func(t *testing.T) {
			t.Parallel()
			got := alarm(t, "ErrorCode", "11200", "CurrentValue", tt.count, "TimePeriod", tt.period).in(DefaultText())
			want := "An error on your Twilio app occurred! 11200 HTTP retrieval failure " + tt.want + "https://www.twilio.com/docs/api/errors/11200"
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestDescriptionFits shows what becomes of a description in the default
// text, where 71 septets or 45 units of UCS-2 are left for it.
func TestDescriptionFits(t *testing.T) {
	t.Parallel()
	const before = "An error on your Twilio app occurred! 11200 "
	const after = " https://www.twilio.com/docs/api/errors/11200"
	tests := []struct {
		name, description, want string
		encoding                string
	}{
		{"plain words", "Bad Gateway", "Bad Gateway", "GSM-7"},
		{"typographic quotes", "“Can’t” ‘reach’ „it‟", `"Can't" 'reach' "it"`, "GSM-7"},
		{"guillemets", "«Non» ‹là›", `"Non" <là>`, "GSM-7"},
		{"dashes", "a – b — c ‑ d − e", "a - b - c - d - e", "GSM-7"},
		{"backticks", "run `curl`", "run 'curl'", "GSM-7"},
		{"an ellipsis", "waiting…", "waiting...", "GSM-7"},
		{"a bullet and an arrow", "• a → b", "* a -> b", "GSM-7"},
		{"accents of GSM-7", "Café à la Ñ, ßüöä", "Café à la Ñ, ßüöä", "GSM-7"},
		{"accents that GSM-7 lacks", "Čeština, garçon, Łódź, ő", "Cestina, garcon, Lodz, o", "GSM-7"},
		{"combining accents", "Cafe\u0301 is close\u0308d", "Café is closed", "GSM-7"},
		{"an emoji", "Server down 🔥", "Server down ?", "GSM-7"},
		{"an emoji with a variation selector", "I ❤\ufe0f SMS", "I ? SMS", "GSM-7"},
		{"an emoji with a skin tone", "Fine 👍🏽 then", "Fine ? then", "GSM-7"},
		{"a family of joined emoji", "The 👨\u200d👩\u200d👧 left", "The ??? left", "GSM-7"},
		{"a word of Japanese", "Function サ failed", "Function ? failed", "GSM-7"},
		{"line breaks and control characters", "a\r\nb\x00c\td\u2028e\x1b[31m", "a b c d e [31m", "GSM-7"},
		{"no more than spaces", " \t\n ", "HTTP retrieval failure", "GSM-7"},
		{"bytes that are no UTF-8", "caf\xe9 closed", "caf? closed", "GSM-7"},

		{"Japanese", "サーバーに接続できません", "サーバーに接続できません", "UCS-2"},
		{"Japanese with quotes", "「サーバー」に’接続’できません", "「サーバー」に’接続’できません", "UCS-2"},
		{"Cyrillic", "Ошибка сервера", "Ошибка сервера", "UCS-2"},
		{"Hindi keeps its vowel signs", "सर्वर त्रुटि", "सर्वर त्रुटि", "UCS-2"},
		{"emoji alone", "🔥🔥", "🔥🔥", "UCS-2"},

		{"just fits", strings.Repeat("x", 71), strings.Repeat("x", 71), "GSM-7"},
		{"one too many", strings.Repeat("x", 72), strings.Repeat("x", 68) + "...", "GSM-7"},
		{"no space before the dots", strings.Repeat("x", 67) + " yyyyyyyy", strings.Repeat("x", 67) + "...", "GSM-7"},
		{"very long", strings.Repeat("word ", 100_000), strings.Repeat("word ", 13) + "wor...", "GSM-7"},
		{"one word, very long", strings.Repeat("x", 1_000_000), strings.Repeat("x", 68) + "...", "GSM-7"},
		{"extension characters just fit", strings.Repeat("€", 35), strings.Repeat("€", 35), "GSM-7"},
		{"extension characters cost two", strings.Repeat("{", 36), strings.Repeat("{", 34) + "...", "GSM-7"},
		{"an extension character is not halved", strings.Repeat("x", 67) + "€€€", strings.Repeat("x", 67) + "...", "GSM-7"},
		{"an ellipsis costs three", strings.Repeat("x", 69) + "…", strings.Repeat("x", 68) + "...", "GSM-7"},

		{"Japanese just fits", strings.Repeat("あ", 45), strings.Repeat("あ", 45), "UCS-2"},
		{"Japanese is cut", strings.Repeat("あ", 100), strings.Repeat("あ", 42) + "...", "UCS-2"},
		{"Japanese, very long", strings.Repeat("あ", 100_000), strings.Repeat("あ", 42) + "...", "UCS-2"},
		{"a surrogate pair is not halved", "あ" + strings.Repeat("🔥", 30), "あ" + strings.Repeat("🔥", 20) + "...", "UCS-2"},
		{"a combining mark stays with its letter", strings.Repeat("あ\u3099", 30), strings.Repeat("あ\u3099", 21) + "...", "UCS-2"},
		{"a joined emoji is not taken apart", strings.Repeat("家", 40) + "👨\u200d👩\u200d👧", strings.Repeat("家", 40) + "...", "UCS-2"},
		{"a skin tone stays with its emoji", strings.Repeat("家", 39) + "👍🏽👍🏽", strings.Repeat("家", 39) + "...", "UCS-2"},
		{"nothing but marks of one letter", "あ" + strings.Repeat("\u3099", 60), "", "GSM-7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := alarm(t, "ErrorCode", "11200", "Description", tt.description).in(DefaultText())
			want := strings.TrimSpace(before+tt.want) + after
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			encoding := "UCS-2"
			if _, ok := countSeptets(got); ok {
				encoding = "GSM-7"
			}
			if encoding != tt.encoding {
				t.Errorf("%s is sent in %s, want %s", got, encoding, tt.encoding)
			}
			checkSMS(t, got, 160)
		})
	}
}

func TestAlertText(t *testing.T) {
	t.Parallel()
	late := func(a told) told { a.later = true; return a }
	const link = "https://www.twilio.com/docs/api/errors/11200"
	badGateway := counted(count(10, Daily))
	badGateway.Event.Account = "AC0123456789abcdef0123456789abcdef"
	known := badGateway
	known.Event.ID = "NO0123456789abcdef0123456789abcdef"
	describe := func(description string) told {
		a := badGateway
		a.Event.Description = description
		return a
	}
	tests := []struct {
		name, text string
		alert      told
		want       string
	}{
		{"empty is the default", "", badGateway,
			"An error on your Twilio app occurred! 11200 Bad Gateway (10th today) " + link},
		{"nothing but spaces is the default", "  ", badGateway,
			"An error on your Twilio app occurred! 11200 Bad Gateway (10th today) " + link},
		{"every name", "{code} {name}: {description}, {count}, {account}, {time} {link}", badGateway,
			"11200 HTTP retrieval failure: Bad Gateway, 10th today, AC0123456789abcdef0123456789abcdef, 2022-08-09 16:51 UTC " + link},
		{"the event in the Console", "{code} {link} {event}", known, "11200 " + link + " https://www.twilio.com/console/debugger/NO0123456789abcdef0123456789abcdef"},
		{"an event without a SID takes its brackets along", "{code} ({event}) {link}", badGateway, "11200 " + link},
		{"without {link}", "Shop: {code}", badGateway, "Shop: 11200 " + link},
		{"words alone", "Look at Twilio!", badGateway, "Look at Twilio! " + link},
		{"{link} in the middle", "See {link} for {code} {description}", badGateway, "See " + link + " for 11200 Bad Gateway"},
		{"{link} twice", "{link} {link}", badGateway, link + " " + link},
		{"several {description}", "{description} {description} {link}", badGateway, "Bad Gateway Bad Gateway " + link},
		{"several long {description}", "{description}|{description} {link}", describe(strings.Repeat("x", 500)),
			strings.Repeat("x", 133) + "...|" + strings.Repeat("x", 133) + "... " + link},
		{"a long {description} fills 320 septets", "{description} {link}", describe(strings.Repeat("x", 500)),
			strings.Repeat("x", 272) + "... " + link},
		{"an empty value takes its space along", "{code} {time} {link}", alarm(t, "ErrorCode", "11200"), "11200 " + link},
		{"an empty value takes its brackets along", "errors ({count}) [{time}] {link}", alarm(t, "ErrorCode", "11200"), "errors " + link},
		{"the user's own brackets stay", "f() ({description}) {link}", describe("g() failed"), "f() (g() failed) " + link},
		{"late, without {count} and {time}", "{code} {description} {link}", late(badGateway), "11200 Bad Gateway (2022-08-09 16:51 UTC) " + link},
		{"late, with {time}", "{code} {time} {link}", late(badGateway), "11200 2022-08-09 16:51 UTC " + link},
		{"late, with {count}", "{code} {count} {link}", late(badGateway), "11200 10th of 2022-08-09, at 16:51 UTC " + link},
		{"a brace by itself", "{ {code} } {link}", badGateway, "{ 11200 } " + link},
		{"a brace that is never closed", "{code} { here", badGateway, "11200 { here " + link},
		{"a brace that is never opened", "{code} } here", badGateway, "11200 } here " + link},
		{"line breaks become spaces", "Twilio\n{code}\r\n{link}", badGateway, "Twilio 11200 " + link},
		{"typographic words are folded", "It’s “{code}” – {link}", badGateway, `It's "11200" - ` + link},
		{"emoji in the words send all in UCS-2", "🚨 {code} ‘{description}’ {link}", badGateway, "🚨 11200 ‘Bad Gateway’ " + link},
		{"emoji in the words and a long description", "🚨 {description} {link}", describe(strings.Repeat("x", 500)),
			"🚨 " + strings.Repeat("x", 83) + "... " + link},
		{"Japanese in the words", "エラー {code} {link}", badGateway, "エラー 11200 " + link},
		{"a Japanese description", "{code} {description} {link}", describe("サーバーに接続できません"), "11200 サーバーに接続できません " + link},
		{"words too long for UCS-2 with a Japanese description", strings.Repeat("w", 100) + " {description} {link}", describe("接続"),
			strings.Repeat("w", 100) + " ?? " + link},
		{"a name too long for UCS-2 is cut", "🚨 {name}: " + strings.Repeat("w", 70) + " {link}", badGateway,
			"🚨 HTTP retrie...: " + strings.Repeat("w", 70) + " " + link},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := ParseText(tt.text)
			if tt.want == "" {
				if err == nil {
					t.Fatalf("ParseText(%q) was accepted", tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := tt.alert.in(text)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkSMS(t, got, 320)
		})
	}
}

func TestAlertTextRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"an unknown name", "{code} {cod} {link}", "unknown {cod}: use {code} {name} {description} {count} {account} {time} {link} {event}"},
		{"a name in capitals", "{Link}", "unknown {Link}"},
		{"a name with spaces", "{ link }", "unknown { link }"},
		{"an empty name", "{}", "unknown {"},
		{"a template of Go", "{{.Code}}", "unknown {.Code}"},
		{"too many words", strings.Repeat("w", 320), "too long by 46 characters, beside the description: shorten its words"},
		{"too many words for UCS-2", "🚨" + strings.Repeat("w", 100), "too long by 14 characters, beside the description: shorten its words"},
		{"the event in the Console beside long words", "{event} {link}" + strings.Repeat("w", 202), "too long by 2 characters"},
		{"too many links", strings.Repeat("{link} ", 7), "too long by"},
		{"extension characters cost two", strings.Repeat("€", 138), "too long by 2 characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseText(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestHeldText(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, time.November, 23, 14, 5, 59, 0, time.UTC)
	tests := []struct {
		name   string
		counts []CodeCount
		since  time.Time
		want   string
	}{
		{"many codes", []CodeCount{{"30003", 1}, {"11200", 21}, {"11205", 4}, {"30007", 9}, {"21211", 2}}, since,
			"37 alerts held back since 14:05 UTC: 11200 x21, 30007 x9, and 7 others"},
		{"three codes are all named", []CodeCount{{"30003", 1}, {"11200", 21}, {"30007", 9}}, since,
			"31 alerts held back since 14:05 UTC: 11200 x21, 30007 x9, 30003 x1"},
		{"one code", []CodeCount{{"11200", 21}}, since, "21 alerts held back since 14:05 UTC: 11200 x21"},
		{"one alert", []CodeCount{{"11200", 1}}, since, "1 alert held back since 14:05 UTC: 11200 x1"},
		{"equal counts by code", []CodeCount{{"30003", 2}, {"11200", 2}}, since, "4 alerts held back since 14:05 UTC: 11200 x2, 30003 x2"},
		{"alerts without a code are others", []CodeCount{{"", 5}, {"11200", 2}}, since, "7 alerts held back since 14:05 UTC: 11200 x2, and 5 others"},
		{"one other", []CodeCount{{"", 1}, {"11200", 2}}, since, "3 alerts held back since 14:05 UTC: 11200 x2, and 1 other"},
		{"no code at all", []CodeCount{{"", 5}}, since, "5 alerts held back since 14:05 UTC"},
		{"another time zone", []CodeCount{{"11200", 2}}, since.In(time.FixedZone("Delhi", 5*60*60+30*60)), "2 alerts held back since 14:05 UTC: 11200 x2"},
		{"a storm", []CodeCount{{"111111", 1e9}, {"222222", 1e9}, {"333333", 1e9}, {"444444", 1e9}}, since,
			"4000000000 alerts held back since 14:05 UTC: 111111 x1000000000, 222222 x1000000000, and 2000000000 others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			words := HeldText(tt.counts, tt.since)
			got := words.Now
			want := tt.want
			if tt.name != "a storm" { // too long beside the prefix of a trial account
				want += " https://www.twilio.com/docs/api/errors"
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			checkSMS(t, got, 122)
			checkSMS(t, words.Later, 122)
			if later := strings.Replace(got, "14:05", "2026-11-23 14:05", 1); words.Later != later {
				t.Errorf("got, on another day, %s\nwant %s", words.Later, later)
			}
			if want := time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC); !words.Until.Equal(want) {
				t.Errorf("the time without a date is true until %s, want %s", words.Until, want)
			}
		})
	}
}

// On a trial account every alert fits in one segment of GSM-7 beside Twilio's
// prefix: Twilio refuses what does not.
func TestTrial(t *testing.T) {
	t.Parallel()
	const link = "https://www.twilio.com/docs/api/errors/11200"
	japanese := counted(count(1, Daily))
	japanese.Event.Description = "ウェブフックが失敗しました"
	unnamed := japanese
	unnamed.Event.Code = "999999"
	long := counted(count(1, Daily))
	long.Event.Description = strings.Repeat("Bad Gateway ", 40)
	late := counted(count(1, Daily))
	late.later = true
	lateAlarm := alarm(t, "ErrorCode", "11200", "CurrentValue", "999999", "TimePeriod", "FIFTEEN_MINS", "Log", "warning")
	lateAlarm.Event.Time, lateAlarm.later = aTuesday, true
	for _, tt := range []struct {
		name, text string
		of         told
		want       string
	}{
		{"short", "", counted(count(1, Daily)), "An error on your Twilio app occurred! 11200 Bad Gateway (1st today) " + link},
		{"a long description is cut", "", long, "An error on your Twilio app occurred! 11200 Bad Gateway Bad Ga... (1st today) " + link},
		{"Japanese gives way to the name", "", japanese, "An error on your Twilio app occurred! 11200 HTTP retrieval fai... (1st today) " + link},
		{"Japanese without a name goes", "", unnamed, "An error on your Twilio app occurred! 999999 (1st today) https://www.twilio.com/docs/api/errors/999999"},
		{"late", "", late, "An error on your Twilio app occurred! 11200 (1st of 2022-08-09, at 16:51 UTC) " + link},
		{"a late alarm", "", lateAlarm, "A warning: 11200 HTTP retr... (999999 in 15 minutes, at 2022-08-09 16:51 UTC) " + link},
		{"the user's words", "Shop: {description}", counted(count(1, Daily)), "Shop: Bad Gateway " + link},
		{"too many words of the user's", strings.Repeat("word ", 30) + "{code}", counted(count(1, Daily)), "An error: 11200 Bad Gateway (1st today) " + link},
		{"words of the user's without GSM-7 letters", "エラー {code}", counted(count(1, Daily)), "An error on your Twilio app occurred! 11200 Bad Gateway (1st today) " + link},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := ParseText(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.of.in(text.ForTrial()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkSMS(t, tt.of.in(text.ForTrial()), 122)
		})
	}
}

func TestOrdinal(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 10: "10th", 11: "11th", 12: "12th", 13: "13th", 14: "14th", 20: "20th",
		21: "21st", 22: "22nd", 23: "23rd", 100: "100th", 101: "101st", 111: "111th", 112: "112th", 113: "113th", 1011: "1011th", 1021: "1021st",
	} {
		if got := Ordinal(n); got != want {
			t.Errorf("Ordinal(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestEveryCodeHasItsName(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(errorNames) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			t.Fatalf("%q has no three fields", line)
		}
		if got := CodeName(fields[0]); got != strings.Join(strings.Fields(fields[2]), " ") {
			t.Errorf("the name of %s is %q, want %q", fields[0], got, fields[2])
		}
	}
	for _, code := range []string{"", "000", "100", "11199", "999999", "error", "11200\t", "\n"} {
		if got := CodeName(code); got != "" {
			t.Errorf("the name of %q is %q, want none", code, got)
		}
	}
}

// FuzzRender holds every text to its promise, whatever Twilio and the user
// wrote: it fits, is one line of valid UTF-8, and has the whole link.
func FuzzRender(f *testing.F) {
	f.Add("11200", "HTTP retrieval failure", "", int64(1), false, false)
	f.Add("", "“Can’t” reach `it`… €{}[]~\\^|", "{code} {name} {description} {count} {account} {time} {link} {event}", int64(10), true, true)
	f.Add("13226", strings.Repeat("サーバーに接続できません", 50), "🚨 {description} {link} {name}", int64(1e9), true, true)
	f.Add("999999", strings.Repeat("👨\u200d👩\u200d👧", 40), "{description} {description}", int64(999_999_999_999), true, false)
	f.Add("11200/../..", "https：⁄⁄example.com https:/\u0301/example.com \u202egro.elpmaxe", "{link}{name}", int64(-1), false, false)
	f.Add("30003", "\xff\xfe\x00 あ\xff", "e\u0301 { } {count}", int64(0), false, true)
	f.Fuzz(func(t *testing.T, code, description, template string, n int64, late, ours bool) {
		a := alarm(t, "AppMonitorTriggerSid", "AK", "ErrorCode", code, "Description", description)
		a.Event.Count, a.later, a.Event.Time = n, late, aTuesday
		if ours {
			a.Event.Kind = Debugger
			a.Event.Account, a.Event.ID = "AC0123456789abcdef0123456789abcdef", "NO0123456789abcdef0123456789abcdef"
			a.Decision = both(count(min(max(n, 1), 1e9), Hourly), countOfAll(min(max(n, 1), 1e9), Hourly))
		}

		got := a.in(DefaultText())
		checkSMS(t, got, 160)
		if !strings.HasSuffix(got, " "+a.Event.Link()) || strings.Count(got, "://") != 1 {
			t.Errorf("%q does not end in the one link %s", got, a.Event.Link())
		}

		text, err := ParseText(template)
		if err != nil {
			return
		}
		got = a.in(text)
		checkSMS(t, got, 320)
		if !strings.Contains(got, a.Event.Link()) {
			t.Errorf("%q does not contain the link %s", got, a.Event.Link())
		}
	})
}

// checkSMS checks that text is one line of valid UTF-8 within limit septets
// of GSM-7, or else within two segments of UCS-2.
func checkSMS(t *testing.T, text string, limit int) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%q is not valid UTF-8", text)
	}
	if strings.ContainsAny(text, "\n\r\f\v\u0085\u2028\u2029") {
		t.Errorf("%q is not one line", text)
	}
	if n, ok := countSeptets(text); ok {
		if n > limit {
			t.Errorf("%q takes %d septets, more than %d", text, n, limit)
		}
		return
	}
	if n := len(utf16.Encode([]rune(text))); n > 2*67 {
		t.Errorf("%q takes %d units of UCS-2, more than two segments", text, n)
	}
}

// countSeptets returns how many septets of GSM-7 text takes, and whether it
// can be sent so. The alphabet is 3GPP TS 23.038, row by row.
func countSeptets(text string) (n int, ok bool) {
	const basic = "@\u00a3$\u00a5\u00e8\u00e9\u00f9\u00ec\u00f2\u00c7\n\u00d8\u00f8\r\u00c5\u00e5" +
		"\u0394_\u03a6\u0393\u039b\u03a9\u03a0\u03a8\u03a3\u0398\u039e\u00c6\u00e6\u00df\u00c9" +
		" !\"#\u00a4%&'()*+,-./" +
		"0123456789:;<=>?" +
		"\u00a1ABCDEFGHIJKLMNO" +
		"PQRSTUVWXYZ\u00c4\u00d6\u00d1\u00dc\u00a7" +
		"\u00bfabcdefghijklmno" +
		"pqrstuvwxyz\u00e4\u00f6\u00f1\u00fc\u00e0"
	for _, r := range text {
		switch {
		case strings.ContainsRune(basic, r):
			n++
		case strings.ContainsRune("^{}\\[~]|\u20ac\f", r):
			n += 2
		default:
			return 0, false
		}
	}
	return n, true
}
