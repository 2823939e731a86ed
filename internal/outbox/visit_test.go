package outbox_test

import (
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// That the account is a trial is learned while the server runs.
func TestTextChangesWhileRunning(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		e := event("NO1", "11200")
		e.Description = strings.Repeat("long ", 50)
		long := s.record(e)[0]
		s.box.UseText(alert.DefaultText().ForTrial())
		e.ID = "NO2"
		if short := s.record(e)[0]; len(long) <= 122 || len(short) > 122 || !strings.Contains(short, "11200 long") {
			s.Errorf("before %q, after %q", long, short)
		}
	})
}

// The SMS of check -send are ours, although they are not in the outbox.
func TestErrorAboutATestSMSAlertsNobody(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		const sid = "SM0123456789abcdef0123456789abcdef"
		for range 2 {
			if err := s.box.Own(s.Context(), sid, "check"); err != nil {
				s.Fatal(err)
			}
		}
		e := event("NO1", "30003")
		e.Resource = sid
		s.want(s.record(e), "an SMS of our own")
	})
}

func TestTestEventsAreSeen(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		for want := range int64(3) {
			got, err := s.box.TestEvents(s.Context(), time.Now().Add(-time.Minute))
			if err != nil || got != want {
				s.Errorf("got %d test events, %v, want %d", got, err, want)
			}
			s.record(alert.Event{Kind: alert.Other, Level: alert.Info, Description: alert.TestEvent})
			s.record(event("NO"+time.Now().String(), "11200"))
		}
		if got, err := s.box.TestEvents(s.Context(), time.Now().Add(time.Minute)); err != nil || got != 0 {
			s.Errorf("got %d of the future, %v", got, err)
		}
	})
}
