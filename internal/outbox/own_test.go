package outbox_test

import (
	"errors"
	"fmt"
	"strings"
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

const waits = "waits: perhaps about an SMS of our own"

func TestNorDoesOneThatComesBeforeTwiliosAnswer(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Accepted = func(sid string, _ alert.SMS) { s.want(s.record(about("NO2", "30003", sid)), waits) }
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		if got := s.decided("NO2"); got != "an SMS of our own" {
			s.Errorf("it was decided as %q", got)
		}
		s.texted(1)
		if s.count("sms WHERE error = '30003'") != 1 || s.count("counts WHERE code = '30003' AND period = 'daily'") != 0 {
			s.Error("the error is not noted on the SMS, or was counted")
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
		s.want(s.record(about("NO2", "30003", s.phones.Log()[0].SID)), waits)
		s.elapse(11 * time.Second)
		s.stands(1, outbox.Sent)
		if got := s.decided("NO2"); got != "an SMS of our own" {
			s.Errorf("it was decided as %q", got)
		}
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
		s.want(s.record(about("NO2", "30003", s.phones.Log()[0].SID)), waits)
		s.elapse(12 * time.Second)
		s.eventually("not found, and refused", func() bool { return s.phones.Attempts() >= 2 })
		s.settled()
		s.elapse(10 * time.Minute)
		s.stands(1, outbox.Sent)
		if got := s.decided("NO2"); got != "an SMS of our own" {
			s.Errorf("it was decided as %q", got)
		}
		s.texted(1)
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
		s.eventually("no event waits", func() bool { return s.count("waiting") == 0 })
		s.texted(10)
		if n := s.count("sms"); n != 10 {
			s.Errorf("%d SMS were written, want 10", n)
		}
	})
}

func TestOurOwnErrorsAreInNoCount(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1,3")
		s.phones.Accepted = func(sid string, _ alert.SMS) { s.record(about("NO2", "30003", sid)) }
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		s.decided("NO2")
		s.phones.Accepted = nil
		s.want(s.record(event("NO3", "30003"), event("NO4", "30003")), "alert", "2nd 30003 today, next alert at the 3rd")
		s.texted(2)
	})
}

// TestNineErrorsOfCustomersAndOneOfOurs come in one delivery: the customers' are
// counted and told, ours is not.
func TestNineErrorsOfCustomersAndOneOfOurs(t *testing.T) {
	for name, before := range map[string]bool{"before Twilio's answer": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(s *store) {
				s.open()
				deliver := func(sid string) {
					var events []alert.Event
					for i := range 9 {
						events = append(events, about(fmt.Sprint("NO of a customer ", i), "30003", fmt.Sprintf("SMf%031x", i)))
					}
					s.record(append(events, about("NO of ours", "30003", sid))...)
				}
				if before {
					s.phones.Accepted = func(sid string, sms alert.SMS) {
						if strings.Contains(sms.Body, "11200") {
							deliver(sid)
						}
					}
				}
				s.work()
				s.record(event("NO1", "11200"))
				s.eventually("the first SMS", func() bool { return s.count("sms WHERE status = 'sent'") > 0 })
				if !before {
					deliver(s.phones.Log()[0].SID)
				}
				s.decided("NO of ours")
				s.texted(2)
				if len(s.phones.Bodies("30003")) != 1 {
					s.Errorf("the SMS are %v", s.phones.Log())
				}
				s.want(s.record(event("NO2", "30003")), "alert")
				s.texted(3)
				if len(s.phones.Bodies("(10th today)")) != 1 {
					s.Errorf("the next error of a customer is not the 10th: %v", s.phones.Log())
				}
			})
		})
	}
}

// firstInFlight records an alert, and returns what ends the sending of its SMS.
func (s *store) firstInFlight() (land func()) {
	s.Helper()
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
	return func() { close(first) }
}

func TestEventAboutAMessageWaitsOnlyForSMSInFlight(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		land := s.firstInFlight()
		s.want(s.record(about("NO2", "30003", "SMffffffffffffffffffffffffffffffff"), event("NO3", "11210")), waits, "alert")
		s.eventually("the alert about a call is sent", func() bool { return len(s.phones.Bodies("11210")) == 1 })
		if got := s.phones.Bodies("30003"); len(got) > 0 {
			s.Error("the alert about a message did not wait for the SMS in flight")
		}
		land()
		s.texted(3)
	})
}

