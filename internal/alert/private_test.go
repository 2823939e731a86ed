package alert

import (
	"net/url"
	"strings"
	"testing"
)

// spellings are ways to write the number +1 555 123 4567, and others.
var spellings = []string{
	"+15551234567", "15551234567", "5551234567", "0015551234567", "+1 555 123 4567", "+1-555-123-4567", "+1.555.123.4567",
	"+1 (555) 123-4567", "(555) 123-4567", "(555)123-4567", "555-123-4567", "555.123.4567", "555 123 4567", "+1/555/123/4567", "+1/555/1234567",
	"tel15551234567", "tel:+15551234567", "sms:15551234567", "whatsapp:+15551234567", "from_15551234567_to", "from_+1_555_123_4567_to", "x15551234567x",
	"%2B15551234567", "%2b15551234567", "%252B15551234567", "%252B1%2520555%2520123%25204567", "%2B1%20555%20123%204567", "%2B1%20%28555%29%20123-4567",
	"555%2D123%2D4567", "555%E2%80%91123%E2%80%914567", "+1+555+123+4567", "07911 123456", "07911-123456", "020 7946 0958", "+44 (0)20 7946 0958", "0171/1234567",
	"+49 171 / 123 45 67", "+33 6 12 34 56 78", "06.12.34.56.78", "1234567", "555 1234", "555-1234", "123-45-67", "8080 8443",
	"＋１５５５１２３４５６７", "１５５５１２３４５６７", "＋１（５５５）１２３－４５６７", "１ ５５５ １２３ ４５６７", "٠١٢٣٤٥٦٧٨٩", "१२३४५६७८९०", "𝟏𝟓𝟓𝟓𝟏𝟐𝟑𝟒𝟓𝟔𝟕",
	"①⑤⑤⑤①②③④⑤⑥⑦", "¹⁵⁵⁵¹²³⁴⁵⁶⁷", "+1‑555‑123‑4567", "+1–555–123–4567", "+1\u00a0555\u00a0123\u00a04567", "+1\u2009555\u2009123\u20094567",
	"+1\u200b555\u200b123\u200b4567", "+1·555·123·4567", "1\u03015551234567", "5\u03015\u03015\u03011\u03012\u03013\u03014\u0301", "+1 - 555 - 123 - 4567", "1 5 5 5 1 2 3 4 5 6 7",
	"SM15551234567", "AC0123456789abcdef0123456789abcdef0", "1.23.45.67.89.10", "2026-13-45-12", "999.123.456.789", "2026.555.1234",
	"+15551234567@example.com", "sip:15551234567@example.com", "call(15551234567)", "[15551234567]", "\"15551234567\"", "15551234567.", "#15551234567", "1-800-555-0199",
	"(+1)5551234567", "+1 (555) - 123 - 4567", "+1\n555\n123\n4567", "1２3٤5६7", "+91-98765-43210", "98765 43210", "1 2026-11-25 1234567", "2026-11-25\u00a05551234567", "10.12.13.114–5551234567", "2026-11-25%205551234567", "2026-11-25 (555) 123-4567", "+2026-11-25",
	"+45 12.34.56.78", "+47-22.33.44.55", "0047 22.33.44.55", "%2B47%2022.33.44.55", "whatsapp:+47 22.33.44.55", "(+352) 26.20.12.34", "+33 1.23.45.67 89", "+49 30 2012-10-11", "2026-11-25 +47 22.33.44.55", "09:15.5551234567", "+30003 11200",
	"2026-11-25 5551234567", "5551234567 2026-11-25", "10.12.13.114 5551234567", "08:15:54 5551234567", "08:15:54.289 5551234567", "11200 5551234567", "2026-11-25T08:15:54Z15551234567",
}

