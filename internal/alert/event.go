// Package alert knows what Twilio said and whether a phone should ring: the
// events Twilio reports and the parsers of their three shapes, the triggers
// that decide, and the text of an SMS.
//
// It is arithmetic: no I/O, no clock, no SQL, and besides the standard library
// only golang.org/x/text, so that every rule can be read and tested by itself.
package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Kind is the way in which Twilio reported an event.
type Kind string

// The kinds of events. Twilio has already counted an Alarm; it reports every
// single error through the others.
const (
	Alarm    Kind = "alarm"    // App Monitor trigger (2014) or Alarm (today)
	Debugger Kind = "debugger" // Debugger webhook
	Stream   Kind = "stream"   // Event Streams, of the type ErrorLogged
	ErrorLog Kind = "log"      // Twilio's error log, read by the catch-up reader
	Other    Kind = "other"    // any other event of Event Streams, such as a sink's test event: no error
)

// ErrorLogged is the type of the events of Event Streams that tell of errors.
// Source: https://www.twilio.com/docs/events/event-types/errors/error-logs.
const ErrorLogged = "com.twilio.error-logs.error.logged"

// TestEvent is the description of the test event that Twilio sends to a sink of
// Event Streams, or check and connect to the server: an event of kind Other.
const TestEvent = "com.twilio.eventstreams.test-event"

// Level is the severity that Twilio gives an event.
type Level string

// The levels. A level that is unknown counts as an error.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Info    Level = "info"
)

// Event is one error, warning or notice that Twilio reported. The parsers
// make it safe to store, log and text: see the fields.
type Event struct {
	// ID identifies the error: its NO… SID, or the token and date of an alarm's
	// firing. An ID seen before is a redelivery, or the same error reported in
	// another way; events without one are always news. At most 100 bytes.
	ID string
	// Kind is the way the event came.
	Kind Kind
	// Account is the SID of the account in which it happened, or empty.
	Account string
	// Code is Twilio's error code, 3 to 6 digits, or empty.
	Code string
	// Level is its severity.
	Level Level
	// Description says in Twilio's words what happened: one line without
	// control characters or phone numbers, addresses without scheme and query,
	// at most 500 characters.
	Description string
	// Resource is the SID of what the error is about (SM…, CA…), or empty.
	Resource string
	// Time is when it happened, zero when Twilio did not say.
	Time time.Time
	// Count is how often it happened in Period, where Twilio counted.
	Count int64
	// Period is Twilio's name of the period of Count, such as ONE_DAY.
	Period string
}

// IndexLink is Twilio's page of all error codes.
const IndexLink = "https://www.twilio.com/docs/api/errors"

// CodeLink returns the address of the page at Twilio that explains an error code,
// or of the index of all codes where there is none.
func CodeLink(code string) string {
	if code == "" {
		return IndexLink
	}
	return IndexLink + "/" + code
}

// Link returns CodeLink of the event's code.
func (e Event) Link() string { return CodeLink(e.Code) }

// Name returns CodeName of the event's code.
func (e Event) Name() string { return CodeName(e.Code) }

// consoleLink is Twilio's page of an event, less its SID.
const consoleLink = "https://www.twilio.com/console/debugger/"

// ConsoleLink returns the address of the event in Twilio's Console, or "" when
// Twilio's SID of it is not known.
func (e Event) ConsoleLink() string {
	if len(e.ID) != 34 || !strings.HasPrefix(e.ID, "NO") || parseSID(e.ID) == "" {
		return ""
	}
	return consoleLink + e.ID
}

// Summary says what happened: Twilio's description, or the name of the code.
// The description of an alarm that watches everything ("Any Warning or
// Error") does not say which error it was, so Summary adds the name of the code.
func (e Event) Summary() string {
	name := e.Name()
	if e.Kind == Alarm && e.Description != "" && name != "" && e.CountsEverything() {
		return e.Description + ": " + name
	}
	return cmp.Or(e.Description, name)
}

// ParseCode returns s if it can be an error code, and "" otherwise. Twilio's
// codes have 3 to 6 digits; nothing else may become part of a link.
func ParseCode(s string) string {
	if len(s) < 3 || len(s) > 6 || leadingDigits(s) != s {
		return ""
	}
	return s
}