// TestEventsThatWaitAreDecidedEachForItself: each real error alerts where each
// is to, however many waited together.
func TestEventsThatWaitAreDecidedEachForItself(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		land := s.firstInFlight()
		for i := range 5 {
			s.want(s.record(about(fmt.Sprint("NO of a customer ", i), "30003", fmt.Sprintf("SMf%031x", i))), waits)
		}
		s.want(s.record(about("NO of a customer 2", "30003", "SMf0000000000000000000000000000002")), "seen before")
		land()
		s.decided("NO of a customer 4")
		s.texted(6)
	})
}

// TestEventWaitsForAnHourAtMost while an SMS stays in doubt.
func TestEventWaitsForAnHourAtMost(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(n int, sms alert.SMS) (bool, error) {
			if strings.Contains(sms.Body, "11200") {
				return false, errInDoubt
			}
			return true, nil
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.want(s.record(about("NO2", "30003", "SMffffffffffffffffffffffffffffffff")), waits)
		s.elapse(30 * time.Minute)
		s.elapse(3 * time.Second)
		if n := s.count("waiting"); n != 1 {
			s.Fatalf("%d events wait after half an hour, want 1", n)
		}
		s.elapse(31 * time.Minute)
		if got := s.decided("NO2"); got != "alerted" {
			s.Errorf("it was decided as %q", got)
		}
		s.eventually("its SMS", func() bool { return len(s.phones.Bodies("30003")) == 1 })
	})
}

// TestEventsWaitOverARestart of the program, and no longer for it.
func TestEventsWaitOverARestart(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n > 1, errInDoubt }
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.want(s.record(about("NO2", "30003", "SMffffffffffffffffffffffffffffffff")), waits)
		s.open()
		s.phones.Fault = nil
		s.elapse(5 * time.Second) // the first look finds that it waits still
		s.work()
		s.elapse(12 * time.Second)
		s.decided("NO2")
		s.texted(2)
	})
}

// TestEveryCopyOfAnSMSIsOurs: a time-out on the way had Twilio accept it twice.
func TestEveryCopyOfAnSMSIsOurs(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Sent)
		id := s.phones.Log()[0].ID
		const copied = "SMcccccccccccccccccccccccccccccccc"
		for _, status := range []string{"queued", "sent", "undelivered"} {
			if _, err := s.box.Deliver(s.Context(), alert.Report{ID: id, SID: copied, Status: status, Code: map[string]string{"undelivered": "30003"}[status]}); err != nil {
				s.Fatal(err)
			}
		}
		s.want(s.record(about("NO2", "30003", copied)), "an SMS of our own")
		const other = "SMdddddddddddddddddddddddddddddddd" // Twilio may say more than it does today
		if _, err := s.box.Deliver(s.Context(), alert.Report{ID: id, SID: other, Status: "partially_delivered"}); err != nil {
			s.Fatal(err)
		}
		s.want(s.record(about("NO3", "30003", other)), "an SMS of our own")
		s.stands(1, outbox.Sent)
		s.texted(1)
	})
}

// TestRefusedRequestsOfOurOwnDoNotBreed: they make no message, so their events
// name none. One for each refusal is ours, at that time and with that code.
func TestRefusedRequestsOfOurOwnDoNotBreed(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.Account = account
		s.openAlerting("* every 1")
		s.phones.Fault = func(int, alert.SMS) (bool, error) {
			return false, &alert.SendError{Outcome: alert.Refused, Code: "21610", Err: errors.New("unsubscribed")}
		}
		s.work()
		refused := func(id, code string, at time.Time) alert.Event {
			e := about(id, code, "")
			e.Time = at
			return e
		}
		s.want(s.record(event("NO1", "11200")), "alert")
		s.stands(1, outbox.Failed)
		now := time.Now()
		s.want(s.record(refused("NO2", "21608", now)), "alert")
		s.stands(2, outbox.Failed)
		s.want(s.record(refused("NO3", "21610", now)), "an SMS of our own")
		s.want(s.record(refused("NO3", "21610", now)), "seen before")
		s.want(s.record(refused("NO4", "21610", now)), "an SMS of our own")
		s.want(s.record(refused("NO5", "21610", now)), "alert") // a customer's
		s.stands(3, outbox.Failed)
		s.want(s.record(refused("NO6", "21610", now.Add(-time.Hour))), "alert")
		s.stands(4, outbox.Failed)
	})
}

