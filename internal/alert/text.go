package alert

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// newsFor is how long after an event its SMS need not say when it was.
const newsFor = 10 * time.Minute

// Words are an SMS in two wordings: it may be sent long after it was written.
type Words struct {
	Now   string    // true until Until: "10th today"
	Later string    // true at any time: "10th of 2026-11-24, at 13:05 UTC"
	Until time.Time // when the first stops being true
}

// At returns the wording that is true at a time.
func (w Words) At(t time.Time) string {
	if t.Before(w.Until) {
		return w.Now
	}
	return w.Later
}

// Text is how an alert reads: words with {placeholders}.
type Text struct {
	template string
	limit    int  // septets of GSM-7
	ucs2     bool // its own words have no GSM-7 form
	trial    bool // Twilio puts TrialPrefix before it
}

// placeholder matches the name of a value in a template. A brace without its
// fellow is a word.
var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// placeholders are the names that ALERT_TEXT may use.
var placeholders = []string{"code", "name", "description", "count", "account", "time", "link", "event"}

// TimeLayout is how a time in UTC reads in an SMS.
const TimeLayout = "2006-01-02 15:04 UTC"

// DefaultText is the recipe's text, in one segment.
func DefaultText() Text {
	return Text{template: "{level} on your Twilio app occurred! {code} {description} ({count}) {link}", limit: oneSegment}
}

