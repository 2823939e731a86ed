package outbox_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// silence silences a code for a time from now on, and returns when that ends.
func (s *store) silence(code string, length time.Duration) time.Time {
	s.Helper()
	until := time.Now().Add(length).Truncate(time.Millisecond).UTC()
	if err := s.box.Silence(s.Context(), outbox.Silence{Code: code, Until: until}); err != nil {
		s.Fatal(err)
	}
	return until
}

// endSilence ends the silence of a code.
func (s *store) endSilence(code string) {
	s.Helper()
	if ended, err := s.box.EndSilence(s.Context(), code); err != nil || !ended {
		s.Fatalf("ended: %t, %v", ended, err)
	}
}

// silencedUntil is the answer to an event that is silenced.
func silencedUntil(until time.Time) string {
	if until.Format(time.DateOnly) != time.Now().UTC().Format(time.DateOnly) {
		return "silenced until " + until.Format("2006-01-02 15:04 UTC")
	}
	return "silenced until " + until.Format("15:04 UTC")
}

func TestSilencedEventsAreCountedAndNothingIsUsedUp(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1,3,10")
		until := s.silence("11200", time.Hour)
		silent := silencedUntil(until)
		s.want(s.record(event("NO1", "11200")), silent)
		s.want(s.record(event("NO2", "11200"), event("NO3", "11200"), event("NO6", "30003")), silent, silent, "alert")
		s.want(s.record(alert.Event{ID: "alarm", Kind: alert.Alarm, Level: alert.Error, Code: "11200"}), silent)
		s.endSilence("11200")
		got := s.record(event("NO4", "11200"))
		if !strings.Contains(got[0], "(4th today)") {
			s.Errorf("after the silence the next event is answered %q, want an alert as the 4th", got[0])
		}
		s.want(s.record(event("NO5", "11200")), "5th 11200 today, next alert at the 10th")
	})
}

func TestSilenceOfAllCodes(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1; any at 1")
		silent := silencedUntil(s.silence(outbox.AllCodes, 2*time.Hour))
		s.silence("11200", time.Hour)
		s.want(s.record(event("NO1", "11200"), event("NO2", "30003"), event("NO3", "")), silent, silent, silent)
		s.endSilence(outbox.AllCodes)
		s.want(s.record(event("NO4", "30003")), "alert")
	})
}

func TestSilenceEndsByItselfAndSurvivesARestart(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		until := s.silence("11200", time.Hour)
		s.open()
		silences, err := s.box.Silences(s.Context(), time.Now())
		if err != nil || !slices.Equal(silences, []outbox.Silence{{Code: "11200", Until: until}}) {
			s.Errorf("silences %v, %v", silences, err)
		}
		if silences, err = s.box.Silences(s.Context(), until); err != nil || len(silences) != 0 {
			s.Errorf("silences at its end %v, %v", silences, err)
		}
		s.want(s.record(event("NO1", "11200")), silencedUntil(until))
		s.silence("11200", -time.Second)
		s.want(s.record(event("NO2", "11200")), "alert")
		if ended, err := s.box.EndSilence(s.Context(), "11200"); err != nil || ended {
			s.Errorf("a silence that is over was ended: %t, %v", ended, err)
		}
	})
}

func TestWhatCanBeSilenced(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 5, 0, 0, time.UTC)
	for _, test := range []struct{ code, length, want string }{
		{"11200", "2h", "11200 until 2026-11-25 14:05"},
		{"all", "30m", "all until 2026-11-25 12:35"},
		{"30003", "tomorrow", "30003 until 2026-11-26 00:00"},
		{"11200", "0s", "between 1m and 720h"},
		{"11200", "721h", "between 1m and 720h"},
		{"11200", "2", "expected a duration"},
		{"", "2h", "expected a code"},
		{"any", "2h", "expected a code"},
		{"12", "2h", "expected a code"},
		{"11200' OR 1", "2h", "expected a code"},
	} {
		silence, err := outbox.ParseSilence(test.code, test.length, now)
		got := silence.Code + " until " + silence.Until.Format("2006-01-02 15:04")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, test.want) && !strings.Contains(got, test.want) {
			t.Errorf("%s for %s: %s, want %s", test.code, test.length, got, test.want)
		}
	}
}
