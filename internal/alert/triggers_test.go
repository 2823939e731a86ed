package alert

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseTriggers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rules string
		want        []Trigger
	}{
		{"the default", DefaultTriggers, []Trigger{{Subjects: []string{"*"}, At: []int64{1, 10, 100}, Period: Daily}}},
		{"without a period", "* at 1", []Trigger{{Subjects: []string{"*"}, At: []int64{1}, Period: Daily}}},
		{"every", "13226 every 1 monthly", []Trigger{{Subjects: []string{"13226"}, Every: 1, Period: Monthly}}},
		{"never", "30003,30005 never", []Trigger{{Subjects: []string{"30003", "30005"}, Period: Daily}}},
		{"a semicolon at the end", "13226 every 1;", []Trigger{{Subjects: []string{"13226"}, Every: 1, Period: Daily}}},
		{"any", "any at 1000 yearly", []Trigger{{Subjects: []string{"any"}, At: []int64{1000}, Period: Yearly}}},
		{"spaces beside commas", "30003, 30005 never; * at 1 , 10, 100", []Trigger{
			{Subjects: []string{"30003", "30005"}, Period: Daily}, {Subjects: []string{"*"}, At: []int64{1, 10, 100}, Period: Daily},
		}},
		{"counts in any order, some twice", "* at 100,1,10,1", []Trigger{{Subjects: []string{"*"}, At: []int64{1, 10, 100}, Period: Daily}}},
		{"spaces, tabs and line breaks", "\n *\tat  1 ;\n any  every 1000\n hourly ", []Trigger{
			{Subjects: []string{"*"}, At: []int64{1}, Period: Daily},
			{Subjects: []string{"any"}, Every: 1000, Period: Hourly},
		}},
		{"one code, two periods", "11200 at 1 hourly; 11200 at 100 daily", []Trigger{
			{Subjects: []string{"11200"}, At: []int64{1}, Period: Hourly},
			{Subjects: []string{"11200"}, At: []int64{100}, Period: Daily},
		}},
		{"the highest count", "* at 1000000000", []Trigger{{Subjects: []string{"*"}, At: []int64{1e9}, Period: Daily}}},
		{"all of it", "* at 1,10,100 daily; 13226 every 1; 11200 at 1 hourly; any at 1000 daily; 30003,30005 never", []Trigger{
			{Subjects: []string{"*"}, At: []int64{1, 10, 100}, Period: Daily},
			{Subjects: []string{"13226"}, Every: 1, Period: Daily},
			{Subjects: []string{"11200"}, At: []int64{1}, Period: Hourly},
			{Subjects: []string{"any"}, At: []int64{1000}, Period: Daily},
			{Subjects: []string{"30003", "30005"}, Period: Daily},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseTriggers(tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Triggers{Rules: tt.want}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseTriggersMistakes(t *testing.T) {
	t.Parallel()
	const (
		subjects  = `expected "*", "any" or codes such as 11200,13226`
		condition = `expected "at", "every" or "never"`
		counts    = `expected counts such as 1,10,100 after "at"`
		count     = `expected a count such as 100 after "every"`
		period    = "expected hourly, daily, monthly or yearly"
	)
	tests := []struct{ name, rules, want string }{
		{"nothing", "", `rule "": ` + subjects},
		{"spaces", "  ", `rule "": ` + subjects},
		{"no code", "error at 1", `rule "error at 1": ` + subjects},
		{"a short code", "12 at 1", `rule "12 at 1": ` + subjects},
		{"a code of Unicode digits", "١١٢٠٠ at 1", `rule "١١٢٠٠ at 1": ` + subjects},
		{"a star among codes", "11200,* at 1", `rule "11200,* at 1": ` + subjects},
		{"any among codes", "any,11200 at 1", `rule "any,11200 at 1": ` + subjects},
		{"a comma at the end of the codes", "11200, at 1", `rule "11200, at 1": ` + subjects},
		{"no condition", "*", `rule "*": ` + condition},
		{"another condition", "* on 1", `rule "* on 1": ` + condition},
		{"a condition in capitals", "* AT 1", `rule "* AT 1": ` + condition},
		{"no counts", "* at", `rule "* at": ` + counts},
		{"no counts, but a period", "* at daily", `rule "* at daily": ` + counts},
		{"a count of zero", "* at 0", `rule "* at 0": ` + counts},
		{"a negative count", "* at -1", `rule "* at -1": ` + counts},
		{"a signed count", "* at +1", `rule "* at +1": ` + counts},
		{"a fraction", "* at 1.5", `rule "* at 1.5": ` + counts},
		{"a count above a billion", "* at 1000000001", `rule "* at 1000000001": ` + counts},
		{"a count beyond all numbers", "* at 99999999999999999999", `rule "* at 99999999999999999999": ` + counts},
		{"every nothing", "* every", `rule "* every": ` + count},
		{"every zero", "* every 0", `rule "* every 0": ` + count},
		{"every list", "* every 1,2", `rule "* every 1,2": ` + count},
		{"another period", "* at 1 weekly", `rule "* at 1 weekly": ` + period},
		{"never with a count", "* never 1", `rule "* never 1": ` + period},
		{"words behind the period", "* at 1 daily hourly", `rule "* at 1 daily hourly": expected ";" before "hourly"`},
		{"a forgotten semicolon", "* at 1 daily any at 2", `rule "* at 1 daily any at 2": expected ";" before "any"`},
		{"two rules for a code", "11200 at 1; 11200 at 2", `rule "11200 at 2": 11200 has two rules for the same period; join them into one`},
		{"two rules for a code in lists", "11200,30003 at 1;30005,30003 never daily", `rule "30005,30003 never daily": 30003 has two rules for the same period; join them into one`},
		{"every mistake is told", "* on 1; x at 1 daily; any at 2; any at 3", `rule "* on 1": ` + condition + "\n" +
			`rule "x at 1 daily": ` + subjects + "\n" +
			`rule "any at 3": any has two rules for the same period; join them into one`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseTriggers(tt.rules)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// an11200 is an error as the Debugger webhook reports it.
var an11200 = Event{Kind: Debugger, Account: "AC1", Code: "11200", Level: Error, Time: aTuesday}

// coded returns an event like an11200 with another code and level.
func coded(code string, level Level) Event {
	e := an11200
	e.Code, e.Level = code, level
	return e
}

// tallies are the counters that Decide keeps.
type tallies map[Counter]Tally

// news is an event that may ring.
func news(Event) string { return "" }

// mustParse parses rules, with warnings where the rules begin with "+".
func mustParse(t testing.TB, rules string) Triggers {
	t.Helper()
	rules, warnings := strings.CutPrefix(rules, "+")
	triggers, err := ParseTriggers(rules)
	if err != nil {
		t.Fatal(err)
	}
	triggers.Warnings = warnings
	return triggers
}

// TestWhichOccurrencesAlert sends 25 of the same event, one by one.
func TestWhichOccurrencesAlert(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rules string // a leading + is LEVELS=error,warning
		event       Event
		want        []int
	}{
		{"the default", DefaultTriggers, an11200, []int{1, 10}},
		{"at some", "* at 2,3,20", an11200, []int{2, 3, 20}},
		{"every 10", "* every 10", an11200, []int{10, 20}},
		{"never", "* never", an11200, nil},
		{"any, beside *", "* at 1; any at 5", an11200, []int{1, 5}},
		{"any alone", "any every 12", an11200, []int{12, 24}},
		{"a named code overrides *", "* at 1; 11200 at 7", an11200, []int{7}},
		{"a named code silences *", "* at 1; 11200 never", an11200, nil},
		{"a named code never alerts, but counts for any", "* at 1; 11200 never; any at 3", an11200, []int{3}},
		{"a named code in another period overrides *", "* at 1 daily; 11200 at 7 hourly", an11200, []int{7}},
		{"other codes stay with *", "* at 1; 30003 never", an11200, []int{1}},
		{"two periods", "* at 1 daily; * every 9 hourly", an11200, []int{1, 9, 18}},
		{"two counts of one moment are one alert", "* at 1 daily; * at 1 hourly", an11200, []int{1}},
		{"no rule for the code", "30003 at 1", an11200, nil},
		{"a warning is not looked at", "* at 1; any at 1", coded("13226", Warning), nil},
		{"a warning, with LEVELS", "+* at 1", coded("13226", Warning), []int{1}},
		{"a warning, with LEVELS, for any", "+any at 2", coded("13226", Warning), []int{2}},
		{"a warning that a rule names", "* at 1; 13226 at 3", coded("13226", Warning), []int{3}},
		{"a named warning does not count for any", "13226 never; any at 1", coded("13226", Warning), nil},
		{"a notice", "+* at 1; any at 1", coded("82005", Info), nil},
		{"a notice that a rule names", "82005 at 3", coded("82005", Info), []int{3}},
		{"an error without a code", "* at 1,10", coded("", Error), []int{1, 10}},
		{"the test of a sink", "* every 1; any every 1", Event{Kind: Other, Level: Info}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			triggers, counts := mustParse(t, tt.rules), make(tallies)
			var got []int
			for n := 1; n <= 25; n++ {
				d := triggers.Decide([]Event{tt.event}, counts, news)[0]
				if d.Alert {
					got = append(got, n)
				}
				if d.Alert == (d.Reason != "") {
					t.Errorf("the %s has the decision %+v: a reason goes with no alert", Ordinal(int64(n)), d)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("alerts at %v, want %v", got, tt.want)
			}
		})
	}
}

// TestReasons pins the words of the answer to an event that makes no alert.
func TestReasons(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rules string
		before      int
		event       Event
		want        string
	}{
		{"the third", DefaultTriggers, 2, an11200, "3rd 11200 today, next alert at the 10th"},
		{"between the last values", DefaultTriggers, 10, an11200, "11th 11200 today, next alert at the 100th"},
		{"after the last value", DefaultTriggers, 100, an11200, "101st 11200 today, no more alerts today"},
		{"every", "* every 100 hourly", 211, an11200, "212th 11200 this hour, next alert at the 300th"},
		{"monthly", "* at 10 monthly", 1, an11200, "2nd 11200 this month, next alert at the 10th"},
		{"after the last of the year", "* at 1 yearly", 1, an11200, "2nd 11200 this year, no more alerts this year"},
		{"never", "30003,30005 never", 4, coded("30003", Error), "30003 never alerts"},
		{"never, at all", "* never", 4, an11200, "11200 never alerts"},
		{"any", "any at 1000", 4, an11200, "5th of all errors today, next alert at the 1000th"},
		{"any never", "any never", 4, an11200, "11200 never alerts"},
		{"the code's own reason before that of any", "any at 1000; * at 10", 4, an11200, "5th 11200 today, next alert at the 10th"},
		{"no code", "* at 10", 4, coded("", Error), "5th event without a code today, next alert at the 10th"},
		{"a notice", DefaultTriggers, 0, coded("82005", Info), "info 82005, counted nowhere"},
		{"a warning", DefaultTriggers, 0, coded("13226", Warning), "warning 13226, counted nowhere"},
		{"an error that no rule looks at", "30003 at 1", 0, an11200, "error 11200, counted nowhere"},
		{"a notice without a code", DefaultTriggers, 0, coded("", Info), "info event without a code, counted nowhere"},
		{"the test of a sink", DefaultTriggers, 0, Event{Kind: Other, Level: Info, Description: "com.twilio.eventstreams.test-event"}, "no error: com.twilio.eventstreams.test-event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			triggers, counts := mustParse(t, tt.rules), make(tallies)
			for range tt.before {
				triggers.Decide([]Event{tt.event}, counts, news)
			}
			d := triggers.Decide([]Event{tt.event}, counts, news)[0]
			if d.Alert || d.Reason != tt.want {
				t.Errorf("got alert %v, reason %q, want %q", d.Alert, d.Reason, tt.want)
			}
		})
	}
}

// TestBatches shows that a delivery which jumps over several values of a
// trigger makes one alert, for the highest.
func TestBatches(t *testing.T) {
	t.Parallel()
	repeat := func(n int, events ...Event) (all []Event) {
		for range n {
			all = append(all, events...)
		}
		return all
	}
	another := an11200
	another.Account = "AC2"
	firing := Event{Kind: Alarm, Code: "11200", Level: Error}
	tests := []struct {
		name, rules string
		events      []Event
		want        map[int]int64 // the index of each event that alerts, and its count
	}{
		{"one", DefaultTriggers, repeat(1, an11200), map[int]int64{0: 1}},
		{"nine reach the 1st", DefaultTriggers, repeat(9, an11200), map[int]int64{0: 1}},
		{"twelve reach the 10th", DefaultTriggers, repeat(12, an11200), map[int]int64{9: 10}},
		{"a thousand reach the 100th", DefaultTriggers, repeat(1000, an11200), map[int]int64{99: 100}},
		{"every one", "* every 1", repeat(5, an11200), map[int]int64{4: 5}},
		{"two codes, each its own", DefaultTriggers, repeat(10, an11200, coded("30003", Error)), map[int]int64{18: 10, 19: 10}},
		{"two accounts, each its own", DefaultTriggers, repeat(10, an11200, another), map[int]int64{18: 10, 19: 10}},
		{"any counts both codes", "any at 1,4", repeat(2, an11200, coded("30003", Error)), map[int]int64{3: 4}},
		{"a code's and any's alert are two", "* at 1; any at 4", repeat(4, an11200), map[int]int64{0: 1, 3: 4}},
		{"alarms are Twilio's count, each alerts", DefaultTriggers, repeat(3, firing), map[int]int64{0: 0, 1: 0, 2: 0}},
		{"none", DefaultTriggers, nil, map[int]int64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			decisions := mustParse(t, tt.rules).Decide(tt.events, make(tallies), news)
			if len(decisions) != len(tt.events) {
				t.Fatalf("%d decisions for %d events", len(decisions), len(tt.events))
			}
			got := make(map[int]int64)
			for i, d := range decisions {
				if d.Alert {
					got[i] = 0
					for _, c := range d.Counts {
						got[i] = c.N
					}
				} else if d.Reason == "" {
					t.Errorf("event %d has neither alert nor reason", i)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("alerts %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBatchReasons(t *testing.T) {
	t.Parallel()
	events := make([]Event, 12)
	for i := range events {
		events[i] = an11200
	}
	decisions := mustParse(t, DefaultTriggers).Decide(events, make(tallies), news)
	for i, want := range map[int]string{
		0: "part of the alert for the 10th", 1: "2nd 11200 today, next alert at the 10th", 9: "", 10: "11th 11200 today, next alert at the 100th",
	} {
		if got := decisions[i].Reason; got != want {
			t.Errorf("event %d: got %q, want %q", i, got, want)
		}
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	day := time.Date(2022, time.August, 9, 0, 0, 0, 0, time.UTC)
	hour := time.Date(2022, time.August, 9, 16, 0, 0, 0, time.UTC)
	tests := []struct {
		name, rules string
		event       Event
		want        []Counter
	}{
		{"by account, code, period and its start", DefaultTriggers, an11200, []Counter{{"AC1", "11200", Daily, day}}},
		{"any and the code", "* at 1; any at 1 hourly", an11200, []Counter{{"AC1", "11200", Daily, day}, {"AC1", "any", Hourly, hour}}},
		{"what never alerts is counted", "11200 never", an11200, []Counter{{"AC1", "11200", Daily, day}}},
		{"an alarm is not counted again", DefaultTriggers, Event{Kind: Alarm, Code: "11200", Level: Error, Time: aTuesday}, nil},
		{"a notice", DefaultTriggers, coded("82005", Info), nil},
		{"the test of a sink", DefaultTriggers, Event{Kind: Other, Level: Info}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := mustParse(t, tt.rules).Counters(tt.event); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		period     Period
		time, want string
	}{
		{"the last moment of an hour", Hourly, "2026-11-23T14:59:59.999999999Z", "2026-11-23T14:00:00Z"},
		{"the first moment of an hour", Hourly, "2026-11-23T15:00:00Z", "2026-11-23T15:00:00Z"},
		{"an hour in a zone of half hours", Hourly, "2026-11-23T20:15:00+05:30", "2026-11-23T14:00:00Z"},
		{"the last moment of a day", Daily, "2026-11-23T23:59:59.999999999Z", "2026-11-23T00:00:00Z"},
		{"the first moment of a day", Daily, "2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"yesterday in UTC", Daily, "2026-11-24T01:30:00+02:00", "2026-11-23T00:00:00Z"},
		{"tomorrow in UTC", Daily, "2026-11-23T22:00:00-05:00", "2026-11-24T00:00:00Z"},
		{"a day when clocks change in Europe", Daily, "2026-03-29T03:30:00+02:00", "2026-03-29T00:00:00Z"},
		{"the 29th of February", Daily, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z"},
		{"the end of a month of 31 days", Monthly, "2026-01-31T23:59:59Z", "2026-01-01T00:00:00Z"},
		{"the end of a month of 30 days", Monthly, "2026-11-30T23:59:59Z", "2026-11-01T00:00:00Z"},
		{"the end of February", Monthly, "2026-02-28T23:59:59Z", "2026-02-01T00:00:00Z"},
		{"the first of March", Monthly, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		{"the leap day", Monthly, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z"},
		{"no leap day in 2100", Monthly, "2100-03-01T00:00:00Z", "2100-03-01T00:00:00Z"},
		{"next month in UTC", Monthly, "2026-01-31T23:30:00-01:00", "2026-02-01T00:00:00Z"},
		{"the last moment of a year", Yearly, "2026-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00Z"},
		{"the last day of a leap year", Yearly, "2028-12-31T23:59:59Z", "2028-01-01T00:00:00Z"},
		{"the first moment of a year", Yearly, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"last year in UTC", Yearly, "2027-01-01T00:30:00+01:00", "2026-01-01T00:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, err := time.Parse(time.RFC3339Nano, tt.time)
			if err != nil {
				t.Fatal(err)
			}
			got := tt.period.Start(at)
			if got.Format(time.RFC3339Nano) != tt.want {
				t.Errorf("the %s period of %s starts at %s, want %s", tt.period, tt.time, got.Format(time.RFC3339Nano), tt.want)
			}
			if again := tt.period.Start(got); again != got {
				t.Errorf("the start %s lies in the period of %s", got, again)
			}
		})
	}
}

// TestCountsStartAnew shows that a new period counts from one.
func TestCountsStartAnew(t *testing.T) {
	t.Parallel()
	triggers, counts := mustParse(t, "* at 1 daily"), make(tallies)
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{
		{time.Date(2028, time.February, 28, 23, 59, 59, 0, time.UTC), true},
		{time.Date(2028, time.February, 28, 23, 59, 59, 999, time.UTC), false},
		{time.Date(2028, time.February, 29, 0, 0, 0, 0, time.UTC), true},
		{time.Date(2028, time.February, 29, 23, 0, 0, 0, time.UTC), false},
		{time.Date(2028, time.March, 1, 0, 0, 0, 0, time.UTC), true},
		{time.Date(2028, time.February, 29, 12, 0, 0, 0, time.UTC), false}, // late, and still of its own day
	} {
		e := an11200
		e.Time = tt.at
		if got := triggers.Decide([]Event{e}, counts, news)[0].Alert; got != tt.want {
			t.Errorf("%s: alert %v, want %v", tt.at, got, tt.want)
		}
	}
}

// TestAlertsAreNotUsedUp pins that an event which must not ring leaves its
// alert to the next one.
func TestAlertsAreNotUsedUp(t *testing.T) {
	t.Parallel()
	old := an11200
	old.Description = "old"
	quiet := func(e Event) string {
		if e.Description == "old" {
			return "too old"
		}
		return ""
	}
	tests := []struct {
		name, rules string
		deliveries  [][]Event
		want        string // what was told of each event
	}{
		{"the 1st is old, the 2nd tells", DefaultTriggers, [][]Event{{old}, {an11200}, {an11200}}, "too old|2nd|3rd 11200 today, next alert at the 10th"},
		{"all of it in one delivery", DefaultTriggers, [][]Event{{old, an11200, an11200}}, "too old|2nd|3rd 11200 today, next alert at the 10th"},
		{"the last of a delivery is old", "* at 1,3", [][]Event{{an11200, an11200, old}, {an11200}}, "1st|2nd 11200 today, next alert at the 3rd|too old|4th"},
		{"two rules are due at once", "* at 1,10; any at 3", [][]Event{{an11200}, {an11200}, {coded("30003", Error)}}, "1st|2nd 11200 today, next alert at the 10th|1st 3rd of all"},
		{"one of two rules is told by a later event", "* at 1; any at 1,2", [][]Event{{an11200, an11200}}, "1st|2nd of all"},
		{"both rules are told by a later event", "* every 1; any every 1", [][]Event{{an11200, an11200}}, "part of the alert for the 2nd|2nd 2nd of all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			triggers, counts := mustParse(t, tt.rules), make(tallies)
			var got []string
			for _, events := range tt.deliveries {
				for _, d := range triggers.Decide(events, counts, quiet) {
					told := d.Reason
					for i, c := range d.Counts {
						told += strings.Repeat(" ", min(i, 1)) + Ordinal(c.N) + strings.Repeat(" of all", strings.Count(c.Code, anyCode))
					}
					got = append(got, told)
				}
			}
			if got := strings.Join(got, "|"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestChangedRulesWorkOnTheSameNumbers changes TRIGGERS between two events.
func TestChangedRulesWorkOnTheSameNumbers(t *testing.T) {
	t.Parallel()
	counts := make(tallies)
	for i, step := range []struct {
		rules string
		alert bool
	}{
		{"* never", false}, {"* at 1", true}, {"* at 1,3", true}, {"* at 1,3,10", false}, {"11200 every 2", true}, {"11200 every 1", true}, {"* at 1", false},
	} {
		if got := mustParse(t, step.rules).Decide([]Event{an11200}, counts, news)[0].Alert; got != step.alert {
			t.Errorf("event %d by %q: alert %v, want %v", i+1, step.rules, got, step.alert)
		}
	}
}

// FuzzDecide compares Decide with a slow and obvious model: each value that a
// rule is due at is told exactly once, by the first event from it on that may
// ring, or by a later one of the same delivery.
func FuzzDecide(f *testing.F) {
	f.Add(DefaultTriggers, []byte("aaaaaaaaaaaaa|aaaAaaa|bbb|Bb"))
	f.Add("* at 1,3; any at 2,5; 11200 every 2 hourly", []byte("AAAaa|b|bB|aab|aA|aaaaaaaab"))
	f.Add("* every 1; any every 3 yearly; 30003 never", []byte("a|b|A|aaa|bbb|ab"))
	f.Fuzz(func(t *testing.T, rules string, script []byte) {
		triggers, err := ParseTriggers(rules)
		if err != nil || len(script) > 500 {
			return
		}
		counts, untold, reached := make(tallies), make(map[Counter][]int64), make(map[Counter]int64)
		for delivery := range strings.SplitSeq(string(script), "|") {
			var events []Event
			for _, c := range delivery { // a capital is too old to ring
				e := coded(map[bool]string{true: "11200", false: "30003"}[c == 'a' || c == 'A'], Error)
				e.Description = map[bool]string{true: "old"}[c < 'a']
				events = append(events, e)
			}
			decisions := triggers.Decide(events, counts, func(e Event) string { return e.Description })
			want := make(map[Counter]int)
			for i, e := range events {
				for _, rule := range triggers.rulesFor(e) {
					c := rule.counter(e)
					reached[c]++
					if n := reached[c]; rule.Every > 0 && n%rule.Every == 0 || slices.Contains(rule.At, n) {
						untold[c] = append(untold[c], n)
					}
					if len(untold[c]) > 0 && e.Description == "" {
						want[c], untold[c] = i, nil
					}
				}
			}
			for i, d := range decisions {
				if d.Alert != (len(d.Counts) > 0) || d.Alert == (d.Reason != "") {
					t.Errorf("event %d has the odd decision %+v", i, d)
				}
				for _, c := range d.Counts {
					if at, ok := want[c.Counter]; !ok || at != i {
						t.Errorf("event %d tells of %v, want event %d (%v)", i, c, at, ok)
					}
					delete(want, c.Counter)
				}
			}
			if len(want) > 0 {
				t.Errorf("nothing tells of %v", want)
			}
		}
	})
}

// FuzzParseTriggers holds whatever is accepted to the grammar, and Decide to
// an answer for it.
func FuzzParseTriggers(f *testing.F) {
	f.Add(DefaultTriggers)
	f.Add("* at 1,10,100 daily; 13226 every 1; 11200 at 1 hourly; any at 1000 daily; 30003,30005 never")
	f.Add("any never;*\tevery 3 yearly;; 11200,11200 at 2,2,1 monthly\n")
	f.Add("\xff at 99999999999999999999; * at \u00a01")
	f.Fuzz(func(t *testing.T, rules string) {
		triggers, err := ParseTriggers(rules)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, `rule "`) {
					t.Errorf("the mistake %q does not quote its rule", line)
				}
			}
			return
		}
		for _, rule := range triggers.Rules {
			if len(rule.Subjects) == 0 || rule.Period.current() == "" || rule.Every < 0 || rule.Every > 0 && rule.At != nil {
				t.Errorf("%q is the odd rule %+v", rules, rule)
			}
			for i, at := range rule.At {
				if at < 1 || i > 0 && at <= rule.At[i-1] {
					t.Errorf("%q has the odd counts %v", rules, rule.At)
				}
			}
		}
		counts := make(tallies)
		for range 12 {
			d := triggers.Decide([]Event{an11200}, counts, news)[0]
			if d.Alert == (d.Reason != "") {
				t.Errorf("%q decides %+v", rules, d)
			}
		}
	})
}