// ParseText reads ALERT_TEXT: plain words with {code} {name} {description}
// {count} {account} {time} {link} {event}, in up to 320 septets. A blank string is
// the default text, and a text without {link} gets it at its end. It refuses
// unknown names, and words that leave no room.
func ParseText(s string) (Text, error) {
	if strings.TrimSpace(s) == "" {
		return DefaultText(), nil
	}
	text := Text{template: clean(s, 1000), limit: longText}
	if !strings.Contains(text.template, "{link}") {
		text.template += " {link}"
	}
	for _, name := range placeholder.FindAllStringSubmatch(text.template, -1) {
		if !slices.Contains(placeholders, name[1]) {
			return Text{}, fmt.Errorf("unknown {%s}: use {%s}", name[1], strings.Join(placeholders, "} {"))
		}
	}
	text.ucs2 = strings.ContainsFunc(placeholder.ReplaceAllString(text.template, ""), func(r rune) bool { return foldRune(r) == "" })
	longest := map[string]string{
		"code":    "123456",
		"count":   "1000000000th of all of its hour, at " + TimeLayout,
		"account": strings.Repeat("A", 34),
		"time":    TimeLayout,
		"link":    IndexLink + "/123456",
		"event":   consoleLink + strings.Repeat("N", 34),
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

// ForTrial returns the text for a trial account: with TrialPrefix before it, each
// SMS fits in one segment of GSM-7, or Twilio would refuse it (30044). Prefix and
// link alone exceed a segment of UCS-2: words without GSM-7 letters give way, a
// description to the name of the code, and those of ALERT_TEXT to the default text.
func (t Text) ForTrial() Text {
	if t.ucs2 {
		t = DefaultText()
	}
	t.limit, t.trial = oneSegment-len(TrialPrefix), true
	return t
}

// Render writes the SMS of an event that alerts, whose time must be set: in
// GSM-7 within the limit (160 septets, or 320 for a text of the user's own), or
// in at most two segments of UCS-2 where GSM-7 has no letters for it. Only the
// description, and then the name, are ever cut; the link is always whole.
func (t Text) Render(e Event, d Decision) Words {
	until, counts := e.Time.Add(newsFor), d.Counts
	if period := Period(strings.ToLower(e.Period)); e.Kind == Alarm && period.current() != "" {
		counts = []Count{{Counter{Period: period, Start: e.Time}, e.Count}} // Twilio's own
	}
	for _, c := range counts {
		if end := c.Period.End(c.Start); end.Before(until) {
			until = end
		}
	}
	return Words{Now: t.write(e, d, false), Later: t.write(e, d, true), Until: until}
}

// write writes one wording. Of several counts it tells the first and the last,
// or only the first where both do not fit. The later one says when the event was,
// also where the text does not ask for it.
func (t Text) write(e Event, d Decision, later bool) string {
	counts := d.Counts
	if len(counts) > 1 {
		both := []Count{counts[0], counts[len(counts)-1]}
		if s, ok := t.encode(e, both, later); ok {
			return s
		}
		counts = counts[:1]
	}
	if later && !strings.Contains(t.template, "{count}") && !strings.Contains(t.template, "{time}") {
		dated := t
		dated.template = strings.Replace(t.template, "{link}", "({time}) {link}", 1)
		if s, ok := dated.encode(e, counts, later); ok {
			return s
		}
	}
	s, ok := t.encode(e, counts, later)
	if !ok && t.trial { // the shortest text that names the error
		t.template = "{level}: {code} {description} ({count}) {link}"
		s, _ = t.encode(e, counts, later)
	}
	return s
}

// encode fills the text, and reports whether it fits.
func (t Text) encode(e Event, counts []Count, later bool) (string, bool) {
	values := t.values(e, counts, later)
	if t.trial && foreign(values["description"]) {
		values["description"] = e.Name()
	} else if t.ucs2 || foreign(values["description"]) {
		if s, ok := t.fit(maps.Clone(values), ucs2()); ok {
			return s, true
		}
	}
	return t.fit(values, gsm7(t.limit))
}

func (t Text) values(e Event, counts []Count, later bool) map[string]string {
	values := map[string]string{
		"code":        e.Code,
		"name":        e.Name(),
		"description": e.Summary(),
		"count":       occurrence(e, counts, later),
		"account":     e.Account,
		"link":        e.Link(),
		"event":       e.ConsoleLink(),
		"level":       map[Level]string{Error: "An error", Warning: "A warning", Info: "A notice"}[e.Level],
	}
	if !e.Time.IsZero() {
		values["time"] = e.Time.UTC().Format(TimeLayout)
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

// emptied matches the mark of an empty value, and brackets or quotes around it.
var emptied = regexp.MustCompile(`[(\[<"'][\s\x00]*\x00[\s\x00]*[)\]>"']|\x00`)

// fill writes the text with values. An empty value takes its space along, and
// its brackets.
func (t Text) fill(values map[string]string, enc encoding) string {
	s := placeholder.ReplaceAllStringFunc(t.template, func(name string) string {
		return cmp.Or(values[name[1:len(name)-1]], "\x00")
	})
	return strings.Join(strings.Fields(enc.fold(emptied.ReplaceAllString(s, ""))), " ")
}

// occurrence says how often it happened and, later, when.
func occurrence(e Event, counts []Count, later bool) string {
	var parts []string
	if e.Kind == Alarm && e.Count > 1 {
		parts = append(parts, fmt.Sprintf("%d %s", e.Count, twilioPeriod(e, later)))
	}
	at := e.Time.UTC().Format(TimeLayout)
	for _, c := range counts {
		s := Ordinal(c.N)
		if c.Code == anyCode {
			s += " of all"
		}
		if later {
			s += " of " + c.Period.past(c.Start)
		} else {
			s += " " + c.Period.current()
		}
		parts = append(parts, s)
		if c.Period == Daily { // its date is the event's
			at = e.Time.UTC().Format("15:04 UTC")
		}
	}
	if later {
		parts = append(parts, "at "+at)
	}
	return strings.Join(parts, ", ")
}

// twilioPeriod puts Twilio's names of periods into words: those of App
// Monitor triggers, which turn over in UTC, and those of Alarms, which slide.
func twilioPeriod(e Event, later bool) string {
	if period := Period(strings.ToLower(e.Period)); period.current() != "" {
		if later {
			return "in " + period.past(period.Start(e.Time))
		}
		return period.current()
	}
	return cmp.Or(alarmPeriods[strings.ToUpper(e.Period)].words, "so far")
}

// CodeCount is how many events or alerts of a code there were.
type CodeCount struct {
	Code  string
	Count int64
}

// MoreFrequent orders counts for slices.SortFunc: the highest first, equal ones by
// code.
func (c CodeCount) MoreFrequent(than CodeCount) int {
	return cmp.Or(cmp.Compare(than.Count, c.Count), cmp.Compare(c.Code, than.Code))
}

// HeldText writes the SMS that tells of alerts held back since a time: how
// many, and the most frequent codes. It fits in one segment also with TrialPrefix
// before it.
func HeldText(counts []CodeCount, since time.Time) Words {
	counts = slices.SortedFunc(slices.Values(counts), CodeCount.MoreFrequent)
	shown := 3
	if len(counts) > shown {
		shown = 2
	}
	var all, named int64
	var parts []string
	for i, c := range counts {
		all += c.Count
		if i < shown && c.Code != "" {
			named += c.Count
			parts = append(parts, fmt.Sprintf("%s x%d", c.Code, c.Count))
		}
	}
	if others := all - named; len(parts) > 0 && others > 0 {
		parts = append(parts, "and "+countOf(others, "other"))
	}
	list := strings.Join(parts, ", ")
	if list != "" {
		list = ": " + list
	}
	write := func(layout string) string {
		s := countOf(all, "alert") + " held back since " + since.UTC().Format(layout) + list
		if linked := s + " " + IndexLink; len(TrialPrefix+linked) <= oneSegment {
			return linked
		}
		return s
	}
	return Words{Now: write("15:04 UTC"), Later: write(TimeLayout), Until: Daily.End(since)}
}

// countOf writes a count of things: 1 alert, 2 alerts.
func countOf(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}
