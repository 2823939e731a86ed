package outbox_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

func TestAnswersSayWhatWasDecided(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1,10 daily; 30003 never; 11210 every 2 hourly")
		var ten []string
		for i := range 10 {
			ten = append(ten, s.record(event(fmt.Sprint("NO", i), "11200"))[0])
		}
		if !strings.HasSuffix(ten[9], "(10th today) https://www.twilio.com/docs/api/errors/11200") {
			s.Errorf("the tenth reads %q", ten[9])
		}
		s.want([]string{ten[0], ten[1], ten[2], ten[9]},
			"alert", "2nd 11200 today, next alert at the 10th", "3rd 11200 today, next alert at the 10th", "alert")
		s.want(s.record(event("NO10", "11200"), event("NO11", "30003"), event("NO12", "11210")),
			"11th 11200 today, no more alerts today", "30003 never alerts", "1st 11210 this hour, next alert at the 2nd")
		warning, test := event("NO13", "12200"), alert.Event{ID: "test", Kind: alert.Other, Description: "a test event"}
		warning.Level = alert.Warning
		s.want(s.record(warning, test), "warning 12200, counted nowhere", "no error: a test event")
	})
}

func TestCountsAreKeptByAccountAndCode(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		other := event("NO4", "11200")
		other.Account = "ACffffffffffffffffffffffffffffffff"
		s.want(s.record(event("NO1", "11200"), event("NO2", "11200"), event("NO3", "30007"), other),
			"alert", "2nd 11200 today, next alert at the 10th", "alert", "alert")
	})
}

func TestCountsAndEventsSurviveARestart(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.record(event("NO1", "11200"))
		s.record(event("NO2", "11200"))
		s.open()
		s.want(s.record(event("NO2", "11200"), event("NO3", "11200")), "seen before", "3rd 11200 today, next alert at the 10th")
		s.work()
		s.texted(1)
	})
}

func TestBatchThatJumpsOverValuesAlertsOnce(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.work()
		var batch []alert.Event
		for i := range 12 {
			batch = append(batch, event(fmt.Sprint("NO", i), "11200"))
		}
		got := s.record(batch...)
		s.want([]string{got[0], got[9], got[11]}, "part of the alert for the 10th", "alert", "12th 11200 today, next alert at the 100th")
		s.texted(1)
		if len(s.phones.Bodies("10th today")) != 1 {
			s.Errorf("the SMS is not of the 10th: %v", s.phones.Log())
		}
	})
}

func TestEachRecipientGetsAnSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.Recipients = []string{alice, bob}
		s.open()
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(2)
		if log := s.phones.Log(); log[0].To == log[1].To || log[0].Body != log[1].Body {
			s.Errorf("got %v", log)
		}
	})
}

func TestHundredsOfConcurrentRecordsAddUp(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1000 daily; any at 2000 daily")
		const clients, each = 200, 4
		answers := make(chan string, clients*each)
		var wait sync.WaitGroup
		for c := range clients {
			wait.Go(func() {
				for i := range each {
					answers <- s.record(event(fmt.Sprintf("NO%d.%d", c, i), fmt.Sprint(11200+i%2)))[0]
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
	})
}

// TestOldErrorLeavesItsAlertToTheNextThatIsNews is what the catch-up reader finds
// after the server was down for 25 h.
func TestOldErrorLeavesItsAlertToTheNextThatIsNews(t *testing.T) {
	eachEngine(t, func(s *store) {
		if s.bubble {
			time.Sleep(48 * time.Hour) // its year has just begun
		}
		s.openAlerting("* at 1,10,100 yearly")
		s.work()
		old := event("NO0", "11200")
		old.Kind, old.Time = alert.ErrorLog, time.Now().Add(-24*time.Hour-30*time.Minute)
		batch := []alert.Event{old}
		for i := range 6 {
			e := event(fmt.Sprint("NO of today ", i), "11200")
			e.Kind, e.Time = alert.ErrorLog, time.Now()
			batch = append(batch, e)
		}
		got := s.record(batch...)
		if !strings.HasPrefix(got[0], "too old to alert: it happened at ") {
			s.Errorf("the old one is %q", got[0])
		}
		s.want(got[1:3], "alert", "3rd 11200 this year, next alert at the 10th")
		s.texted(1)
		if len(s.phones.Bodies("(2nd this year)")) != 1 {
			s.Errorf("the SMS is %v", s.phones.Log())
		}
	})
}

func TestTwoRulesThatAreDueAtOnceShareOneSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* at 1,10; any at 3")
		s.work()
		s.want(s.record(event("NO1", "11200")), "alert")
		s.want(s.record(event("NO2", "11200")), "2nd 11200 today, next alert at the 10th")
		s.want(s.record(event("NO3", "30003")), "alert")
		s.texted(2)
		if len(s.phones.Bodies("(1st today, 3rd of all today)")) != 1 {
			s.Errorf("the SMS are %v", s.phones.Log())
		}
	})
}

// TestChangedTriggersWorkOnTheSameNumbers over a restart.
func TestChangedTriggersWorkOnTheSameNumbers(t *testing.T) {
	eachEngine(t, func(s *store) {
		for i, step := range []struct{ triggers, want string }{
			{"* never", "30003 never alerts"},
			{"* at 1", "alert"},
			{"* at 1", "3rd 30003 today, no more alerts today"},
			{"30003 every 2", "alert"},
			{"* at 1,10", "5th 30003 today, next alert at the 10th"},
		} {
			s.openAlerting(step.triggers)
			s.want(s.record(event(fmt.Sprint("NO", i), "30003")), step.want)
		}
	})
}

// TestCountersLiveUntilTheirPeriodEnds, however short history is kept.
func TestCountersLiveUntilTheirPeriodEnds(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.KeepFor = 24 * time.Hour
		s.openAlerting("* at 1 yearly; 11200 at 1 hourly")
		newYear := alert.Yearly.Start(time.Now())
		late := event("NO0", "30003")
		late.Kind, late.Time = alert.ErrorLog, newYear.Add(-time.Minute)
		s.exec(fmt.Sprintf(`INSERT INTO counts (account, code, period, start, n, alerted) VALUES ('%s', '30003', 'yearly', %d, 50, 1), ('%s', '30003', 'yearly', %d, 7, 1)`,
			account, newYear.AddDate(-1, 0, 0).UnixMilli(), account, newYear.UnixMilli()))
		if err := s.box.Purge(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.want(s.record(event("NO1", "30003")), "8th 30003 this year, no more alerts this year")
		inJanuary := time.Since(newYear) < 23*time.Hour // on Postgres time is real
		if n := s.count(fmt.Sprintf("counts WHERE code = '30003' AND start = %d", newYear.AddDate(-1, 0, 0).UnixMilli())); n != map[bool]int{true: 1}[inJanuary] {
			s.Errorf("%d counters of last year are kept, in January: %v", n, inJanuary)
		}
		if s.bubble { // where it is the first of January
			s.want(s.record(late), "51st 30003 this year, no more alerts this year")
		}
	})
}
