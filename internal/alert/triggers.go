package alert

import (
	"errors"
	"fmt"
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

// Start returns the beginning of the period that holds t, in UTC.
func (p Period) Start(t time.Time) time.Time {
	t = t.UTC()
	switch p {
	case Hourly:
		return t.Truncate(time.Hour)
	case Monthly:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	case Yearly:
		return time.Date(t.Year(), time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// current returns the period in the words of somebody who lives in it.
func (p Period) current() string {
	switch p {
	case Hourly:
		return "this hour"
	case Monthly:
		return "this month"
	case Yearly:
		return "this year"
	}
	return "today"
}

// unit returns the period as a noun.
func (p Period) unit() string {
	return map[Period]string{Hourly: "hour", Daily: "day", Monthly: "month", Yearly: "year"}[p]
}

// The subjects of a trigger besides the code itself.
const (
	eachCode = "*"   // each code that no other trigger names, on its own
	anyCode  = "any" // all codes together
)

// Trigger is one rule: when the count of its subject in a period makes an
// alert.
type Trigger struct {
	Subjects []string // "*", "any", or codes
	At       []int64  // fires when the count reaches each of these, ascending
	Every    int64    // fires at each multiple, where above 0
	Period   Period   // neither At nor Every: counts, but never fires
}

// fires reports whether the count n makes an alert.
func (t Trigger) fires(n int64) bool {
	return t.Every > 0 && n%t.Every == 0 || slices.Contains(t.At, n)
}

// next returns the count above n at which the trigger fires next, or 0.
func (t Trigger) next(n int64) int64 {
	if t.Every > 0 {
		return (n/t.Every + 1) * t.Every
	}
	for _, at := range t.At {
		if at > n {
			return at
		}
	}
	return 0
}

// last returns the highest count up to n at which the trigger fires, or 0.
func (t Trigger) last(n int64) int64 {
	if t.Every > 0 {
		return n / t.Every * t.Every
	}
	last := int64(0)
	for _, at := range t.At {
		if at <= n {
			last = at
		}
	}
	return last
}

func (t Trigger) never() bool { return t.Every == 0 && len(t.At) == 0 }

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
// and reports every mistake with its position and what was expected there.
func ParseTriggers(s string) (Triggers, error) {
	var triggers Triggers
	var mistakes []error
	offset := 0
	for rule := range strings.SplitSeq(s, ";") {
		ws := words(rule, offset)
		trigger, mistake := parseTrigger(ws, offset+len(rule))
		offset += len(rule) + 1
		if mistake != nil {
			mistakes = append(mistakes, mistake)
			continue
		}
		for _, subject := range trigger.Subjects {
			if other := triggers.find(subject, trigger.Period); other != nil {
				mistakes = append(mistakes, fmt.Errorf("position %d: %s has two rules for the same period; join them into one", ws[0].at, subject))
			}
		}
		triggers.Rules = append(triggers.Rules, trigger)
	}
	return triggers, errors.Join(mistakes...)
}

// find returns the rule that names subject for period, or nil.
func (t Triggers) find(subject string, period Period) *Trigger {
	for i, rule := range t.Rules {
		if rule.Period == period && slices.Contains(rule.Subjects, subject) {
			return &t.Rules[i]
		}
	}
	return nil
}

// word is a word of a rule and its position, counted from 1.
type word struct {
	text string
	at   int
}

func words(rule string, offset int) []word {
	var all []word
	for i := 0; i < len(rule); {
		rest := strings.TrimLeft(rule[i:], " \t\n")
		i = len(rule) - len(rest)
		if rest == "" {
			break
		}
		text := rest
		if end := strings.IndexAny(rest, " \t\n"); end >= 0 {
			text = rest[:end]
		}
		all = append(all, word{text, offset + i + 1})
		i += len(text)
	}
	return all
}

// parseTrigger reads one rule: subjects, condition, period. End is the
// position after its last character.
func parseTrigger(ws []word, end int) (Trigger, error) {
	take := func() word {
		if len(ws) == 0 {
			return word{"", end + 1}
		}
		w := ws[0]
		ws = ws[1:]
		return w
	}
	trigger := Trigger{Period: Daily}
	subjects := take()
	trigger.Subjects = strings.Split(subjects.text, ",")
	for _, subject := range trigger.Subjects {
		single := subject == eachCode || subject == anyCode
		if parseCode(subject) == "" && !(single && len(trigger.Subjects) == 1) {
			return Trigger{}, unexpected(subjects, `"*", "any" or codes such as 11200,13226`)
		}
	}
	condition := take()
	switch condition.text {
	case "at":
		values := take()
		for value := range strings.SplitSeq(values.text, ",") {
			n, err := parseCount(value)
			if err != nil {
				return Trigger{}, unexpected(values, "counts such as 1,10,100")
			}
			trigger.At = append(trigger.At, n)
		}
		slices.Sort(trigger.At)
		trigger.At = slices.Compact(trigger.At)
	case "every":
		value := take()
		n, err := parseCount(value.text)
		if err != nil {
			return Trigger{}, unexpected(value, "a count such as 100")
		}
		trigger.Every = n
	case "never":
	default:
		return Trigger{}, unexpected(condition, `"at", "every" or "never"`)
	}
	if period := take(); period.text != "" {
		trigger.Period = Period(period.text)
		if trigger.Period.unit() == "" {
			return Trigger{}, unexpected(period, "hourly, daily, monthly or yearly")
		}
	}
	if rest := take(); rest.text != "" {
		return Trigger{}, unexpected(rest, `";" and the next rule`)
	}
	return trigger, nil
}

// parseCount reads a count between 1 and a billion.
func parseCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > 1e9 || leadingDigits(s) != s {
		return 0, fmt.Errorf("%q is no count", s)
	}
	return n, nil
}

func unexpected(got word, want string) error {
	if got.text == "" {
		return fmt.Errorf("position %d: expected %s, got the end of the rule", got.at, want)
	}
	return fmt.Errorf("position %d: expected %s, got %q", got.at, want, got.text)
}

// Counter names a count: how many events of a code an account had in the
// period that began at Start.
type Counter struct {
	Account string
	Code    string // "any" for all together
	Period  Period
	Start   time.Time
}

// rulesFor returns the rules that look at e: those that name its code, or
// else "*"; and "any".
func (t Triggers) rulesFor(e Event) []Trigger {
	if e.Kind == Alarm || e.Kind == Other {
		return nil
	}
	counted := e.Level == Error || e.Level == Warning && t.Warnings
	named := slices.ContainsFunc(t.Rules, func(rule Trigger) bool { return slices.Contains(rule.Subjects, e.Code) })
	rules := make([]Trigger, 0, len(t.Rules))
	for _, rule := range t.Rules {
		if rule.Subjects[0] == eachCode && counted && !named || slices.Contains(rule.Subjects, e.Code) {
			rules = append(rules, rule)
		}
	}
	for _, rule := range t.Rules {
		if rule.Subjects[0] == anyCode && counted {
			rules = append(rules, rule)
		}
	}
	return rules
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
	// Count is the count that decided, Period its period; zero where nothing
	// counted or Twilio did.
	Count  int64
	Period Period
	// Together is whether Count is that of all codes.
	Together bool
	// Reason says why there is no alert.
	Reason string
}

// Decide decides the events of one delivery, in order. Count returns the
// value of a counter after one more event. Where a delivery reaches several
// values of one trigger, only the last of them alerts.
func (t Triggers) Decide(events []Event, count func(Counter) int64) []Decision {
	decisions := make([]Decision, len(events))
	fired := make(map[Counter]int)
	for i, e := range events {
		d, by := t.decide(e, count)
		decisions[i] = d
		if !d.Alert || e.Kind == Alarm {
			continue
		}
		if earlier, ok := fired[by]; ok {
			decisions[earlier].Alert = false
			decisions[earlier].Reason = fmt.Sprintf("part of the alert for the %s", Ordinal(d.Count))
		}
		fired[by] = i
	}
	return decisions
}

// decide decides one event, and says which counter made it alert.
func (t Triggers) decide(e Event, count func(Counter) int64) (Decision, Counter) {
	switch {
	case e.Kind == Alarm:
		return Decision{Alert: true}, Counter{}
	case e.Kind == Other:
		return Decision{Reason: "no error: " + e.Description}, Counter{}
	}
	rules := t.rulesFor(e)
	var best Decision
	var by Counter
	for _, rule := range rules { // each has a counter of its own, see ParseTriggers
		c := rule.counter(e)
		if d := rule.decide(e, count(c)); by == (Counter{}) || d.Alert && !best.Alert {
			best, by = d, c
		}
	}
	if len(rules) == 0 {
		best.Reason = fmt.Sprintf("%s %s, counted nowhere", e.Level, e.label())
	}
	return best, by
}

// decide decides e by one rule, for which it is the nth.
func (t Trigger) decide(e Event, n int64) Decision {
	d := Decision{Alert: t.fires(n), Count: n, Period: t.Period, Together: t.Subjects[0] == anyCode}
	what := e.label()
	if d.Together {
		what = "of all errors"
	}
	switch next := t.next(n); {
	case d.Alert:
	case t.never():
		d.Reason = e.label() + " never alerts"
	case next > 0:
		d.Reason = Ordinal(n) + " " + what + " " + t.Period.current() + ", next alert at the " + Ordinal(next)
	default:
		d.Reason = Ordinal(n) + " " + what + " " + t.Period.current() + ", no more alerts " + t.Period.current()
	}
	return d
}

// Missed returns the decision that an event like e has missed, because e was
// counted and alerted in its place and then taken back. Counts are those of
// e's counters without it.
func (t Triggers) Missed(e Event, counts map[Counter]int64) (Decision, bool) {
	for _, rule := range t.rulesFor(e) {
		n := counts[rule.counter(e)]
		if fired := rule.last(n + 1); fired > 0 && fired <= n {
			return Decision{Alert: true, Count: fired, Period: rule.Period, Together: rule.Subjects[0] == anyCode}, true
		}
	}
	return Decision{}, false
}

// label names the event in a reason.
func (e Event) label() string {
	if e.Code == "" {
		return "event without a code"
	}
	return e.Code
}

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
