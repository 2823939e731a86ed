package outbox_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

func TestHealthTellsOfOverdueAndLostSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		if got := s.box.Health(s.Context()); got.Problem != "" || got.Notes != nil {
			s.Errorf("at first health is %+v", got)
		}
		s.record(event("NO1", "11200"))
		s.elapse(4 * time.Minute)
		if got := s.box.Health(s.Context()); got.Problem != "" {
			s.Errorf("after four minutes health is %+v", got)
		}
		s.elapse(2 * time.Minute)
		if got := s.box.Health(s.Context()); !strings.HasPrefix(got.Problem, "1 SMS overdue, the oldest for 6m") {
			s.Errorf("without a worker health is %+v", got)
		}
		var reachable atomic.Bool
		s.phones.Fault = func(int, alert.SMS) (bool, error) {
			accepted := reachable.Load()
			return accepted, errorUnless(accepted, errNotAccepted)
		}
		s.work()
		s.tried()
		if got := s.box.Health(s.Context()); !strings.HasSuffix(got.Problem, ": connection refused") {
			s.Errorf("while Twilio is unreachable health is %+v", got)
		}
		reachable.Store(true)
		s.texted(1)
		if got := s.box.Health(s.Context()); got.Problem != "" {
			s.Errorf("after all health is %+v", got)
		}
	})
}
