package alert

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The GSM 03.38 alphabet. A character of gsmBasic takes one septet, one of
// gsmExtension two. Backtick, tab and the lower-case ç are in neither.
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡" +
		"ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtension = "\f^{}\\[~]|€"
)

// lookAlikesTable has lines with a GSM-7 text and the characters it stands for,
// which Unicode does not decompose into such characters. Capital letters are not
// listed: foldRune finds them by their lower case.
//
//go:embed look-alikes.tsv
var lookAlikesTable string

// lookAlikes returns the text under each of its characters.
var lookAlikes = sync.OnceValue(func() map[rune]string {
	texts := make(map[rune]string)
	for line := range strings.Lines(lookAlikesTable) {
		text, characters, _ := strings.Cut(strings.TrimSpace(line), "\t")
		for _, r := range characters {
			texts[r] = text
		}
	}
	return texts
})

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

// foldRune returns the GSM-7 text that stands for r, "" if there is none. Every
// letter that Unicode makes of Latin ones has one: with accents, in ligatures,
// in full width.
func foldRune(r rune) string {
	if septets(r) > 0 {
		return string(r)
	}
	if s, ok := lookAlikes()[r]; ok {
		return s
	}
	if s, ok := lookAlikes()[unicode.ToLower(r)]; ok {
		return strings.ToUpper(s)
	}
	var folded strings.Builder
	for _, part := range string(norm.NFKD.PropertiesString(string(r)).Decomposition()) {
		s := foldRune(part)
		if s == "" && !dressing(part) {
			return ""
		}
		folded.WriteString(s)
	}
	return folded.String()
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

// dressing reports whether r is part of the character before or after it:
// an accent, a variation selector, a skin tone or a joiner.
func dressing(r rune) bool {
	return r == '\u200c' || r == '\u200d' || unicode.Is(unicode.M, r) || r >= 0x1f3fb && r <= 0x1f3ff
}

// foreign reports whether s is better sent in UCS-2 than folded: at least half
// of its characters would become question marks.
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

// FitTrial cuts the text of an SMS so that it fits in one segment behind
// TrialPrefix. The link at its end stays whole.
func FitTrial(body string) string {
	enc := gsm7(oneSegment - len(TrialPrefix))
	head, link := body, ""
	if at := strings.LastIndex(body, " https://"); at >= 0 {
		head, link = body[:at], body[at:]
	}
	return enc.cut(fold(head), enc.limit-enc.size(link)) + link
}

// Limits: https://www.twilio.com/docs/glossary/what-sms-character-limit.
const (
	oneSegment = 160    // septets of GSM-7 in an SMS of one segment
	longText   = 320    // septets: Twilio recommends no more
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