// TestAlarmWhileTwilioRefusesUs: attempts that Twilio does not log as errors are
// in no Alarm's count, so they must not silence one.
func TestAlarmWhileTwilioRefusesUs(t *testing.T) {
	for _, refusal := range []*alert.SendError{
		{Outcome: alert.Blocked, Code: "20003", Err: errors.New("rotated")},
		{Outcome: alert.NotAccepted, Code: "20429", Err: errors.New("busy")},
	} {
		t.Run(refusal.Code, func(t *testing.T) {
			eachEngine(t, func(s *store) {
				s.open()
				s.phones.Fault = func(int, alert.SMS) (bool, error) { return false, refusal }
				s.work()
				s.record(event("NO1", "11200"))
				for n := range 3 {
					s.eventually("another attempt", func() bool { return s.phones.Attempts() > n })
					s.settled()
					s.elapse(time.Minute)
				}
				s.want(s.record(alert.Event{Kind: alert.Alarm, Code: "12100", Count: 1, Period: "ONE_DAY", Description: "Any Warning or Error", Level: alert.Error}), "alert")
			})
		})
	}
}

// TestAlarmThatCountsOurFailedSMS tells of nothing else.
func TestAlarmThatCountsOurFailedSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.Account = account
		s.options.Recipients = []string{alice, bob}
		s.open()
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(2)
		for i, sms := range s.phones.Log() {
			s.record(about(fmt.Sprint("NO of ours ", i), "30003", sms.SID))
			if _, err := s.box.Deliver(s.Context(), alert.Report{ID: sms.ID, SID: sms.SID, Status: "undelivered", Code: "30003"}); err != nil {
				s.Fatal(err)
			}
		}
		alarm := func(code string, n int64, period, description, of string) string {
			e := alert.Event{Kind: alert.Alarm, Code: code, Count: n, Period: period, Description: description, Level: alert.Error, Account: of, Time: time.Now()}
			return s.record(e)[0]
		}
		own := func(n int) string { return fmt.Sprintf("an SMS of our own: it counted %d, and 2 of ours failed", n) }
		for _, test := range []struct {
			name, got, want string
		}{
			{"as many as failed", alarm("30003", 2, "ONE_DAY", "Unreachable", account), own(2)},
			{"fewer", alarm("30003", 1, "FIVE_MINS", "Unreachable", account), own(1)},
			{"of today", alarm("30003", 2, "daily", "Unreachable", account), own(2)},
			{"an account that is not named", alarm("30003", 2, "ONE_HOUR", "Unreachable", ""), own(2)},
			{"all codes", alarm("30005", 2, "ONE_DAY", "Any Warning or Error", account), own(2)},
			{"more than failed", alarm("30003", 3, "ONE_DAY", "Unreachable", account), "alert"},
			{"another code", alarm("30005", 1, "ONE_DAY", "Unknown", account), "alert"},
			{"another account", alarm("30003", 2, "ONE_DAY", "Unreachable", "ACffffffffffffffffffffffffffffffff"), "alert"},
			{"no count", alarm("30003", 0, "ONE_DAY", "Unreachable", account), "alert"},
		} {
			if got := test.got; got != test.want && !(test.want == "alert" && strings.HasPrefix(got, "An error on your Twilio app")) {
				s.Errorf("%s: got %q, want %q", test.name, got, test.want)
			}
		}
		s.elapse(6 * time.Minute)
		if got := alarm("30003", 2, "FIVE_MINS", "Unreachable", account); !strings.HasPrefix(got, "An error on your Twilio app") {
			s.Errorf("after the window of the alarm: got %q, want an alert", got)
		}
	})
}
