package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// cases are the suite, in the user's words.
var cases = map[string]func(*store){
	"an event seen twice is one alert":                       eventTwice,
	"a redelivery in the same batch is seen before":          redeliveryInBatch,
	"events without an identity are always news":             noIdentity,
	"the answers say what was decided":                       answers,
	"counts are kept by account and code":                    countsApart,
	"counts and events survive a restart":                    restart,
	"a batch that jumps over values alerts once":             jump,
	"each recipient gets an SMS":                             eachRecipient,
	"beyond SMS_PER_HOUR alerts are held and summed up":      perHour,
	"SMS_PER_HOUR is a sliding hour":                         slidingHour,
	"SMS_PER_HOUR is counted for each phone":                 hourOfEachPhone,
	"what waits counts against SMS_PER_HOUR":                 waitingCounts,
	"held alerts about our own SMS are not summed up":        heldOwn,
	"an error about our own SMS never alerts":                ownAfterAnswer,
	"nor does one that comes before Twilio's answer":         ownBeforeAnswer,
	"nor does one while the send is in doubt":                ownInDoubt,
	"nor does one while the send in doubt is tried again":    ownInDoubtAgain,
	"errors about our own SMS do not breed":                  noBreeding,
	"an alert taken back is not counted":                     retractedCount,
	"an alert about a message waits only for SMS in flight":  aboutOthers,
	"delivery reports move forward only":                     reports,
	"a delivery report comes before Twilio's answer":         reportBeforeAnswer,
	"a delivery report settles a send in doubt":              reportSettles,
	"a delivery report of an unknown SMS is no news":         reportUnknown,
	"two workers never send the same SMS":                    twoWorkers,
	"an SMS in flight at a crash is looked for, and found":   crashAfterSend,
	"an SMS in flight at a crash is looked for, and sent":    crashBeforeSend,
	"an SMS in doubt and found is not sent again":            doubtFound,
	"an SMS in doubt and not found is sent again":            doubtNotFound,
	"a refusal keeps the doubt":                              doubtStays,
	"two SMS of the same text in doubt are two SMS":          doubtOfTwo,
	"of two SMS of the same text in doubt one was accepted":  doubtOfTwoHalf,
	"an SMS refused for good has failed":                     refused,
	"an SMS not accepted is tried again":                     triedAgain,
	"GIVE_UP_AFTER ends the attempts, and health tells":      giveUp,
	"a purge keeps what waits and the running counts":        purge,
	"health tells of overdue and lost SMS":                   health,
	"Record while closing stores or says that it did not":    closing,
	"hundreds of concurrent Records add up":                  concurrent,
	"NUL and broken UTF-8 do not poison a batch":             poison,
	"a sender's broken error text does not poison an SMS":    poisonedError,
	"a caller that has gone records nothing":                 gone,
	"nothing to record is no work":                           nothing,
	"a database of a newer program is refused":               newerSchema,
	"the observer is told of commits, events and settlement": observed,
}

func eventTwice(s *store) {
	s.openAlerting("* every 1")
	s.work()
	s.want(s.record(Event("NO1", "11200")), "alert")
	s.want(s.record(Event("NO1", "11200")), "seen before")
	s.texted(1)
}

func redeliveryInBatch(s *store) {
	s.open()
	s.want(s.record(Event("NO1", "11200"), Event("NO2", "11200"), Event("NO1", "11200")),
		"alert", "2nd 11200 today, next alert at the 10th", "seen before")
}

func noIdentity(s *store) {
	s.open()
	s.work()
	mock := alert.Event{Kind: alert.Alarm, Code: "11200", Level: alert.Error}
	s.want(s.record(mock, mock), "alert", "alert")
	s.want(s.record(mock), "alert")
	s.texted(3)
}

