package alert

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The GSM 03.38 alphabet. A character of gsmBasic takes one septet, one of
// gsmExtension two. Backtick, tab and the lower-case ç are in neither.
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡" +
		"ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtension = "\f^{}\\[~]|€"
)

// lookAlikes lists, behind a GSM-7 text, the characters that it stands for.
var lookAlikes = [][2]string{
	{"'", "‘’‚‛′´`ʼʹ"}, {`"`, "“”„‟″«»〝〞"}, {"<", "‹〈"}, {">", "›〉"},
	{"-", "‐‑‒–—―−﹘﹣－"}, {"...", "…"}, {"*", "•·∙●"}, {"/", "⁄∕"}, {":", "：︰"}, {"!", "！"}, {"?", "？"},
	{"->", "→"}, {"<-", "←"}, {"<=", "≤"}, {">=", "≥"}, {"x", "×"}, {"(c)", "©"}, {"(r)", "®"}, {"TM", "™"},
	{"1/2", "½"}, {"1/4", "¼"}, {"3/4", "¾"}, {"2", "²"}, {"3", "³"}, {"1", "¹"}, {"u", "µ"}, {"o", "°"},
	{"A", "ÀÁÂÃĀĂĄ"}, {"a", "áâãāăąª"}, {"C", "ĆĈĊČ"}, {"c", "çćĉċč"}, {"D", "ĎĐÐ"}, {"d", "ďđð"},
	{"E", "ÈÊËĒĔĖĘĚ"}, {"e", "êëēĕėęě"}, {"G", "ĜĞĠĢ"}, {"g", "ĝğġģ"}, {"H", "ĤĦ"}, {"h", "ĥħ"},
	{"I", "ÌÍÎÏĨĪĬĮİ"}, {"i", "íîïĩīĭįı"}, {"J", "Ĵ"}, {"j", "ĵ"}, {"K", "Ķ"}, {"k", "ķ"},
	{"L", "ĹĻĽŁ"}, {"l", "ĺļľł"}, {"N", "ŃŅŇ"}, {"n", "ńņň"}, {"O", "ÒÓÔÕŌŎŐ"}, {"o", "óôõōŏőº"},
	{"OE", "Œ"}, {"oe", "œ"}, {"R", "ŔŖŘ"}, {"r", "ŕŗř"}, {"S", "ŚŜŞŠȘ"}, {"s", "śŝşšș"},
	{"T", "ŢŤŦȚ"}, {"t", "ţťŧț"}, {"U", "ÙÚÛŨŪŬŮŰŲ"}, {"u", "úûũūŭůűų"}, {"W", "Ŵ"}, {"w", "ŵ"},
	{"Y", "ÝŶŸ"}, {"y", "ýÿŷ"}, {"Z", "ŹŻŽ"}, {"z", "źżž"},
}

// septets returns what r costs in GSM-7, 0 if it is not in the alphabet.
func septets(r rune) int {
	switch {
	case r < utf8.RuneSelf && plain(byte(r)) || strings.ContainsRune(gsmBasic, r):
		return 1
	case strings.ContainsRune(gsmExtension, r):
		return 2
	}
	return 0
}

// foldRune returns the GSM-7 text that stands for r, "" if there is none.
func foldRune(r rune) string {
	if septets(r) > 0 {
		return string(r)
	}
	for _, pair := range lookAlikes {
		if strings.ContainsRune(pair[1], r) {
			return pair[0]
		}
	}
	return ""
}

// fold replaces what is not in GSM-7 by its look-alike, or by "?". Marks and
// joiners that only dress up another character go.
func fold(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch folded := foldRune(r); {
		case folded != "":
			b.WriteString(folded)
		case !dressing(r):
			b.WriteByte('?')
		}
	}
	return b.String()
}

// isPlain reports whether s is of ASCII characters of one septet only, as most
// texts are.
func isPlain(s string) bool {
	for _, c := range []byte(s) {
		if !plain(c) {
			return false
		}
	}
	return true
}

func plain(c byte) bool {
	return ' ' <= c && c <= 'z' && c != '`' && (c < '[' || c > '^')
}

// dressing reports whether r belongs to the character before or after it:
// accents, variation selectors, skin tones and joiners.
func dressing(r rune) bool {
	return r == '\u200c' || r == '\u200d' || unicode.Is(unicode.M, r) || r >= 0x1f3fb && r <= 0x1f3ff
}

// foreign reports whether s is better sent as it is, in UCS-2, than folded to
// question marks: when at least half of its characters would become one.
func foreign(s string) bool {
	lost, all := 0, 0
	for _, r := range s {
		if r == ' ' || dressing(r) {
			continue
		}
		all++
		if foldRune(r) == "" {
			lost++
		}
	}
	return lost > 0 && 2*lost >= all
}

// encoding is one of the two ways to send an SMS.
type encoding struct {
	limit int                   // of the text, in units
	cost  func(r rune) int      // units of a character
	fold  func(s string) string // brings a text into the encoding
}

// TrialPrefix is what Twilio puts before the text of each SMS of a trial
// account: 38 septets. Source: https://www.twilio.com/docs/usage/tutorials/how-to-use-your-free-trial-account.
const TrialPrefix = "Sent from your Twilio trial account - "

// Limits: https://www.twilio.com/docs/glossary/what-sms-character-limit.
const (
	oneSegment = 160    // septets of GSM-7 in an SMS of one segment
	longText   = 320    // septets that Twilio recommends as the most
	twoUCS2    = 2 * 67 // UTF-16 units in two segments
)

func gsm7(limit int) encoding { return encoding{limit, septets, fold} }

func ucs2() encoding {
	return encoding{twoUCS2, utf16.RuneLen, func(s string) string { return s }}
}

func (e encoding) size(s string) (n int) {
	for _, r := range s {
		n += e.cost(r)
	}
	return n
}

// cut shortens s to limit units, at the end of a whole character and with
// "..." behind it, or to nothing where not even that fits.
func (e encoding) cut(s string, limit int) string {
	if e.size(s) <= limit {
		return s
	}
	const dots = "..."
	end, used := 0, len(dots)
	for i, r := range s {
		if !dressing(r) && !strings.HasSuffix(s[:i], "\u200d") {
			end = i // a character starts here: what is before it is whole
		}
		if used += e.cost(r); used > limit {
			break
		}
	}
	head := strings.TrimRight(s[:end], " ")
	if head == "" {
		return ""
	}
	return head + dots
}
