package alert

import (
	"net/url"
	"testing"
)

// form returns the fields of a payload in testdata.
func form(b *testing.B, name string) url.Values {
	b.Helper()
	fields, err := url.ParseQuery(payloads(b)[name])
	if err != nil || len(fields) == 0 {
		b.Fatalf("%s has %d fields: %v", name, len(fields), err)
	}
	return fields
}

func BenchmarkParseDebugger(b *testing.B) {
	fields := form(b, "debugger-11200-bad-gateway.form")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseForm(fields, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAlarm(b *testing.B) {
	fields := form(b, "alarm.form")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseForm(fields, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseDecide is what a webhook costs besides HTTP and the commit,
// as long as it makes no alert. The aim is below 10 µs.
func BenchmarkParseDecide(b *testing.B) {
	fields := form(b, "debugger-11200-bad-gateway.form")
	triggers, counts := mustParse(b, DefaultTriggers), make(tallies)
	b.ReportAllocs()
	for b.Loop() {
		e, err := ParseForm(fields, "")
		if err != nil {
			b.Fatal(err)
		}
		triggers.Decide([]Event{e}, counts, news)
	}
}

func BenchmarkParseDecideRender(b *testing.B) {
	fields := form(b, "debugger-11200-bad-gateway.form")
	triggers := mustParse(b, DefaultTriggers)
	text := DefaultText()
	b.ReportAllocs()
	for b.Loop() {
		e, err := ParseForm(fields, "")
		if err != nil {
			b.Fatal(err)
		}
		text.Render(e, triggers.Decide([]Event{e}, make(tallies), news)[0])
	}
}

func BenchmarkRender(b *testing.B) {
	text := DefaultText()
	for name, description := range map[string]string{
		"short":    "HTTP retrieval failure",
		"long":     "Your TwiML tried to Dial a Twilio SIP Registered User that is not currently registered, and nobody knows why",
		"Japanese": "サーバーに接続できません。サーバーに接続できません。サーバーに接続できません。サーバーに接続できません。",
	} {
		b.Run(name, func(b *testing.B) {
			e := Event{Kind: Alarm, Code: "11200", Level: Error, Description: description, Time: aTuesday}
			b.ReportAllocs()
			for b.Loop() {
				text.Render(e, Decision{Alert: true})
			}
		})
	}
}