func answers(s *store) {
	s.openAlerting("* at 1,10 daily; 30003 never; 11210 every 2 hourly")
	var ten []string
	for i := range 10 {
		ten = append(ten, s.record(Event(fmt.Sprint("NO", i), "11200"))[0])
	}
	if !strings.HasSuffix(ten[9], "(10th today) https://www.twilio.com/docs/api/errors/11200") {
		s.Errorf("the tenth reads %q", ten[9])
	}
	s.want([]string{ten[0], ten[1], ten[2], ten[9]},
		"alert", "2nd 11200 today, next alert at the 10th", "3rd 11200 today, next alert at the 10th", "alert")
	s.want(s.record(Event("NO10", "11200"), Event("NO11", "30003"), Event("NO12", "11210")),
		"11th 11200 today, no more alerts today", "30003 never alerts", "1st 11210 this hour, next alert at the 2nd")
	warning, test := Event("NO13", "12200"), alert.Event{ID: "test", Kind: alert.Other, Description: "a test event"}
	warning.Level = alert.Warning
	s.want(s.record(warning, test), "warning 12200, counted nowhere", "no error: a test event")
}

func countsApart(s *store) {
	s.open()
	other := Event("NO4", "11200")
	other.Account = "ACffffffffffffffffffffffffffffffff"
	s.want(s.record(Event("NO1", "11200"), Event("NO2", "11200"), Event("NO3", "30007"), other),
		"alert", "2nd 11200 today, next alert at the 10th", "alert", "alert")
}

func restart(s *store) {
	s.open()
	s.record(Event("NO1", "11200"))
	s.record(Event("NO2", "11200"))
	s.open()
	s.want(s.record(Event("NO2", "11200"), Event("NO3", "11200")), "seen before", "3rd 11200 today, next alert at the 10th")
	s.work()
	s.texted(1)
}

func jump(s *store) {
	s.open()
	s.work()
	var batch []alert.Event
	for i := range 12 {
		batch = append(batch, Event(fmt.Sprint("NO", i), "11200"))
	}
	got := s.record(batch...)
	s.want([]string{got[0], got[9], got[11]}, "part of the alert for the 10th", "alert", "12th 11200 today, next alert at the 100th")
	s.texted(1)
	if len(s.phones.Bodies("10th today")) != 1 {
		s.Errorf("the SMS is not of the 10th: %v", s.phones.Log())
	}
}

func eachRecipient(s *store) {
	s.options.Recipients = []string{Alice, Bob}
	s.open()
	s.work()
	s.record(Event("NO1", "11200"))
	s.texted(2)
	if log := s.phones.Log(); log[0].To == log[1].To || log[0].Body != log[1].Body {
		s.Errorf("got %v", log)
	}
}

func perHour(s *store) {
	s.options.PerHour = 3
	s.openAlerting("* every 1")
	s.work()
	for i := range 3 {
		s.want(s.record(Event(fmt.Sprint("NO", i), "11200")), "alert")
	}
	s.texted(3)
	s.want(s.record(Event("NO3", "30007"), Event("NO4", "11200")), "held: 3 SMS in an hour", "held: 3 SMS in an hour")
	s.want(s.record(Event("NO5", "30007")), "held: 3 SMS in an hour")
	s.elapse(59 * time.Minute)
	s.texted(3)
	s.elapse(2 * time.Minute)
	s.texted(4)
	summary := s.phones.Log()[3].Body
	if !strings.HasPrefix(summary, "3 alerts held back since ") || !strings.HasSuffix(summary, ": 30007 x2, 11200 x1 https://www.twilio.com/docs/api/errors") {
		s.Errorf("the summary reads %q", summary)
	}
	s.elapse(10 * time.Minute)
	s.want(s.record(Event("NO6", "11200")), "alert")
	s.texted(5)
}

func slidingHour(s *store) {
	s.options.PerHour = 2
	s.openAlerting("* every 1")
	s.work()
	s.want(s.record(Event("NO1", "11200")), "alert")
	s.texted(1)
	s.elapse(30 * time.Minute)
	s.want(s.record(Event("NO2", "11200")), "alert")
	s.texted(2)
	s.elapse(15 * time.Minute)
	s.want(s.record(Event("NO3", "11200")), "held: 2 SMS in an hour")
	s.elapse(16 * time.Minute) // the first is out of the hour, the second is not
	s.texted(3)
	s.want(s.record(Event("NO4", "11200")), "held: 2 SMS in an hour")
	s.elapse(30 * time.Minute) // the second as well
	s.texted(4)
	if got := s.phones.Bodies("1 alert held back since"); len(got) != 2 {
		s.Errorf("the summaries are %q", got)
	}
}

