package outbox_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

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
