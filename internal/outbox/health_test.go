package outbox_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
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
		if got := s.box.Health(s.Context()); !strings.HasSuffix(got.Problem, ": Twilio cannot be reached, see the log") {
			s.Errorf("while Twilio is unreachable health is %+v", got)
		}
		reachable.Store(true)
		s.texted(1)
		if got := s.box.Health(s.Context()); got.Problem != "" {
			s.Errorf("after all health is %+v", got)
		}
	})
}

// TestSMSThatTwilioRefusesWaitForTheOperator: nothing is lost, and all of it
// goes out once the cause is fixed, also after a restart.
func TestSMSThatTwilioRefusesWaitForTheOperator(t *testing.T) {
	for name, restart := range map[string]bool{"without a restart": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(s *store) {
				s.options.Recipients = []string{alice, bob}
				s.open()
				var fixed atomic.Bool
				s.phones.Fault = func(int, alert.SMS) (bool, error) {
					accepted := fixed.Load()
					return accepted, errorUnless(accepted, &alert.SendError{Outcome: alert.Blocked, Code: "20003", Err: errors.New("Authenticate")})
				}
				s.work()
				s.record(event("NO1", "11200"))
				s.eventually("both are refused", func() bool { return s.count("sms WHERE blocked = 1") == 2 })
				want := "2 SMS wait, Twilio refuses them: " + alert.Advice("20003")
				if got := s.box.Health(s.Context()); got.Problem != want {
					s.Errorf("health is %q, want %q", got.Problem, want)
				}
				s.rest()
				s.elapse(5 * time.Hour)
				s.work()
				s.settled()
				fixed.Store(true)
				if restart {
					s.open()
					s.work()
				} else {
					s.elapse(5 * time.Minute)
				}
				s.stands(2, outbox.Sent)
				s.texted(2)
				if got := s.box.Health(s.Context()); got.Problem != "" {
					s.Errorf("after all health is %+v", got)
				}
			})
		})
	}
}