func hourOfEachPhone(s *store) {
	s.options.PerHour = 1
	s.openAlerting("* every 1")
	s.work()
	s.record(Event("NO1", "11200"))
	s.texted(1)
	s.options.Recipients = []string{Alice, Bob}
	s.open()
	s.work()
	s.want(s.record(Event("NO2", "11200")), "alert") // to Bob
	s.texted(2)
	if got := s.phones.Log()[1].To; got != Bob {
		s.Errorf("the second alert went to %s", got)
	}
	s.stands(1, outbox.Held)
}

func waitingCounts(s *store) {
	s.options.PerHour = 2
	s.openAlerting("* every 1")
	s.want(slices.Concat(s.record(Event("NO1", "11200")), s.record(Event("NO2", "11200")), s.record(Event("NO3", "11200"))),
		"alert", "alert", "held: 2 SMS in an hour")
	s.elapse(2 * time.Hour) // nothing was sent, all of it waits
	s.want(s.record(Event("NO4", "11200")), "held: 2 SMS in an hour")
	s.work()
	s.texted(2)
	s.elapse(61 * time.Minute)
	s.texted(3)
}

func heldOwn(s *store) {
	s.options.PerHour = 1
	s.openAlerting("* every 1")
	var once sync.Once
	s.phones.Accepted = func(sid string, _ alert.SMS) {
		once.Do(func() { s.record(About("NO2", "30003", sid), Event("NO3", "11200")) })
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.texted(1)
	s.stands(2, outbox.Held)
	s.elapse(61 * time.Minute)
	s.texted(2)
	if got := s.phones.Log()[1].Body; !strings.HasPrefix(got, "1 alert held back") || strings.Contains(got, "30003") {
		s.Errorf("the summary reads %q", got)
	}
}

func ownAfterAnswer(s *store) {
	s.openAlerting("* every 1")
	s.work()
	s.record(Event("NO1", "11200"))
	s.stands(1, outbox.Sent)
	s.want(s.record(About("NO2", "30003", s.phones.Log()[0].SID), Event("NO3", "11200")), "an SMS of our own", "alert")
	s.texted(2)
	if s.count("sms WHERE error = '30003'") != 1 {
		s.Error("the error is not noted on the SMS")
	}
	s.want(s.record(About("NO4", "30003", "SMffffffffffffffffffffffffffffffff")), "alert")
	s.texted(3)
}

func ownBeforeAnswer(s *store) {
	s.openAlerting("* every 1")
	s.phones.Accepted = func(sid string, _ alert.SMS) { s.record(About("NO2", "30003", sid)) }
	s.work()
	s.record(Event("NO1", "11200"))
	s.stands(1, outbox.Sent)
	s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
	s.texted(1)
	if s.count("events WHERE decision = 'an SMS of our own'") != 1 || s.count("sms WHERE error = '30003'") != 1 {
		s.Error("the history does not tell what became of the event")
	}
}

func ownInDoubt(s *store) {
	s.openAlerting("* every 1")
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return true, errInDoubt }
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.record(About("NO2", "30003", s.phones.Log()[0].SID))
	s.elapse(11 * time.Second)
	s.stands(1, outbox.Sent)
	s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
	s.texted(1)
}

func ownInDoubtAgain(s *store) {
	s.openAlerting("* every 1")
	s.phones.Lag = 5 * time.Minute
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return true, errInDoubt
		}
		return false, errNotAccepted // what is in doubt stays so
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.record(About("NO2", "30003", s.phones.Log()[0].SID))
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
}

// noBreeding is the loop of the fake Twilio that reports each alert as a new
// error, by all three orders of arrival.
func noBreeding(s *store) {
	s.options.Recipients = []string{Alice, Bob}
	s.openAlerting("* every 1")
	var n atomic.Int64
	report := func(sid string) { s.record(About(fmt.Sprint("NO of an SMS ", n.Add(1)), "30003", sid)) }
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
		s.record(Event(fmt.Sprint("NO", i), "11200"))
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
}

