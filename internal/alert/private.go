package alert

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// minNumber is how many digits a phone number has at least.
const minNumber = 7

// HideNumbers returns s with "(number)" for every run of digits that could be a
// phone number: 7 or more, with the usual separators between them, encoded or
// in other scripts too. SIDs, dates, times, IP addresses and Twilio's error
// codes stay. Use it for strangers' words, and for errors,
// that go into an SMS, a log or the database.
func HideNumbers(s string) string {
	if fewDigits(s) {
		return s
	}
	var b strings.Builder
	done := 0 // up to here s is in b
	for i := 0; i < len(s); {
		if n := sidLength(s, i); n > 0 {
			i += n
			continue
		}
		end, digits := numberRun(s[i:])
		switch {
		case end == 0:
			_, size := utf8.DecodeRuneInString(s[i:])
			i += size
			continue
		case digits >= minNumber:
			b.WriteString(s[done:i])
			hideRun(&b, s[i:i+end], minutesBefore.MatchString(s[max(i-4, 0):i]))
			done = i + end
		}
		i += end
	}
	return b.String() + s[done:]
}

// fewDigits reports whether s has too few digits for a number: a look that is
// cheaper than a search.
func fewDigits(s string) bool {
	n := 0
	for _, r := range s {
		if r < utf8.RuneSelf && isDigit(byte(r)) || r >= utf8.RuneSelf && unicode.IsNumber(r) {
			n++
		}
	}
	return n < minNumber
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// sidLength returns the length of the SID that begins at i, 0 if there is none:
// two letters and 32 hexadecimal digits that stand alone.
func sidLength(s string, i int) int {
	const length = 34
	if len(s) < i+length || i > 0 && isWord(s[i-1]) || len(s) > i+length && isWord(s[i+length]) {
		return 0
	}
	for n, c := range []byte(s[i : i+length]) {
		c |= 0x20 // lower case
		hex := isDigit(s[i+n]) || 'a' <= c && c <= 'f'
		if letter := 'a' <= c && c <= 'z'; n < 2 && !letter || n >= 2 && !hex {
			return 0
		}
	}
	return length
}

// isWord reports whether c is a letter or digit of ASCII.
func isWord(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

// kind is what a piece of text can be in a number.
type kind int

const (
	other kind = iota
	digit
	separator
	opener // a separator that a number may begin with
)

// pieceOf returns the kind and the length of the first piece of s: a character,
// or one encoded for an address, even twice (%2B, %252B).
func pieceOf(s string) (kind, int) {
	c := s[0]
	if c < utf8.RuneSelf && c != '%' {
		return kindOf(rune(c)), 1
	}
	if c != '%' {
		r, size := utf8.DecodeRuneInString(s)
		return kindOf(r), size
	}
	size := 1
	for strings.HasPrefix(s[size:], "25") {
		size += 2
	}
	if len(s) < size+2 {
		return other, 1
	}
	n, err := strconv.ParseUint(s[size:size+2], 16, 8)
	switch {
	case err != nil:
		return other, 1
	case n >= utf8.RuneSelf: // a part of a character, such as a dash
		return separator, size + 2
	}
	return kindOf(rune(n)), size + 2
}

func kindOf(r rune) kind {
	switch {
	case r >= '0' && r <= '9', r > unicode.MaxASCII && unicode.In(r, unicode.Nd, unicode.No):
		return digit
	case strings.ContainsRune("+(＋（", r):
		return opener
	case strings.ContainsRune(" ).-/_\t\r\n\u00a0·•‧∙．／）＿～~−", r),
		r > unicode.MaxASCII && unicode.In(r, unicode.Pd, unicode.Zs, unicode.Cf, unicode.M):
		return separator
	}
	return other
}

// numberRun returns the length of the run of digits and separators at the start
// of s, 0 if there is none, and how many digits it has.
func numberRun(s string) (end, digits int) {
	const most = 4 // separators in a row
	for i, gap, open := 0, 0, 0; i < len(s); {
		k, size := pieceOf(s[i:])
		switch {
		case k == digit:
			digits, gap = digits+1, 0
		case k == other, digits == 0 && k != opener:
			return end, digits
		default:
			if gap++; gap > most {
				return end, digits
			}
		}
		switch s[i] {
		case '(':
			open++
		case ')':
			open--
		}
		// A number ends with a digit, or with the parenthesis that it opened.
		if k == digit || digits > 0 && s[i] == ')' && open >= 0 && gap == 1 {
			end = i + size
		}
		i += size
	}
	return end, digits
}

// readable matches dates and IP addresses, which can have as many digits as a
// number.
var readable = regexp.MustCompile(`(?:19|20)\d\d[-./](?:1[0-2]|0?[1-9])[-./](?:3[01]|[12]\d|0?[1-9])|` +
	`(?:3[01]|[12]\d|0?[1-9])[-./](?:3[01]|[12]\d|0?[1-9])[-./](?:19|20)\d\d|` +
	`(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)[.]){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`)

// minutesBefore and seconds match what stands before the seconds of a time of
// day, and these with a fraction.
var (
	minutesBefore = regexp.MustCompile(`(?:^|[^0-9])[0-5]\d:$`)
	seconds       = regexp.MustCompile(`^[0-5]\d[.]\d+`)
)

// hideRun writes a run of digits and separators, with "(number)" for each part
// that may be a number.
func hideRun(b *strings.Builder, run string, timeOfDay bool) {
	if timeOfDay {
		fraction := seconds.FindString(run)
		b.WriteString(fraction)
		run = run[len(fraction):]
	}
	for run != "" {
		at := readable.FindStringIndex(run)
		if at == nil || !standsAlone(run, at[0], at[1]) {
			at = []int{len(run), len(run)}
		}
		part := run[:at[0]]
		for part != "" {
			k, size := pieceOf(part)
			if k != separator {
				break
			}
			b.WriteString(part[:size])
			part = part[size:]
		}
		if end, digits := numberRun(part); digits >= minNumber && !allCodes(part) {
			b.WriteString("(number)")
			part = part[end:]
		}
		b.WriteString(part)
		b.WriteString(run[at[0]:at[1]])
		run = run[at[1]:]
	}
}

// standsAlone reports whether s[start:end] is not a part of something longer: of
// more digits, or with the same separator, as 1.2.3.4 is in 1.2.3.4.5.
func standsAlone(s string, start, end int) bool {
	mark := s[start+strings.IndexAny(s[start:end], "-./")]
	longer := func(c byte) bool { return isDigit(c) || c == mark || c == '+' }
	return (start == 0 || !longer(s[start-1])) && (end == len(s) || s[end] == '+' || !longer(s[end]))
}

// allCodes reports whether s consists of Twilio's error codes, perhaps with an
// HTTP status.
func allCodes(s string) bool {
	codes := 0
	for _, group := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		switch {
		case len(group) >= 5 && codeName(group) != "":
			codes++
		case len(group) != 3 || group[0] < '1' || group[0] > '5':
			return false
		}
	}
	return codes > 0
}
