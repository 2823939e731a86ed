package outbox_test

import (
	"fmt"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestSMSInFlightAtACrashIsLookedForAndFound(t *testing.T) {
	eachEngine(t, func(s *store) { crash(s, true) })
}

func TestSMSInFlightAtACrashIsLookedForAndSent(t *testing.T) {
	eachEngine(t, func(s *store) { crash(s, false) })
}

// crash dies while the first SMS is in flight.
func crash(s *store, accepted bool) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			s.box.Close()
			return accepted, errInDoubt
		}
		return true, nil
	}
	s.work()
	s.record(event("NO1", "11200"))
	s.eventually("the SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
	s.open()
	s.work()
	s.elapse(20 * time.Second)
	if s.phones.Lookups() > 0 {
		s.Error("taken over before the lease ended")
	}
	s.elapse(11 * time.Second) // the lease is 30 s
	s.stands(1, outbox.Sent)
	s.texted(1)
	if s.phones.Lookups() == 0 {
		s.Error("the SMS in doubt was not looked for")
	}
}

func TestSMSInDoubtAndFoundIsNotSentAgain(t *testing.T) {
	eachEngine(t, func(s *store) { doubt(s, true) })
}

func TestSMSInDoubtAndNotFoundIsSentAgain(t *testing.T) {
	eachEngine(t, func(s *store) { doubt(s, false) })
}

func doubt(s *store, accepted bool) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return accepted, errInDoubt
		}
		return true, nil
	}
	s.work()
	s.record(event("NO1", "11200"))
	s.tried()
	s.elapse(11 * time.Second)
	s.stands(1, outbox.Sent)
	s.texted(1)
}

func TestRefusalKeepsTheDoubt(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Lag = 5 * time.Minute
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
			if n == 1 {
				return true, errInDoubt
			}
			return false, errNotAccepted
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.elapse(11 * time.Second)
		s.eventually("not found, and refused", func() bool { return s.phones.Attempts() >= 2 })
		s.stands(1, outbox.Sending)
		s.settled()
		s.elapse(10 * time.Minute)
		s.stands(1, outbox.Sent)
		s.texted(1)
	})
}

func TestTwoSMSOfTheSameTextInDoubtAreTwoSMS(t *testing.T) {
	eachEngine(t, func(s *store) { twoInDoubt(s, true) })
}

func TestOfTwoSMSOfTheSameTextInDoubtOneWasAccepted(t *testing.T) {
	eachEngine(t, func(s *store) { twoInDoubt(s, false) })
}

func twoInDoubt(s *store, accepted bool) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n <= 2 {
			return n == 1 || accepted, errInDoubt
		}
		return true, nil
	}
	s.work()
	mock := alert.Event{Kind: alert.Alarm, Code: "11200", Level: alert.Error}
	s.record(mock, mock)
	s.eventually("both attempts are noted", func() bool { return s.count("sms WHERE error <> ''") == 2 })
	for range 3 {
		s.elapse(25 * time.Second)
		s.settled()
	}
	s.stands(2, outbox.Sent)
	s.texted(2)
}

// TestSMSAcceptedAtACrashIsFoundAfterGiveUpAfter: one last look tells that
// Twilio has it; nothing is sent any more.
func TestSMSAcceptedAtACrashIsFoundAfterGiveUpAfter(t *testing.T) {
	for name, test := range map[string]struct {
		accepted bool
		want     outbox.Status
	}{
		"accepted":     {true, outbox.Sent},
		"not accepted": {false, outbox.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(s *store) {
				s.open()
				s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
					s.box.Close()
					return test.accepted, errInDoubt
				}
				s.work()
				s.record(event("NO1", "11200"))
				s.eventually("the SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
				s.rest()
				s.elapse(25 * time.Hour)
				s.open()
				s.work()
				s.stands(1, test.want)
				if n := s.phones.Attempts(); n != 1 || s.phones.Lookups() != 1 {
					s.Errorf("%d attempts and %d look-ups, want 1 and 1", n, s.phones.Lookups())
				}
			})
		})
	}
}

// TestProcessNeverClaimsWhatItIsSending, though the clock jumped an hour ahead.
func TestProcessNeverClaimsWhatItIsSending(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		answer := make(chan struct{})
		s.phones.Fault = func(int, alert.SMS) (bool, error) {
			<-answer
			return true, nil
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.eventually("the SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
		s.exec("UPDATE sms SET next_at = next_at - 3600000, attempt_at = attempt_at - 3600000")
		time.Sleep(5 * time.Second) // for a worker that would claim it again
		close(answer)
		s.stands(1, outbox.Sent)
		s.texted(1)
		if s.phones.Lookups() != 0 {
			s.Error("it was claimed a second time")
		}
	})
}

// TestClockThatJumpsBackMakesNothingWait longer than it would.
func TestClockThatJumpsBackMakesNoEventWait(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Lag = 5 * time.Minute
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n > 1, errorUnless(n > 1, errInDoubt) }
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.want(s.record(about("NO2", "30003", "SM99999999999999999999999999999999")), waits)
		s.exec(fmt.Sprintf("UPDATE waiting SET since = since + %d", 9*3600*1000))
		s.elapse(30 * time.Second)
		s.eventually("it is decided", func() bool { return s.count("waiting") == 0 })
		s.texted(2)
	})
}

func TestClockThatJumpsBackMakesNothingWait(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 2
		s.openAlerting("* every 1")
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(1)
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n > 2, errNotAccepted }
		s.record(event("NO2", "11200"))
		s.tried()
		s.rest()
		const hours = 9 * 3600 * 1000
		s.exec(fmt.Sprintf("UPDATE sms SET created = created + %d, next_at = next_at + %d, attempt_at = attempt_at + %d", hours, hours, hours))
		s.exec(fmt.Sprintf("UPDATE sms SET sent_at = sent_at + %d WHERE sent_at > 0", hours))
		s.phones.Fault = nil
		s.work()
		s.texted(2)
		s.want(s.record(event("NO3", "11200")), "alert") // what was sent in the future is in no hour
		s.texted(3)
	})
}
