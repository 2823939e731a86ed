package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// Alert is an event that makes a phone ring, and the decision that it does.
type Alert struct {
	Event    Event
	Decision Decision
	// Late is set when the event is no news: the text says when it happened.
	Late bool
}

// Text is how an alert reads: words with {placeholders}.
type Text struct {
	pieces []piece
	limit  int  // septets of GSM-7
	ucs2   bool // its own words have no GSM-7 form
	custom bool // the user's, not the recipe's
}

// piece is words that stay as they are, or else a placeholder.
type piece struct{ words, placeholder string }

// placeholders are the names that ALERT_TEXT may use.
var placeholders = []string{"code", "name", "description", "count", "account", "time", "link"}

// minutes is how a time reads in an SMS.
const minutes = "2006-01-02 15:04 UTC"

// DefaultText is the recipe's text, in one segment.
func DefaultText() Text {
	return Text{pieces: split("{level} on your Twilio app occurred! {code} {description} {count} {link}"), limit: oneSegment}
}

// ParseText reads ALERT_TEXT: plain words with {code} {name} {description}
// {count} {account} {time} {link}, in up to 320 septets. A blank string is
// the default text, and a text without {link} gets it at its end. It refuses
// unknown names, and words that leave no room.
func ParseText(s string) (Text, error) {
	if strings.TrimSpace(s) == "" {
		return DefaultText(), nil
	}
	text := Text{pieces: split(clean(s, 1000)), limit: longText, custom: true}
	if !slices.Contains(text.pieces, piece{placeholder: "link"}) {
		text.pieces = append(text.pieces, piece{words: " "}, piece{placeholder: "link"})
	}
	for _, p := range text.pieces {
		if p.placeholder != "" && !slices.Contains(placeholders, p.placeholder) {
			return Text{}, fmt.Errorf("unknown {%s}: use {%s}", p.placeholder, strings.Join(placeholders, "} {"))
		}
		text.ucs2 = text.ucs2 || strings.ContainsFunc(p.words, func(r rune) bool { return foldRune(r) == "" })
	}
	longest := map[string]string{
		"code":    "123456",
		"count":   "1000000000th of all of the month, " + minutes,
		"account": strings.Repeat("A", 34),
		"time":    minutes,
		"link":    IndexLink + "/123456",
	}
	enc := gsm7(text.limit)
	if text.ucs2 {
		enc = ucs2()
	}
	if over := enc.size(text.fill(longest, enc)) - enc.limit; over > 0 {
		return Text{}, fmt.Errorf("too long by %d characters, beside the description: shorten its words", over)
	}
	return text, nil
}