func retractedCount(s *store) {
	s.openAlerting("* at 1,3")
	s.phones.Accepted = func(sid string, _ alert.SMS) { s.record(About("NO2", "30003", sid)) }
	s.work()
	s.record(Event("NO1", "11200"))
	s.stands(1, outbox.Sent)
	s.eventually("the alert is taken back", func() bool { return s.count("sms") == 1 })
	s.phones.Accepted = nil
	s.want(s.record(Event("NO3", "30003"), Event("NO4", "30003")), "alert", "2nd 30003 today, next alert at the 3rd")
	s.texted(2)
}

func aboutOthers(s *store) {
	s.openAlerting("* every 1")
	first := make(chan struct{})
	s.phones.Fault = func(n int, sms alert.SMS) (bool, error) {
		if n == 1 {
			<-first
		}
		return true, nil
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.eventually("the first SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
	s.record(About("NO2", "30003", "SMffffffffffffffffffffffffffffffff"), Event("NO3", "11210"))
	s.eventually("the alert about a call is sent", func() bool { return len(s.phones.Bodies("11210")) == 1 })
	if got := s.phones.Bodies("30003"); len(got) > 0 {
		s.Error("the alert about a message did not wait for the SMS in flight")
	}
	close(first)
	s.texted(3)
}

func reports(s *store) {
	s.open()
	s.work()
	s.record(Event("NO1", "11200"))
	s.stands(1, outbox.Sent)
	sid := s.phones.Log()[0].SID
	for _, report := range []struct {
		status, code string
		news         bool
		then         outbox.Status
	}{
		{"queued", "", false, outbox.Sent},
		{"a word of the future", "", false, outbox.Sent},
		{"undelivered", "30034", true, outbox.Undelivered},
		{"undelivered", "30034", false, outbox.Undelivered},
		{"sent", "", false, outbox.Undelivered},
		{"delivered", "", false, outbox.Undelivered},
	} {
		news, err := s.box.Deliver(s.Context(), alert.Report{SID: sid, Status: report.status, Code: report.code})
		if err != nil || news != report.news {
			s.Errorf("%s: got %v, %v, want %v", report.status, news, err, report.news)
		}
		s.stands(1, report.then)
	}
	if got := s.box.Health(s.Context()); got.Problem != "" || !slices.Equal(got.Notes, []string{"1 SMS undelivered in the last day: 30034"}) {
		s.Errorf("health is %+v", got)
	}
}

func reportBeforeAnswer(s *store) {
	s.open()
	s.phones.Accepted = func(sid string, sms alert.SMS) {
		if _, err := s.box.Deliver(s.Context(), alert.Report{ID: sms.ID, SID: sid, Status: "delivered"}); err != nil {
			s.Error(err)
		}
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.texted(1)
	s.stands(1, outbox.Delivered)
	s.rest() // with the answer settled
	s.stands(1, outbox.Delivered)
}

func reportSettles(s *store) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return true, errInDoubt }
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	var id string
	if err := s.sql().QueryRow("SELECT id FROM sms").Scan(&id); err != nil {
		s.Fatal(err)
	}
	if _, err := s.box.Deliver(s.Context(), alert.Report{ID: id, SID: s.phones.Log()[0].SID, Status: "sent"}); err != nil {
		s.Fatal(err)
	}
	s.stands(1, outbox.Sent)
	s.elapse(time.Minute)
	s.texted(1)
	if s.phones.Lookups() > 0 {
		s.Error("the settled SMS was looked for")
	}
	s.want(s.record(About("NO2", "30003", s.phones.Log()[0].SID)), "an SMS of our own")
}

func reportUnknown(s *store) {
	s.open()
	for _, r := range []alert.Report{
		{SID: "SMffffffffffffffffffffffffffffffff", Status: "delivered"},
		{SID: "SMffffffffffffffffffffffffffffffff", ID: "unknown", Status: "failed", Code: "30003"},
	} {
		if news, err := s.box.Deliver(s.Context(), r); news || err != nil {
			s.Errorf("%+v: got %v, %v", r, news, err)
		}
	}
}

func twoWorkers(s *store) {
	s.options.PerHour = 1000
	s.openAlerting("* every 1")
	s.work()
	defer Work(s.box, s.phones)()
	for i := range 10 {
		var batch []alert.Event
		for j := range 10 {
			batch = append(batch, Event(fmt.Sprintf("NO%d.%d", i, j), "11200"))
		}
		for j := range batch {
			s.record(batch[j])
		}
	}
	s.stands(100, outbox.Sent)
	s.texted(100)
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
	s.record(Event("NO1", "11200"))
	s.eventually("the SMS is in flight", func() bool { return s.phones.Attempts() == 1 })
	s.open()
	s.work()
	s.elapse(19 * time.Second)
	if s.phones.Lookups() > 0 {
		s.Error("taken over before the lease ended")
	}
	s.elapse(2 * time.Second)
	s.stands(1, outbox.Sent)
	s.texted(1)
	if s.phones.Lookups() == 0 {
		s.Error("the SMS in doubt was not looked for")
	}
}

func crashAfterSend(s *store)  { crash(s, true) }
func crashBeforeSend(s *store) { crash(s, false) }

func doubt(s *store, accepted bool) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return accepted, errInDoubt
		}
		return true, nil
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.elapse(11 * time.Second)
	s.stands(1, outbox.Sent)
	s.texted(1)
}

