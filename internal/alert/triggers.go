package alert

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultTriggers are the three that Twilio gave every account: the first,
// tenth and hundredth error of each day, for each code.
const DefaultTriggers = "* at 1,10,100 daily"

// Period is the time over which a trigger counts, in UTC.
type Period string

// The periods.
const (
	Hourly  Period = "hourly"
	Daily   Period = "daily"
	Monthly Period = "monthly"
	Yearly  Period = "yearly"
)

// periods say how each period reads, and how long it is at most.
var periods = map[Period]struct {
	current string // names the running period
	past    string // names it once it may be over: a layout of its start
	longest time.Duration
}{
	Hourly:  {"this hour", "its hour", time.Hour},
	Daily:   {"today", time.DateOnly, 24 * time.Hour},
	Monthly: {"this month", "2006-01", 31 * 24 * time.Hour},
	Yearly:  {"this year", "2006", 366 * 24 * time.Hour},
}

// Start returns the beginning of the period that holds t, in UTC.
func (p Period) Start(t time.Time) time.Time {
	t = t.UTC()
	year, month, day := t.Date()
	switch p {
	case Hourly:
		return t.Truncate(time.Hour)
	case Monthly:
		day = 1
	case Yearly:
		month, day = time.January, 1
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// End returns the end of the period that holds t, in UTC.
func (p Period) End(t time.Time) time.Time {
	return p.Start(p.Start(t).Add(periods[p].longest))
}

// current names the running period, "" if p is not one.
func (p Period) current() string { return periods[p].current }

// past names the period that began at start, once it may be over.
func (p Period) past(start time.Time) string { return start.Format(periods[p].past) }

// The subjects of a trigger besides the code itself.
const (
	eachCode = "*"   // each code that no other trigger names, on its own
	anyCode  = "any" // all codes together
)

// Trigger is one rule: when the count of its subject in a period makes an
// alert.
type Trigger struct {
	Subjects []string // "*", "any", or codes
	At       []int64  // due when the count reaches each of these, ascending
	Every    int64    // due at each multiple, where above 0
	Period   Period   // neither At nor Every: counts, but is never due
}

// around returns the highest count up to n and the next above it at which the
// trigger is due, 0 where there is none.
func (t Trigger) around(n int64) (last, next int64) {
	if t.Every > 0 {
		last = n - n%t.Every
		return last, last + t.Every
	}
	for _, at := range t.At {
		if at > n {
			return last, at
		}
		last = at
	}
	return last, 0
}

// Triggers decide which events alert.
type Triggers struct {
	Rules []Trigger
	// Warnings makes "*" and "any" look at warnings as well as errors. A code
	// that a rule names counts whatever its level.
	Warnings bool
}

// ParseTriggers reads rules such as
//
//	11200 at 1 hourly; 13226 every 1; any at 1000 daily; 30003,30005 never
//
// and reports every mistake with the rule it is in and what was expected there.
func ParseTriggers(s string) (Triggers, error) {
	var triggers Triggers
	var mistakes []error
	for rule := range strings.SplitSeq(strings.Trim(s, "; \t\r\n"), ";") {
		trigger, err := parseTrigger(strings.Fields(besideCommas.ReplaceAllString(rule, ",")))
		for _, subject := range trigger.Subjects {
			if triggers.has(subject, trigger.Period) {
				err = fmt.Errorf("%s has two rules for the same period; join them into one", subject)
			}
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("rule %.28q: %w", strings.TrimSpace(rule), err))
			continue
		}
		triggers.Rules = append(triggers.Rules, trigger)
	}
	return triggers, errors.Join(mistakes...)
}

// besideCommas matches a comma with blanks beside it.
var besideCommas = regexp.MustCompile(`\s*,\s*`)

// CoverAllCodes reports whether there is a rule for every code.
func (t Triggers) CoverAllCodes() bool {
	return slices.ContainsFunc(t.Rules, func(rule Trigger) bool { return rule.Subjects[0] == eachCode || rule.Subjects[0] == anyCode })
}

// has reports whether a rule names subject for period.
func (t Triggers) has(subject string, period Period) bool {
	return slices.ContainsFunc(t.Rules, func(rule Trigger) bool { return rule.Period == period && slices.Contains(rule.Subjects, subject) })
}

// parseTrigger reads the words of one rule: subjects, condition, period.
func parseTrigger(words []string) (Trigger, error) {
	take := func() string {
		if len(words) == 0 {
			return ""
		}
		word := words[0]
		words = words[1:]
		return word
	}
	trigger := Trigger{Period: Daily}
	subjects := strings.Split(take(), ",")
	for _, subject := range subjects {
		single := subject == eachCode || subject == anyCode
		if ParseCode(subject) == "" && !(single && len(subjects) == 1) {
			return Trigger{}, errors.New(`expected "*", "any" or codes such as 11200,13226`)
		}
	}
	switch take() {
	case "at":
		for value := range strings.SplitSeq(take(), ",") {
			n, ok := parseCount(value)
			if !ok {
				return Trigger{}, errors.New(`expected counts such as 1,10,100 after "at"`)
			}
			trigger.At = append(trigger.At, n)
		}
		slices.Sort(trigger.At)
		trigger.At = slices.Compact(trigger.At)
	case "every":
		n, ok := parseCount(take())
		if !ok {
			return Trigger{}, errors.New(`expected a count such as 100 after "every"`)
		}
		trigger.Every = n
	case "never":
	default:
		return Trigger{}, errors.New(`expected "at", "every" or "never"`)
	}
	trigger.Period = Period(cmp.Or(take(), string(Daily)))
	if trigger.Period.current() == "" {
		return Trigger{}, errors.New("expected hourly, daily, monthly or yearly")
	}
	if rest := take(); rest != "" {
		return Trigger{}, fmt.Errorf(`expected ";" before %q`, rest)
	}
	trigger.Subjects = subjects
	return trigger, nil
}

// parseCount reads a count between 1 and a billion.
func parseCount(s string) (n int64, ok bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 1 && n <= 1e9 && leadingDigits(s) == s
}

// Counter names a count: how many events of a code an account had in the
// period that began at Start.
type Counter struct {
	Account string
	Code    string // "any" for all together
	Period  Period
	Start   time.Time
}

// Tally is what a counter keeps.
type Tally struct {
	N       int64 // how many events it counted
	Alerted int64 // up to which count its alerts have been told
}

// rulesFor returns the rules that look at e: those that name its code, or
// else "*"; and at last "any".
func (t Triggers) rulesFor(e Event) []Trigger {
	if e.Kind == Alarm || e.Kind == Other {
		return nil
	}
	counted := e.Level == Error || e.Level == Warning && t.Warnings
	named := t.name(e.Code)
	rules := make([]Trigger, 0, len(t.Rules))
	var all []Trigger
	for _, rule := range t.Rules {
		switch {
		case rule.Subjects[0] == anyCode && counted:
			all = append(all, rule)
		case rule.Subjects[0] == eachCode && counted && !named, slices.Contains(rule.Subjects, e.Code):
			rules = append(rules, rule)
		}
	}
	return append(rules, all...)
}

// name reports whether a rule names a code.
func (t Triggers) name(code string) bool {
	return slices.ContainsFunc(t.Rules, func(rule Trigger) bool { return slices.Contains(rule.Subjects, code) })
}

func (t Trigger) counter(e Event) Counter {
	code := e.Code
	if t.Subjects[0] == anyCode {
		code = anyCode
	}
	return Counter{e.Account, code, t.Period, t.Period.Start(e.Time)}
}

// Counters returns the counts that e adds one to, none when it counts
// nowhere. The time of e must be set.
func (t Triggers) Counters(e Event) []Counter {
	var counters []Counter
	for _, rule := range t.rulesFor(e) {
		counters = append(counters, rule.counter(e))
	}
	return counters
}

// Decision says whether an event alerts and why.
type Decision struct {
	// Alert is whether a phone should ring.
	Alert bool
	// Counts are what made it alert, one for each rule that is due; none where
	// Twilio counted.
	Counts []Count
	// Reason says why there is no alert.
	Reason string
}

// Count is a counter and the number that an event has in it.
type Count struct {
	Counter
	N int64
}

// Decide decides the events of one delivery, in order, and counts them in
// tallies. Quiet says why an event must not ring whatever its count, or "".
//
// A rule is due when the highest of its values that the counter has reached is
// above what was alerted. An event that must not ring leaves it due, for the
// next event of the counter. Of several events of the delivery that a rule is
// due at, only the last alerts.
func (t Triggers) Decide(events []Event, tallies map[Counter]Tally, quiet func(Event) string) []Decision {
	decisions := make([]Decision, len(events))
	ringing := make(map[Counter]int) // the event that tells of a counter
	for i, e := range events {
		decisions[i] = t.decide(e, tallies, quiet)
		for _, c := range decisions[i].Counts {
			if before, ok := ringing[c.Counter]; ok {
				decisions[before].pass(c)
			}
			ringing[c.Counter] = i
		}
	}
	return decisions
}

// pass leaves a counter to a later event of the same delivery.
func (d *Decision) pass(to Count) {
	d.Counts = slices.DeleteFunc(d.Counts, func(c Count) bool { return c.Counter == to.Counter })
	if len(d.Counts) == 0 {
		d.Alert, d.Reason = false, "part of the alert for the "+Ordinal(to.N)
	}
}

// decide counts and decides one event. If it is due, quiet says why it must not
// ring, or "".
func (t Triggers) decide(e Event, tallies map[Counter]Tally, quiet func(Event) string) Decision {
	switch {
	case e.Kind == Alarm:
		reason := quiet(e)
		return Decision{Alert: reason == "", Reason: reason}
	case e.Kind == Other:
		return Decision{Reason: "no error: " + e.Description}
	}
	rules := t.rulesFor(e)
	if len(rules) == 0 {
		return Decision{Reason: fmt.Sprintf("%s %s, counted nowhere", e.Level, e.label())}
	}
	var d Decision
	for i, rule := range rules { // each has a counter of its own, see ParseTriggers
		c := rule.counter(e)
		tally := tallies[c]
		tally.N++
		if due, _ := rule.around(tally.N); due > tally.Alerted {
			if d.Reason = quiet(e); d.Reason == "" {
				tally.Alerted = due
				d.Counts = append(d.Counts, Count{c, tally.N})
			}
		} else if i == 0 {
			d.Reason = rule.reason(e, tally.N)
		}
		tallies[c] = tally
	}
	if len(d.Counts) > 0 {
		d.Alert, d.Reason = true, ""
	}
	return d
}

// reason says why e, the nth of its rule, makes no alert.
func (t Trigger) reason(e Event, n int64) string {
	if t.Every == 0 && len(t.At) == 0 {
		return e.label() + " never alerts"
	}
	what, current := e.label(), t.Period.current()
	if t.Subjects[0] == anyCode {
		what = "of all errors"
	}
	more := "no more alerts " + current
	if _, next := t.around(n); next > 0 {
		more = "next alert at the " + Ordinal(next)
	}
	return Ordinal(n) + " " + what + " " + current + ", " + more
}

// label names the event in a reason.
func (e Event) label() string { return cmp.Or(e.Code, "event without a code") }

// Ordinal writes 1 as 1st, 12 as 12th.
func Ordinal(n int64) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.FormatInt(n, 10) + suffix
}
