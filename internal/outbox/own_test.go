package outbox_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestErrorAboutOurOwnSMSNeverAlerts(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		s.want(s.record(about("NO2", "30003", s.phones.Log()[0].SID), event("NO3", "11200")), "an SMS of our own", "alert")
		s.texted(2)
		if s.count("sms WHERE error = '30003'") != 1 {
			s.Error("the error is not noted on the SMS")
		}
		s.want(s.record(about("NO4", "30003", "SMffffffffffffffffffffffffffffffff")), "alert")
		s.texted(3)
	})
}

func TestNorDoesOneThatComesBeforeTwiliosAnswer(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Accepted = func(sid string, _ alert.SMS) { s.record(about("NO2", "30003", sid)) }
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
		s.texted(1)
		if s.count("events WHERE decision = 'an SMS of our own'") != 1 || s.count("sms WHERE error = '30003'") != 1 {
			s.Error("the history does not tell what became of the event")
		}
	})
}

func TestNorDoesOneWhileTheSendIsInDoubt(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return true, errInDoubt }
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.record(about("NO2", "30003", s.phones.Log()[0].SID))
		s.elapse(11 * time.Second)
		s.stands(1, outbox.Sent)
		s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
		s.texted(1)
	})
}

func TestNorDoesOneWhileTheSendInDoubtIsTriedAgain(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Lag = 5 * time.Minute
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
			if n == 1 {
				return true, errInDoubt
			}
			return false, errNotAccepted // what is in doubt stays so
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.record(about("NO2", "30003", s.phones.Log()[0].SID))
		s.elapse(12 * time.Second)
		s.eventually("not found, and refused", func() bool { return s.phones.Attempts() >= 2 })
		time.Sleep(3 * time.Second) // for a worker that would send the other meanwhile
		s.elapse(10 * time.Minute)
		s.stands(1, outbox.Sent)
		s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
		s.texted(1)
		if n := s.count("events WHERE decision = 'an SMS of our own'"); n != 1 {
			s.Errorf("%d events are about an SMS of our own, want 1", n)
		}
	})
}

// TestErrorsAboutOurOwnSMSDoNotBreed is the loop of the fake Twilio that
// reports each alert as a new error, by all three orders of arrival.
func TestErrorsAboutOurOwnSMSDoNotBreed(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.Recipients = []string{alice, bob}
		s.openAlerting("* every 1")
		var n atomic.Int64
		report := func(sid string) { s.record(about(fmt.Sprint("NO of an SMS ", n.Add(1)), "30003", sid)) }
		s.phones.Fault = func(n int, sms alert.SMS) (bool, error) {
			if n%3 == 0 {
				return true, errInDoubt
			}
			return true, nil
		}
		s.phones.Accepted = func(sid string, sms alert.SMS) {
			if n.Load()%2 == 0 {
				report(sid)
			}
		}
		s.work()
		for i := range 5 {
			s.record(event(fmt.Sprint("NO", i), "11200"))
		}
		s.eventually("10 SMS", func() bool { return len(s.phones.Log()) == 10 })
		for _, sms := range s.phones.Log() {
			report(sms.SID)
		}
		for range 3 {
			s.elapse(12 * time.Second)
			time.Sleep(50 * time.Millisecond)
		}
		s.stands(10, outbox.Sent)
		s.eventually("all other alerts are taken back", func() bool { return s.count("sms") == 10 })
		s.texted(10)
	})
}

func TestAlertTakenBackIsNotCounted(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1,3")
		s.phones.Accepted = func(sid string, _ alert.SMS) { s.record(about("NO2", "30003", sid)) }
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
		s.phones.Accepted = nil
		s.want(s.record(event("NO3", "30003"), event("NO4", "30003")), "alert", "2nd 30003 today, next alert at the 3rd")
		s.texted(2)
	})
}

func TestAlertAboutAMessageWaitsOnlyForSMSInFlight(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		first := make(chan struct{})
		s.phones.Fault = func(n int, sms alert.SMS) (bool, error) {
			if n == 1 {
				<-first
			}
			return true, nil
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.eventually("the first SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
		s.record(about("NO2", "30003", "SMffffffffffffffffffffffffffffffff"), event("NO3", "11210"))
		s.eventually("the alert about a call is sent", func() bool { return len(s.phones.Bodies("11210")) == 1 })
		if got := s.phones.Bodies("30003"); len(got) > 0 {
			s.Error("the alert about a message did not wait for the SMS in flight")
		}
		close(first)
		s.texted(3)
	})
}