// leadingDigits returns the ASCII digits at the start of s. Twilio writes
// "32009,text" and "11203 text" where it means a code.
func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// parseLevel understands Twilio's names of levels in any case, the numbers of
// 2014 (0 error, 1 warning), and the log's notice and debug. Anything else is
// an error: better one alert too many.
func parseLevel(s string) Level {
	switch strings.ToLower(s) {
	case "warning", "warn", "1":
		return Warning
	case "info", "notice", "debug":
		return Info
	}
	return Error
}

// timeLayouts are the forms in which Twilio writes a date. The last is the
// month as a number that Twilio's page of 2025 prints.
var timeLayouts = []string{time.RFC3339Nano, time.RFC1123Z, time.RFC1123, "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 02 01 2006 15:04:05 -0700"}

// parseTime returns the time that s names, in UTC, or zero.
func parseTime(s string) time.Time {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 2000 && t.Year() < 3000 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// parseSID returns s if it looks like one of Twilio's SIDs, and "" otherwise:
// two letters, then letters and digits, 34 in all at most.
func parseSID(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if len(s) < 3 || len(s) > 34 || strings.TrimLeft(s[:2], letters) != "" || strings.TrimLeft(s, letters+"0123456789") != "" {
		return ""
	}
	return s
}

// identity makes an ID of parts. Long or odd ones are hashed, so that different
// parts keep different IDs within the length and the letters of an ID.
func identity(parts ...string) string {
	id := strings.Join(parts, " ")
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(id) <= 100 && strings.IndexFunc(id, odd) < 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256 " + hex.EncodeToString(sum[:16])
}

const maxDescription = 500 // characters

var (
	// queries matches the query of an address, which may hold a message.
	queries = regexp.MustCompile(`(://[^\s?]*)\?\S*`)
	schemes = regexp.MustCompile(`https?://|HTTPS?://`)
	// oddSchemes matches look-alikes of "://", such as "：／／" in full width.
	oddSchemes = regexp.MustCompile(`[:：︰﹕︓∶ː][\p{M}\x{200c}\x{200d}]*[/／⁄∕⧸╱][\p{M}\x{200c}\x{200d}]*[/／⁄∕⧸╱]`)
)

// cleanDescription makes a stranger's words safe for an SMS, a log and a
// database: one line, no phone numbers, no query of an address, and no scheme,
// which would make a second link beside Twilio's.
func cleanDescription(s string) string {
	s = clean(s, maxDescription)
	if isPlain(s) {
		return HideNumbers(withoutLinks(s))
	}
	s = HideNumbers(withoutLinks(oddSchemes.ReplaceAllString(s, "://")))
	// What GSM-7 makes of it is what a phone may show.
	folded := fold(s)
	if safe := HideNumbers(withoutLinks(folded)); safe != folded {
		return clean(safe, maxDescription)
	}
	return s
}

// withoutLinks takes schemes and queries from the addresses in s.
func withoutLinks(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = queries.ReplaceAllString(s, "$1")
	for schemes.MatchString(s) { // again: hthttp://tp://
		s = schemes.ReplaceAllString(s, "")
	}
	return strings.ReplaceAll(s, "://", " ")
}

// clean returns s as one line of valid UTF-8 with at most limit characters:
// control characters and line breaks become spaces, runs of spaces one space,
// and invisible characters (which can turn a text around) go. The joiners that
// scripts and emoji need stay. Characters are composed (NFC), which takes less
// space in an SMS.
func clean(s string, limit int) string {
	s = s[:min(len(s), 4*limit)] // a character has at most four bytes
	if !isPlain(s) {
		s = norm.NFC.String(strings.Map(visible, norm.NFC.String(s)))
	}
	s = strings.Join(strings.Fields(s), " ")
	n := 0
	for i := range s {
		if n++; n > limit {
			return strings.TrimRight(s[:i], " ")
		}
	}
	return s
}

// visible returns what clean makes of a character, -1 for nothing.
func visible(r rune) rune {
	switch {
	case unicode.IsControl(r):
		return ' '
	case r == utf8.RuneError:
		return '?'
	case r > unicode.MaxASCII && unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d':
		return -1
	}
	return r
}
