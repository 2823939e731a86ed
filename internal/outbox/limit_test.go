package outbox_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestBeyondSMSPerHourAlertsAreHeldAndSummedUp(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 3
		s.openAlerting("* every 1")
		s.work()
		for i := range 3 {
			s.want(s.record(event(fmt.Sprint("NO", i), "11200")), "alert")
		}
		s.texted(3)
		s.want(s.record(event("NO3", "30007"), event("NO4", "11200")), "held: 3 SMS in an hour", "held: 3 SMS in an hour")
		s.want(s.record(event("NO5", "30007")), "held: 3 SMS in an hour")
		s.elapse(59 * time.Minute)
		s.texted(3)
		s.elapse(2 * time.Minute)
		s.texted(4)
		summary := s.phones.Log()[3].Body
		if !strings.HasPrefix(summary, "3 alerts held back since ") || !strings.HasSuffix(summary, ": 30007 x2, 11200 x1 https://www.twilio.com/docs/api/errors") {
			s.Errorf("the summary reads %q", summary)
		}
		s.elapse(10 * time.Minute)
		s.want(s.record(event("NO6", "11200")), "alert")
		s.texted(5)
	})
}

func TestSMSPerHourIsASlidingHour(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 2
		s.openAlerting("* every 1")
		s.work()
		s.want(s.record(event("NO1", "11200")), "alert")
		s.texted(1)
		s.elapse(30 * time.Minute)
		s.want(s.record(event("NO2", "11200")), "alert")
		s.texted(2)
		s.elapse(15 * time.Minute)
		s.want(s.record(event("NO3", "11200")), "held: 2 SMS in an hour")
		s.elapse(16 * time.Minute) // the first is out of the hour, the second is not
		s.texted(3)
		s.want(s.record(event("NO4", "11200")), "held: 2 SMS in an hour")
		s.elapse(30 * time.Minute) // the second as well
		s.texted(4)
		if got := s.phones.Bodies("1 alert held back since"); len(got) != 2 {
			s.Errorf("the summaries are %q", got)
		}
	})
}

func TestSMSPerHourIsCountedForEachPhone(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 1
		s.openAlerting("* every 1")
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(1)
		s.options.Recipients = []string{alice, bob}
		s.open()
		s.work()
		s.want(s.record(event("NO2", "11200")), "alert") // to bob
		s.texted(2)
		if got := s.phones.Log()[1].To; got != bob {
			s.Errorf("the second alert went to %s", got)
		}
		s.stands(1, outbox.Held)
	})
}

func TestWhatWaitsCountsAgainstSMSPerHour(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 2
		s.openAlerting("* every 1")
		s.want(slices.Concat(s.record(event("NO1", "11200")), s.record(event("NO2", "11200")), s.record(event("NO3", "11200"))),
			"alert", "alert", "held: 2 SMS in an hour")
		s.elapse(2 * time.Hour) // nothing was sent, all of it waits
		s.want(s.record(event("NO4", "11200")), "held: 2 SMS in an hour")
		s.work()
		s.texted(2)
		s.elapse(61 * time.Minute)
		s.texted(3)
	})
}

func TestOurOwnErrorsAreNotSummedUp(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 1
		s.openAlerting("* every 1")
		var once sync.Once
		s.phones.Accepted = func(sid string, _ alert.SMS) {
			once.Do(func() { s.record(about("NO2", "30003", sid), event("NO3", "11200")) })
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(1)
		s.decided("NO2")
		s.stands(1, outbox.Held)
		s.elapse(61 * time.Minute)
		s.texted(2)
		if got := s.phones.Log()[1].Body; !strings.HasPrefix(got, "1 alert held back") || strings.Contains(got, "30003") {
			s.Errorf("the summary reads %q", got)
		}
	})
}

// TestHour alerts at random for some hours: no hour has more SMS than
// SMS_PER_HOUR, and each alert is an SMS of its own or part of a summary.
func TestHour(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		options := defaults(t, "* every 1")
		options.PerHour = 5
		box := open(t, address, options)
		twilio := new(phones)
		send := func() { // by a worker that rests most of the time, as does the test
			stop := work(box, twilio)
			time.Sleep(3 * time.Second)
			stop()
		}
		random := rand.New(rand.NewPCG(3, 4))
		const alerts = 40
		for i := range alerts {
			record(t, box, event(fmt.Sprint("NO", i), "11200"))
			send()
			time.Sleep(time.Duration(random.ExpFloat64() * float64(4*time.Minute)))
		}
		time.Sleep(time.Hour)
		send()
		log := twilio.Log()
		told := 0
		for i, sms := range log {
			if first := i - options.PerHour; first >= 0 && sms.At.Sub(log[first].At) < time.Hour {
				t.Errorf("%d SMS between %v and %v", options.PerHour+1, log[first].At, sms.At)
			}
			n := 1
			if held := regexp.MustCompile(`^(\d+) alerts? held back since`).FindStringSubmatch(sms.Body); held != nil {
				n, _ = strconv.Atoi(held[1])
			}
			told += n
		}
		if told != alerts {
			t.Errorf("the SMS tell of %d alerts, want %d", told, alerts)
		}
	})
}

// TestPhoneThatALERT_TONoLongerNames gets nothing more, and swallows nothing
// when it returns.
func TestPhoneThatALERT_TONoLongerNames(t *testing.T) {
	eachEngine(t, func(s *store) {
		var log lockedBuffer
		s.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s.options.Recipients = []string{alice, bob}
		s.options.PerHour = 1
		s.openAlerting("* every 1")
		for i := range 3 {
			s.record(event(fmt.Sprint("NO", i), "11200"))
		}
		s.options.Recipients = []string{alice}
		s.open()
		s.work()
		s.texted(1)
		if got := s.phones.Log()[0].To; got != alice {
			s.Errorf("the SMS went to %s", got)
		}
		if n := s.count("sms WHERE recipient = '" + bob + "' AND (status = 'pending' OR event = '' AND status = 'held')"); n != 0 {
			s.Errorf("%d SMS still wait for the phone", n)
		}
		if text := log.String(); !strings.Contains(text, `SMS closed: ALERT_TO no longer names the phone" to=...0007`) {
			s.Errorf("the log has\n%s", text)
		}
		if got := s.box.Health(s.Context()); got.Problem != "" || got.Notes != nil {
			s.Errorf("health is %+v", got)
		}
		s.options.Recipients = []string{alice, bob}
		s.open()
		s.work()
		s.elapse(61 * time.Minute)
		s.texted(2) // with alice's summary
		s.elapse(2 * time.Hour)
		s.want(s.record(event("NO of its return", "11200")), "alert")
		s.texted(4)
		if got := s.phones.Log(); !slices.ContainsFunc(got, func(sms acceptedSMS) bool { return sms.To == bob }) {
			s.Errorf("the phone that returned got nothing: %v", got)
		}
	})
}