// harmless are texts that look a little like numbers, and stay.
var harmless = []string{
	"", "11200", "error 11200", "error 11200 of 30003", "codes 11200, 30003 and 13226", "11200 30003", "11200/30003/13226", "11200 502", "456001 404",
	"2026-11-25", "on 2026-11-25 at 08:15", "2026-11-25 08:15:54", "2026-11-25T08:15:54Z", "2026-11-25T08:15:54.289Z", "2026-11-25T08:15:54.289123456Z",
	"2026-11-25T08:15:54.289+02:00", "2026-11-25 08:15:54.289 +0000 UTC", "2026/11/25 08:15:54", "25.11.2026", "11/25/2026", "25/11/2026 08:15", "Tue, 09 Aug 2022 16:51:20 +0000",
	"2026-11-25_08-15-54", "on%202026-11-25", "backup_2026-11-25_08.tar", "2026-11-25+00:00", "2026-11-25 11200", "11200 2026-11-25", "2026-11-25 - 2026-11-26", "08:15:54", "08:15:54.289123", "192.168.100.100", "10.12.13.114:8080", "from 192.168.100.100 to 10.12.13.114", "dial tcp 203.0.113.200:443: connection refused",
	"SM01234567890123456789012345678901", "AC0123456789abcdef0123456789abcdef", "/Accounts/AC01234567890123456789012345678901/Messages/SM01234567890123456789012345678901.json",
	"from_SM01234567890123456789012345678901_to", "NO01234567890123456789012345678901: 11200", "500 Internal Server Error", "502 Bad Gateway after 15000 ms",
	"Error on line 11 of document", "line 11, column 200 of 4096", "100% busy", "50% off", "1st, 10th and 100th", "HTTP/1.1 503", "v1.31.0", "port 8080", "12 of 345", "1,234,567 errors",
	"The concatenated message body exceeds the 1600 character limit", "US A2P 10DLC - 50% T-Mobile", "3.14159", "サーバーに接続できません", "Größe über 4096",
}

func TestNumbersAreHidden(t *testing.T) {
	t.Parallel()
	for _, spelling := range spellings {
		got := HideNumbers("to " + spelling + " failed")
		if !strings.Contains(got, "(number)") || !strings.HasPrefix(got, "to ") || !strings.HasSuffix(got, " failed") || !fewDigits(withoutReadable(got)) {
			t.Errorf("%q became %q", spelling, got)
		}
		e := Event{Kind: Debugger, Level: Error, Description: cleanDescription(spelling)}
		if text := DefaultText().Render(e, Decision{}).Now; !strings.Contains(text, "(number)") {
			t.Errorf("%q is texted as %q", spelling, text)
		}
	}
}

// withoutReadable returns a text without what stays readable in it.
func withoutReadable(s string) string {
	for _, part := range []string{"2026-11-25", "%20", "10.12.13.114", "08:15:54.289", "08:15:54", "T", "11200"} {
		s = strings.ReplaceAll(s, part, "")
	}
	return s
}

func TestHarmlessDigitsStay(t *testing.T) {
	t.Parallel()
	for _, s := range harmless {
		if got := HideNumbers(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestNumbersAreHiddenAsAWhole(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"to +1 (555) 123-4567 failed":                   "to (number) failed",
		"to (555) 123-4567, and on":                     "to (number), and on",
		"call(15551234567)":                             "call(number)",
		"from_15551234567_to":                           "from_(number)_to",
		"%252B15551234567":                              "(number)",
		"tel15551234567":                                "tel(number)",
		"2026-11-25 5551234567":                         "2026-11-25 (number)",
		"5551234567 2026-11-25 08:15":                   "(number) 2026-11-25 08:15",
		"15551234567 and 15557654321":                   "(number) and (number)",
		"SM01234567890123456789012345678901 5551234567": "SM01234567890123456789012345678901 (number)",
		"＋１５５５１２３４５６７":                                  "(number)",
	} {
		if got := HideNumbers(s); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}

func FuzzHideNumbers(f *testing.F) {
	for _, s := range append(spellings, harmless...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := HideNumbers(s)
		if again := HideNumbers(got); again != got {
			t.Errorf("%q became %q, and then %q", s, got, again)
		}
		// A number that stands alone is hidden, whatever is around it.
		if got := HideNumbers(s + "|15551234567|" + s); strings.Contains(got, "|15551234567|") {
			t.Errorf("beside %q a number is not hidden: %q", s, got)
		}
		if escaped := HideNumbers(url.QueryEscape("+1 555 123 4567")); escaped != "(number)" {
			t.Errorf("encoded: %q", escaped)
		}
	})
}

func BenchmarkHideNumbers(b *testing.B) {
	for name, s := range map[string]string{
		"no digits": "Your TwiML tried to Dial a Twilio SIP Registered User that is not currently registered",
		"a code":    "HTTP retrieval failure 11200: status 502 from app.example.com at 2026-11-25 08:15",
		"a number":  "The message from +15551234567 to +15557654321 could not be delivered, see SM01234567890123456789012345678901",
		"Japanese":  "サーバーに接続できません。サーバーに接続できません。サーバーに接続できません。サーバーに接続できません。",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				HideNumbers(s)
			}
		})
	}
}
