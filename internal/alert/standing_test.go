package alert

import (
	"fmt"
	"testing"
	"time"
)

func TestTriggersReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		DefaultTriggers:            "* at 1,10,100 daily",
		"11200 at 1 hourly":        "11200 at 1 hourly",
		"13226 every 5":            "13226 every 5 daily",
		"30003,30005 never":        "30003,30005 never daily",
		"any at 1000,10 monthly":   "any at 10,1000 monthly",
		"  11200   at  3  yearly ": "11200 at 3 yearly",
	} {
		triggers, err := ParseTriggers(written)
		if err != nil {
			t.Fatal(err)
		}
		if got := triggers.Rules[0].String(); got != want {
			t.Errorf("%q reads %q, want %q", written, got, want)
		}
		if again, err := ParseTriggers(want); err != nil || again.Rules[0].String() != want {
			t.Errorf("%q is not a rule: %v", want, err)
		}
	}
}

func TestStandings(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 20, 15, 0, 0, time.UTC)
	today := func(account, code string) Counter { return Counter{account, code, Daily, Daily.Start(now)} }
	counts := map[Counter]Tally{
		today("AC1", "11200"): {7, 1}, today("AC2", "11200"): {120, 120}, today("AC1", ""): {1, 1}, today("AC1", "13226"): {12, 12}, today("AC1", "any"): {140, 140},
		{"AC1", "11200", Hourly, Hourly.Start(now)}:                    {3, 3},
		{"AC1", "12100", Daily, Daily.Start(now.Add(-24 * time.Hour))}: {50, 50}, // yesterday
	}
	tests := []struct{ triggers, want string }{
		{"* at 1,10,100", "[{AC2 11200 120 0} {AC1 13226 12 100} {AC1 11200 7 10} {AC1  1 10}]"},
		{"* at 1,10,100; 13226 every 5", "[{AC2 11200 120 0} {AC1 11200 7 10} {AC1  1 10}] [{AC1 13226 12 15}]"},
		{"11200,30003 at 5 hourly", "[{AC1 11200 3 5} { 30003 0 5}]"},
		{"any at 100,1000", "[{AC1 any 140 1000}]"},
		{"any at 1000 monthly", "[{ any 0 1000}]"},
		{"13226 never", "[{AC1 13226 12 0}]"},
		{"11200 at 5", "[{AC2 11200 120 0} {AC1 11200 7 8}]"},
		{"* at 1 monthly", "[]"},
	}
	for _, test := range tests {
		t.Run(test.triggers, func(t *testing.T) {
			t.Parallel()
			triggers, err := ParseTriggers(test.triggers)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i, rule := range triggers.Rules {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprint(triggers.Standings(rule, counts, now))
			}
			if got != test.want {
				t.Errorf("stands at\n%s, want\n%s", got, test.want)
			}
		})
	}
}
