package alert

import (
	"strings"
	"time"
)

// alarmPeriods are the times over which Alarms count, as they slide. Source:
// https://www.twilio.com/docs/usage/troubleshooting/alarms.
var alarmPeriods = map[string]struct {
	length time.Duration
	words  string
}{
	"FIVE_MINS": {5 * time.Minute, "in 5 minutes"}, "FIFTEEN_MINS": {15 * time.Minute, "in 15 minutes"},
	"ONE_HOUR": {time.Hour, "in an hour"}, "TWELVE_HOURS": {12 * time.Hour, "in 12 hours"}, "ONE_DAY": {24 * time.Hour, "in a day"},
}

// CountedSince returns from when on an alarm counted what it tells of: zero for
// other events, and where Twilio said no count or no period. The time of e must
// be set.
func (e Event) CountedSince() time.Time {
	if e.Kind != Alarm || e.Count == 0 {
		return time.Time{}
	}
	if period := Period(strings.ToLower(e.Period)); period.current() != "" { // of 2014
		return period.Start(e.Time)
	}
	if alarm, ok := alarmPeriods[strings.ToUpper(e.Period)]; ok {
		return e.Time.Add(-alarm.length)
	}
	return time.Time{}
}

// CountsEverything reports whether an alarm watches errors of any code
// ("Any Warning or Error"): its code is then the code of one of them.
func (e Event) CountsEverything() bool {
	d := strings.ToLower(e.Description)
	return strings.HasPrefix(d, "any ") && (strings.Contains(d, "error") || strings.Contains(d, "warning"))
}
