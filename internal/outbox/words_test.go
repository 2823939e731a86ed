package outbox_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// atNight runs a test in a bubble that begins at 23:57 UTC on 2000-01-01, on
// SQLite: Postgres has a clock of its own.
func atNight(t *testing.T, test func(*store)) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(24*time.Hour - 3*time.Minute)
		s := &store{T: t, address: address, bubble: true, began: time.Now(), phones: new(phones), options: defaults(t, alert.DefaultTriggers)}
		defer s.close()
		test(s)
	})
}

// TestAnSMSIsWordedForTheMomentItIsSent, whatever kept it waiting.
func TestAnSMSIsWordedForTheMomentItIsSent(t *testing.T) {
	for name, test := range map[string]struct {
		text, want string
		wait       time.Duration
		err        error // of every attempt before the last, if there are any
	}{
		"at once":                           {"", "(1st today)", 0, nil},
		"after midnight":                    {"", "(1st of 2000-01-01, at 23:57 UTC)", 5 * time.Minute, nil},
		"Twilio unreachable until 00:12":    {"", "(1st of 2000-01-01, at 23:57 UTC)", 15 * time.Minute, errNotAccepted},
		"Twilio fails until 00:12":          {"", "(1st of 2000-01-01, at 23:57 UTC)", 15 * time.Minute, errInDoubt},
		"a text without {count} and {time}": {"{code} {description}", "(2000-01-01 23:57 UTC) https", 5 * time.Minute, nil},
		"a text with {count}":               {"{code} {count}", "1st of 2000-01-01, at 23:57 UTC", 5 * time.Minute, nil},
		"a text with {time}":                {"{code} {time}", "11200 2000-01-01 23:57 UTC https", 5 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			atNight(t, func(s *store) {
				s.options.Text, _ = alert.ParseText(test.text)
				s.open()
				end := time.Now().Add(test.wait)
				s.phones.Fault = func(int, alert.SMS) (bool, error) {
					accepted := !time.Now().Before(end)
					return accepted, errorUnless(accepted, test.err)
				}
				if test.err != nil {
					s.work()
				}
				s.record(event("NO1", "11200"))
				time.Sleep(test.wait)
				if test.err == nil {
					s.work()
				} else {
					s.elapse(6 * time.Minute) // the longest pause between two attempts
				}
				s.texted(1)
				if got := s.phones.Log()[0].Body; !strings.Contains(got, test.want) {
					s.Errorf("at %s the SMS reads %q, want %q", time.Now().Format("15:04"), got, test.want)
				}
				if s.count(`sms WHERE status = 'sent' AND body LIKE '%https%'`) != 1 {
					s.Error("the outbox does not have the SMS as it was sent")
				}
			})
		})
	}
}

// TestAnSMSInDoubtIsFoundByEitherWording: it was accepted before midnight and is
// looked for after it.
func TestAnSMSInDoubtIsFoundByEitherWording(t *testing.T) {
	atNight(t, func(s *store) {
		s.open()
		s.phones.Lag = 10 * time.Minute
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n == 1, errInDoubt }
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.elapse(11 * time.Minute)
		s.stands(1, outbox.Sent)
		s.texted(1)
	})
}

func TestLateErrorSaysWhenItHappened(t *testing.T) {
	atNight(t, func(s *store) {
		s.openAlerting("* every 1")
		s.work()
		time.Sleep(5 * time.Minute) // it is 00:02
		late, now := event("NO1", "11200"), event("NO2", "11200")
		late.Time, now.Time = time.Now().Add(-5*time.Minute), time.Now()
		s.record(late)
		s.record(now)
		s.texted(2)
		for _, want := range []string{"(1st of 2000-01-01, at 23:57 UTC)", "(1st today)"} {
			if len(s.phones.Bodies(want)) != 1 {
				s.Errorf("no SMS says %q: %v", want, s.phones.Log())
			}
		}
	})
}

func TestSummaryOfAnotherDaySaysItsDate(t *testing.T) {
	for name, test := range map[string]struct {
		wait time.Duration
		want string
	}{
		"the next hour, after midnight": {61 * time.Minute, "1 alert held back since 2000-01-01 23:57 UTC: 11200 x1"},
		"six days later":                {6 * 24 * time.Hour, "1 alert held back since 2000-01-01 23:57 UTC: 11200 x1"},
	} {
		t.Run(name, func(t *testing.T) {
			atNight(t, func(s *store) {
				s.options.PerHour = 1
				s.openAlerting("* every 1")
				s.work()
				s.record(event("NO1", "11200"))
				s.texted(1)
				s.want(s.record(event("NO2", "11200")), "held: 1 SMS in an hour")
				s.elapse(test.wait)
				s.texted(2)
				if len(s.phones.Bodies(test.want)) != 1 {
					s.Errorf("the SMS are %v, want %q", s.phones.Log(), test.want)
				}
			})
		})
	}
}

// TestErrorThatIsNoNewsByAShortGiveUpAfter: Event Streams deliver for four hours.
func TestErrorThatIsNoNewsByAShortGiveUpAfter(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.GiveUpAfter = time.Hour
		s.openAlerting("* every 1")
		late := event("NO1", "11200")
		late.Time = time.Now().Add(-3 * time.Hour)
		if got := s.record(late)[0]; !strings.HasPrefix(got, "too old to alert: it happened at ") {
			s.Errorf("got %q", got)
		}
	})
}