func doubtFound(s *store)    { doubt(s, true) }
func doubtNotFound(s *store) { doubt(s, false) }

func doubtStays(s *store) {
	s.open()
	s.phones.Lag = 5 * time.Minute
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return true, errInDoubt
		}
		return false, errNotAccepted
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.elapse(11 * time.Second)
	s.eventually("not found, and refused", func() bool { return s.phones.Attempts() >= 2 })
	s.stands(1, outbox.Sending)
	time.Sleep(50 * time.Millisecond) // for its settlement
	s.elapse(10 * time.Minute)
	s.stands(1, outbox.Sent)
	s.texted(1)
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
		time.Sleep(50 * time.Millisecond)
	}
	s.stands(2, outbox.Sent)
	s.texted(2)
}

func doubtOfTwo(s *store)     { twoInDoubt(s, true) }
func doubtOfTwoHalf(s *store) { twoInDoubt(s, false) }

func refused(s *store) {
	s.open()
	s.phones.Fault = func(int, alert.SMS) (bool, error) { return false, errRefused }
	s.work()
	s.record(Event("NO1", "11200"))
	s.stands(1, outbox.Failed)
	s.elapse(time.Hour)
	if n := s.phones.Attempts(); n != 1 {
		s.Errorf("%d attempts, want 1", n)
	}
	if got := s.box.Health(s.Context()); got.Problem != "" || !slices.Equal(got.Notes, []string{"1 SMS failed in the last day: 21610"}) {
		s.Errorf("health is %+v", got)
	}
}

func triedAgain(s *store) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n == 3, errorUnless(n == 3, errNotAccepted) }
	s.work()
	s.record(Event("NO1", "11200"))
	s.eventually("the third attempt", func() bool { return len(s.phones.Log()) == 1 }) // after 3 s
	s.stands(1, outbox.Sent)
	if s.phones.Lookups() > 0 {
		s.Error("what was never in doubt was looked for")
	}
}

func errorUnless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func giveUp(s *store) {
	s.open()
	s.phones.Fault = func(int, alert.SMS) (bool, error) { return false, errNotAccepted }
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.rest()
	s.elapse(23 * time.Hour)
	s.work()
	before := s.phones.Attempts()
	s.eventually("another attempt", func() bool { return s.phones.Attempts() > before })
	s.rest()
	s.elapse(2 * time.Hour)
	s.work()
	s.stands(1, outbox.Failed)
	want := []string{"1 SMS failed in the last day: given up: not accepted within GIVE_UP_AFTER"}
	if got := s.box.Health(s.Context()); got.Problem != "" || !slices.Equal(got.Notes, want) {
		s.Errorf("health is %+v", got)
	}
	s.rest()
	s.elapse(25 * time.Hour)
	if got := s.box.Health(s.Context()); got.Problem != "" || got.Notes != nil {
		s.Errorf("two days later health is %+v", got)
	}
}

