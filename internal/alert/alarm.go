package alert

import (
	"strings"
	"time"
)

// alarmWindows are the times over which Alarms count, as they slide. Source:
// https://www.twilio.com/docs/usage/troubleshooting/alarms.
var alarmWindows = map[string]time.Duration{
	"FIVE_MINS": 5 * time.Minute, "FIFTEEN_MINS": 15 * time.Minute, "ONE_HOUR": time.Hour,
	"TWELVE_HOURS": 12 * time.Hour, "ONE_DAY": 24 * time.Hour,
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
	if window, ok := alarmWindows[strings.ToUpper(e.Period)]; ok {
		return e.Time.Add(-window)
	}
	return time.Time{}
}

// CountsEverything reports whether an alarm watches errors of any code
// ("Any Warning or Error"): its code is then that of one of them.
func (e Event) CountsEverything() bool {
	d := strings.ToLower(e.Description)
	return strings.HasPrefix(d, "any ") && (strings.Contains(d, "error") || strings.Contains(d, "warning"))
}
