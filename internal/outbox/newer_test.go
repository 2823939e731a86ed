package outbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// TestCounterBelowZero, which no program of ours writes, is named; its events
// make no SMS, and others go on.
func TestCounterBelowZero(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.work()
		s.exec(fmt.Sprintf("INSERT INTO counts (account, code, period, start, n) VALUES ('%s', '30003', 'daily', %d, -5)", account, alert.Daily.Start(s.began).UnixMilli()))
		got := s.record(event("NO1", "30003"), event("NO2", "11200"))
		if !strings.HasPrefix(got[0], `not decided: the database counts -5 events of "30003" in the period from `) {
			s.Errorf("got %q", got[0])
		}
		s.want(got[1:], "alert")
		s.texted(1)
	})
}

// TestStatusOfANewerProgram is named; the SMS is not sent.
func TestStatusOfANewerProgram(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.record(event("NO1", "11200"))
		s.exec("UPDATE sms SET status = 'read'")
		s.work()
		time.Sleep(3 * time.Second) // for a worker that would send it
		if n := s.phones.Attempts(); n != 0 {
			s.Errorf("%d attempts to send it", n)
		}
		if _, err := s.box.History(s.Context(), time.Now(), outbox.Filter{Limit: 10}); err == nil || !strings.Contains(err.Error(), `unknown status "read"`) {
			s.Errorf("the history says %v", err)
		}
	})
}