func purge(s *store) {
	s.options.KeepFor = 48 * time.Hour // idleness that is simulated takes time, too
	s.options.GiveUpAfter = 2 * s.options.KeepFor
	s.openAlerting("* at 1,10 yearly")
	var batch []alert.Event
	for i := range 450 { // more than a purge deletes in one go
		batch = append(batch, Event(fmt.Sprint("NO", i), "11200"))
	}
	s.record(batch...)
	s.work()
	s.texted(1)
	s.rest()
	s.record(Event("NO 11210", "11210"))
	s.elapse(s.options.KeepFor - time.Hour)
	if err := s.box.Purge(s.Context()); err != nil {
		s.Fatal(err)
	}
	if n := s.count("events"); n != 451 {
		s.Errorf("%d events after an early purge", n)
	}
	s.elapse(2 * time.Hour)
	s.record(Event("NO new", "11220"))
	if err := s.box.Purge(s.Context()); err != nil {
		s.Fatal(err)
	}
	if events, sms := s.count("events"), s.count("sms"); events != 1 || sms != 2 {
		s.Errorf("%d events and %d SMS are left, want the new event, its SMS, and the one that waited", events, sms)
	}
	s.want(s.record(Event("NO0", "11200")), "451st 11200 this year, no more alerts this year")
	s.work()
	s.texted(3)
}

func health(s *store) {
	s.open()
	if got := s.box.Health(s.Context()); got.Problem != "" || got.Notes != nil {
		s.Errorf("at first health is %+v", got)
	}
	s.record(Event("NO1", "11200"))
	s.elapse(4 * time.Minute)
	if got := s.box.Health(s.Context()); got.Problem != "" {
		s.Errorf("after four minutes health is %+v", got)
	}
	s.elapse(2 * time.Minute)
	if got := s.box.Health(s.Context()); got.Problem != "1 SMS overdue, the oldest for 6m0s" {
		s.Errorf("without a worker health is %+v", got)
	}
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n > 1, errorUnless(n > 1, errNotAccepted) }
	s.work()
	s.tried()
	if got := s.box.Health(s.Context()); !strings.HasSuffix(got.Problem, ": connection refused") {
		s.Errorf("while Twilio is away health is %+v", got)
	}
	s.texted(1)
	if got := s.box.Health(s.Context()); got.Problem != "" {
		s.Errorf("after all health is %+v", got)
	}
}

func closing(s *store) {
	s.open()
	var mu sync.Mutex
	var stored []string
	var clients sync.WaitGroup
	for c := range 20 {
		clients.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("NO%d.%d", c, i)
				_, err := s.box.Record(context.Background(), []alert.Event{Event(id, "11200")})
				if err != nil {
					if !errors.Is(err, outbox.ErrClosed) {
						s.Errorf("got %v, want ErrClosed", err)
					}
					return
				}
				mu.Lock()
				stored = append(stored, id)
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	if err := s.box.Close(); err != nil {
		s.Error(err)
	}
	clients.Wait()
	s.box = nil
	s.open()
	for _, id := range stored {
		s.want(s.record(Event(id, "11200")), "seen before")
	}
	if n := s.count("events"); n != len(stored) {
		s.Errorf("%d events, %d were answered", n, len(stored))
	}
}

func concurrent(s *store) {
	s.openAlerting("* at 1000 daily; any at 2000 daily")
	const clients, each = 200, 4
	answers := make(chan string, clients*each)
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for i := range each {
				answers <- s.record(Event(fmt.Sprintf("NO%d.%d", c, i), fmt.Sprint(11200+i%2)))[0]
			}
		})
	}
	wait.Wait()
	close(answers)
	got := make(map[string]bool)
	for a := range answers {
		if got[a] {
			s.Errorf("two events were the %s", a)
		}
		got[a] = true
	}
	for n := range int64(clients * each / 2) {
		for _, code := range []string{"11200", "11201"} {
			if want := fmt.Sprintf("%s %s today, next alert at the 1000th", alert.Ordinal(n+1), code); !got[want] {
				s.Errorf("no event was the %s", want)
			}
		}
	}
}

