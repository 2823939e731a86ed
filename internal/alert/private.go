package alert

import (
	"regexp"
	"strings"
	"unicode"
)

// minNumber is how many digits a phone number has at least.
const minNumber = 7

// HideNumbers returns s with "(number)" for every run of digits that could be a
// phone number: 7 or more, with the usual separators between them, encoded or
// in other scripts too. SIDs, dates, times, IP addresses and Twilio's error
// codes stay. Use it for strangers' words, and for errors, that go into an SMS, a
// log or the database.
func HideNumbers(s string) string {
	if fewDigits(s) {
		return s
	}
	return pieces.ReplaceAllStringFunc(s, hidePiece)
}

// fewDigits reports whether s has too few digits for a number: a look that is
// cheaper than a search.
func fewDigits(s string) bool {
	n := 0
	for _, r := range s {
		if '0' <= r && r <= '9' || r > unicode.MaxASCII && unicode.IsNumber(r) {
			n++
		}
	}
	return n < minNumber
}

// What a number is made of. An address has each of it encoded, even twice
// (%2B, %252B), and every byte of a character such as a dash on its own.
const (
	percent   = `%(?:25)*`
	digit     = `(?:[\p{Nd}\p{No}]|` + percent + `3[0-9])`
	separator = `(?:[-+() ./_~\t\r\n·•‧∙．／（）＋＿～−\p{Pd}\p{Zs}\p{Cf}\p{M}]|` +
		percent + `(?:0[9AaDd]|2[089BbDdEeFf]|5[Ff]|7[Ee]|[89A-Fa-f][0-9A-Fa-f]))`
	opener = `(?:[+(＋（]|` + percent + `2[8Bb])` // a separator that a number may begin with
	run    = opener + `{0,4}` + digit + `(?:` + separator + `{0,4}` + digit + `)*\)?`
)

// What has as many digits but is not a phone number: a SID that stands alone, and the
// end of a time of day with a fraction.
const readable = `(?:\b|_)[A-Za-z]{2}[0-9A-Fa-f]{32}(?:\b|_)|[0-5]\d:[0-5]\d[.]\d{1,9}(?:\b|Z)`

// countryCode matches the beginning of a number with a country code: nothing behind
// it is a date, an IP address or an error code.
var countryCode = regexp.MustCompile(`[+＋]|` + percent + `2[Bb]|\b00[1-9]`)

// pieces matches the parts of a text that have digits. The digits of %20 begin
// no number.
var (
	pieces        = regexp.MustCompile(readable + `|` + run + `|` + percent + `20`)
	readablePiece = regexp.MustCompile(`^(?:` + readable + `)$`)
)

// hidePiece hides the numbers in a match of pieces. Dates and IP addresses can
// be a part of a run.
func hidePiece(piece string) string {
	if fewDigits(piece) || readablePiece.MatchString(piece) {
		return piece
	}
	var b strings.Builder
	done := 0 // up to here piece is in b
	for _, at := range dates.FindAllStringIndex(piece, -1) {
		if start, end := at[0], at[1]; standsAlone(piece, start, end) && !countryCode.MatchString(piece[done:start]) {
			b.WriteString(pieces.ReplaceAllStringFunc(piece[done:start], hideNumber))
			b.WriteString(piece[start:end])
			done = end
		}
	}
	return b.String() + pieces.ReplaceAllStringFunc(piece[done:], hideNumber)
}

// dates matches dates and IP addresses, which can have as many digits as a
// number.
var dates = regexp.MustCompile(`(?:19|20)\d\d[-./](?:1[0-2]|0?[1-9])[-./](?:3[01]|[12]\d|0?[1-9])|` +
	`(?:3[01]|[12]\d|0?[1-9])[-./](?:3[01]|[12]\d|0?[1-9])[-./](?:19|20)\d\d|` +
	`(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)[.]){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`)

// standsAlone reports whether s[start:end] is not a part of something longer: of
// more digits, or with the same separator, as 1.2.3.4 is in 1.2.3.4.5. Behind a %
// its first digits may be an encoded character.
func standsAlone(s string, start, end int) bool {
	mark := s[start+strings.IndexAny(s[start:end], "-./")]
	longer := func(c byte) bool { return '0' <= c && c <= '9' || c == mark || c == '+' }
	return (start == 0 || s[start-1] != '%' && !longer(s[start-1])) && (end == len(s) || s[end] == '+' || !longer(s[end]))
}

// encodedOther matches an encoded character that is not a digit.
var encodedOther = regexp.MustCompile(percent + `(?:[0-24-9A-Fa-f][0-9A-Fa-f]|3[A-Fa-f])`)

// hideNumber returns "(number)" for a match of pieces, unless it has too few
// digits or is of error codes.
func hideNumber(piece string) string {
	if fewDigits(encodedOther.ReplaceAllString(piece, " ")) || allCodes(piece) && !countryCode.MatchString(piece) {
		return piece
	}
	if strings.HasSuffix(piece, ")") && strings.Count(piece, ")") > strings.Count(piece, "(") { // it closes what began before
		return "(number))"
	}
	return "(number)"
}

// allCodes reports whether s consists of Twilio's error codes, perhaps with an
// HTTP status.
func allCodes(s string) bool {
	codes := 0
	for _, group := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		switch {
		case len(group) >= 5 && CodeName(group) != "":
			codes++
		case len(group) != 3 || group[0] < '1' || group[0] > '5':
			return false
		}
	}
	return codes > 0
}
