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
			last, next := rule.around(tally.N)
			if last > tally.Alerted { // an event that must not ring has left the rule due
				next = tally.N + 1
			}
			standings = append(standings, Standing{c.Account, c.Code, tally.N, next})
		}
	}
	for _, subject := range rule.Subjects {
		counted := slices.ContainsFunc(standings, func(s Standing) bool { return s.Code == subject })
		if subject != eachCode && !counted {
			_, next := rule.around(0)
			standings = append(standings, Standing{Code: subject, Next: next})
		}
	}
	slices.SortFunc(standings, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Account, b.Account))
	})
	return standings
}

// covers reports whether a counter of code is one of the rule's.
func (t Triggers) covers(rule Trigger, code string) bool {
	if rule.Subjects[0] != eachCode {
		return slices.Contains(rule.Subjects, code)
	}
	return code != anyCode && !t.name(code)
}