// split splits s into words and placeholders. A brace without its fellow is a
// word.
func split(s string) []piece {
	var pieces []piece
	for s != "" {
		before, rest, opened := strings.Cut(s, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !opened || !closed {
			return append(pieces, piece{words: s})
		}
		if before != "" {
			pieces = append(pieces, piece{words: before})
		}
		pieces = append(pieces, piece{placeholder: cmp.Or(name, " ")})
		s = after
	}
	return pieces
}

// Render writes the SMS: GSM-7 within the limit (160 septets, or 320 for a
// text of the user's own), or at most two segments of UCS-2 where GSM-7 has no
// letters for it. Only the description, and then the name, are ever cut; the
// link is always whole.
func (t Text) Render(a Alert) string {
	values := t.values(a)
	if t.ucs2 || foreign(values["description"]) {
		if s, ok := t.fit(maps.Clone(values), ucs2()); ok {
			return s
		}
	}
	s, _ := t.fit(values, gsm7(t.limit))
	return s
}

func (t Text) values(a Alert) map[string]string {
	values := map[string]string{
		"code":        a.Event.Code,
		"name":        a.Event.Name(),
		"description": a.Event.Summary(),
		"count":       a.occurrence(),
		"account":     a.Event.Account,
		"link":        a.Event.Link(),
		"level":       map[Level]string{Error: "An error", Warning: "A warning", Info: "A notice"}[a.Event.Level],
	}
	if !a.Event.Time.IsZero() {
		values["time"] = a.Event.Time.UTC().Format(minutes)
	}
	if count := values["count"]; count != "" && !t.custom {
		values["count"] = "(" + count + ")"
	}
	return values
}

// fit fills the text within the limit of enc, and reports whether it could.
func (t Text) fit(values map[string]string, enc encoding) (string, bool) {
	for _, name := range []string{"description", "name"} {
		value := enc.fold(values[name])
		size := enc.size(value)
		fits := func(over int) bool {
			values[name] = enc.cut(value, size-over)
			return enc.size(t.fill(values, enc)) <= enc.limit
		}
		if fits(0) {
			return t.fill(values, enc), true
		}
		fits(sort.Search(size, fits))
	}
	s := t.fill(values, enc)
	return s, enc.size(s) <= enc.limit
}

// fill writes the text with values. An empty value takes its space along.
func (t Text) fill(values map[string]string, enc encoding) string {
	var b strings.Builder
	for _, p := range t.pieces {
		b.WriteString(p.words)
		b.WriteString(values[p.placeholder])
	}
	return strings.Join(strings.Fields(enc.fold(b.String())), " ")
}

// occurrence says how often it happened and, when it is no news, at what time.
func (a Alert) occurrence() string {
	e, d := a.Event, a.Decision
	if e.Kind == Alarm {
		var parts []string
		if e.Count > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", e.Count, twilioPeriod(e.Period)))
		}
		if a.Late && !e.Time.IsZero() {
			parts = append(parts, e.Time.UTC().Format(minutes))
		}
		return strings.Join(parts, ", ")
	}
	s := Ordinal(d.Count)
	if d.Together {
		s += " of all"
	}
	if a.Late {
		return fmt.Sprintf("%s of the %s, %s", s, d.Period.unit(), e.Time.UTC().Format(minutes))
	}
	return s + " " + d.Period.current()
}

// twilioPeriod puts Twilio's names of periods into words: those of App
// Monitor triggers, which turn over in UTC, and those of Alarms, which slide.
func twilioPeriod(period string) string {
	for p, words := range map[string]string{
		"daily": Daily.current(), "monthly": Monthly.current(), "yearly": Yearly.current(),
		"FIVE_MINS": "in 5 minutes", "FIFTEEN_MINS": "in 15 minutes", "ONE_HOUR": "in an hour",
		"TWELVE_HOURS": "in 12 hours", "ONE_DAY": "in a day",
	} {
		if strings.EqualFold(p, period) {
			return words
		}
	}
	return "so far"
}

// CodeCount is how many alerts of a code were held back.
type CodeCount struct {
	Code  string
	Count int64
}

// HeldText writes the SMS that tells of alerts held back since a time: how
// many, and the most frequent codes.
func HeldText(counts []CodeCount, since time.Time) string {
	counts = slices.Clone(counts)
	slices.SortFunc(counts, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
	var all, named int64
	for _, c := range counts {
		all += c.Count
	}
	top := counts
	if len(top) > 3 {
		top = top[:2]
	}
	var parts []string
	for _, c := range top {
		if c.Code != "" {
			parts = append(parts, fmt.Sprintf("%s x%d", c.Code, c.Count))
			named += c.Count
		}
	}
	list := ""
	if len(parts) > 0 {
		switch others := all - named; {
		case others == 1:
			parts = append(parts, "and 1 other")
		case others > 1:
			parts = append(parts, fmt.Sprintf("and %d others", others))
		}
		list = ": " + strings.Join(parts, ", ")
	}
	noun := "alerts"
	if all == 1 {
		noun = "alert"
	}
	return fmt.Sprintf("%d %s held back since %s%s %s", all, noun, since.UTC().Format("15:04"), list, IndexLink)
}
