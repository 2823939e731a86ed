package outbox_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
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

// check and connect look at the outbox of a server that runs.
func TestVisitorDecidesNothing(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.record(event("NO1", "11200"))
		visitor, err := outbox.Visit(s.Context(), s.address)
		if err != nil {
			s.Fatal(err)
		}
		if health := visitor.Health(s.Context()); health.Problem != "" {
			s.Errorf("not healthy: %s", health.Problem)
		}
		if _, err := visitor.Record(s.Context(), []alert.Event{event("NO2", "11200")}); !errors.Is(err, outbox.ErrClosed) {
			s.Errorf("recorded: %v", err)
		}
		if err := visitor.Own(s.Context(), "SM1", "check"); err != nil {
			s.Error(err)
		}
		if err := visitor.Close(); err != nil {
			s.Error(err)
		}
		s.want(s.record(about("NO3", "30003", "SM1")), "an SMS of our own")
	})
}

// The SMS of check -send are ours, although they are not in the outbox, and may be
// told twice: here, and by their status callback.
func TestErrorAboutATestSMSAlertsNobody(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		for range 2 {
			if err := s.box.Own(s.Context(), "SM1", "check"); err != nil {
				s.Fatal(err)
			}
		}
		s.want(s.record(about("NO1", "30003", "SM1")), "an SMS of our own")
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