func poison(s *store) {
	s.open()
	s.work()
	dirty := "x\x00y\xff\xfez\u202e" + strings.Repeat("ü", 600)
	form := url.Values{"ErrorCode": {"11200"}, "Description": {dirty}, "AccountSid": {dirty}, "IdempotencyToken": {dirty}, "DateFired": {dirty}, "Log": {dirty}, "CurrentValue": {dirty}, "TimePeriod": {dirty}}
	alarm, err := alert.ParseForm(form, dirty)
	if err != nil {
		s.Fatal(err)
	}
	payload := `{"resource_sid":"SM\u0000` + "\xff" + `","error_code":"11210\u0000","more_info":{"Msg":"a\u0000b` + "\xff" + `"}}`
	debugger, err := alert.ParseForm(url.Values{"Sid": {"NO\x00\xff"}, "AccountSid": {"AC\x00\xff"}, "Level": {"ERROR\x00"}, "Timestamp": {"\x00"}, "Payload": {payload}}, "")
	if err != nil {
		s.Fatal(err)
	}
	got := s.record(alarm, debugger, Event("NO1", "11220"))
	if s.want(got, "alert", "alert", "alert"); s.Failed() {
		return
	}
	s.texted(3)
	report, err := alert.ParseReport("id\x00\xff", url.Values{"MessageSid": {"SM0\x00"}, "MessageStatus": {"delivered\x00\xff"}})
	if err == nil {
		_, err = s.box.Deliver(s.Context(), report)
		if err != nil {
			s.Error(err)
		}
	}
}

func poisonedError(s *store) {
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return false, &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("a\x00b\xff" + strings.Repeat("ü", 200))}
		}
		return true, nil
	}
	s.work()
	s.record(Event("NO1", "11200"))
	s.tried()
	s.stands(1, outbox.Sent)
	s.texted(1)
}

func gone(s *store) {
	s.open()
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	for i := range 20 {
		id := fmt.Sprint("NO", i)
		if _, err := s.box.Record(ctx, []alert.Event{Event(id, "11200")}); err != nil {
			if n := s.count("events WHERE id = '" + id + "'"); n != 0 {
				s.Errorf("%v, but the event is stored", err)
			}
		}
	}
}

func nothing(s *store) {
	s.open()
	if got := s.record(); got != nil {
		s.Errorf("got %v", got)
	}
}

func newerSchema(s *store) {
	s.open()
	s.close()
	s.exec("UPDATE outbox_schema SET version = version + 1")
	box, err := outbox.Open(s.Context(), s.address, s.options)
	if err == nil {
		box.Close()
		s.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "written by a newer program (schema 2, this one knows 1)") {
		s.Errorf("got %v", err)
	}
}

// witness observes.
type witness struct {
	mu               sync.Mutex
	committed        int
	recorded, ending []string
}

func (w *witness) Committed(events int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed += events
}

func (w *witness) Recorded(e alert.Event, r outbox.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recorded = append(w.recorded, e.ID+" "+r.Reason)
}

func (w *witness) Settled(status outbox.Status, code string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = append(w.ending, string(status)+" "+code)
}

func observed(s *store) {
	w := new(witness)
	s.options.Observer = w
	s.open()
	s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
		return n > 2, []error{nil, errNotAccepted, errRefused}[min(n, 3)%3]
	}
	s.record(Event("NO1", "11200"), Event("NO1", "11200"), Event("NO2", "11200"), Event("NO3", "11210"), Event("NO4", "11220"))
	s.work()
	s.stands(1, outbox.Failed)
	s.stands(2, outbox.Sent)
	s.rest()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.recorded)
	slices.Sort(w.ending)
	if want := []string{"NO1 ", "NO2 2nd 11200 today, next alert at the 10th", "NO3 ", "NO4 "}; w.committed != 4 || !slices.Equal(w.recorded, want) {
		s.Errorf("%d committed, recorded %q, want %q", w.committed, w.recorded, want)
	}
	if want := []string{"failed 21610", "pending ", "sent ", "sent "}; !slices.Equal(w.ending, want) {
		s.Errorf("settled %q, want %q", w.ending, want)
	}
}
