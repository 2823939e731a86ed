package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// String returns the rule as TRIGGERS writes it.
func (t Trigger) String() string {
	condition := "never"
	switch {
	case t.Every > 0:
		condition = fmt.Sprintf("every %d", t.Every)
	case len(t.At) > 0:
		condition = "at " + strings.Trim(strings.ReplaceAll(fmt.Sprint(t.At), " ", ","), "[]")
	}
	return fmt.Sprintf("%s %s %s", strings.Join(t.Subjects, ","), condition, t.Period)
}

// Standing is where a counter of a trigger stands.
type Standing struct {
	Account string // empty where nothing was counted yet
	Code    string // "any" for all together
	Count   int64
	Next    int64 // the count that alerts next, 0 for none in this period
}

// Standings returns where a rule of t stands at a time, by the tallies of the
// running periods, the highest count first. Codes that the rule names are
// there though nothing was counted.
func (t Triggers) Standings(rule Trigger, tallies map[Counter]Tally, now time.Time) []Standing {
	var standings []Standing
	for c, tally := range tallies {
		if c.Period == rule.Period && c.Start.Equal(rule.Period.Start(now)) && t.covers(rule, c.Code) {
			standings = append(standings, Standing{c.Account, c.Code, tally.N, rule.nextAlert(tally)})
		}
	}
	for _, subject := range rule.Subjects {
		counted := slices.ContainsFunc(standings, func(s Standing) bool { return s.Code == subject })
		if subject != eachCode && !counted {
			standings = append(standings, Standing{Code: subject, Next: rule.next(0)})
		}
	}
	slices.SortFunc(standings, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Account, b.Account))
	})
	return standings
}

// nextAlert returns the count that alerts next: the next one of all, if an event
// that must not ring has left the rule due.
func (t Trigger) nextAlert(tally Tally) int64 {
	if t.last(tally.N) > tally.Alerted {
		return tally.N + 1
	}
	return t.next(tally.N)
}

// covers reports whether a counter of code is one of the rule's.
func (t Triggers) covers(rule Trigger, code string) bool {
	if rule.Subjects[0] != eachCode {
		return slices.Contains(rule.Subjects, code)
	}
	named := slices.ContainsFunc(t.Rules, func(r Trigger) bool { return slices.Contains(r.Subjects, code) })
	return code != anyCode && !named
}
