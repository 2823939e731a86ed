package outbox_test

import (
	"fmt"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

func TestPurgeKeepsWhatWaitsAndTheRunningCounts(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.KeepFor = 48 * time.Hour // idleness that is simulated takes time, too
		s.options.GiveUpAfter = 2 * s.options.KeepFor
		s.openAlerting("* at 1,10 yearly")
		var batch []alert.Event
		for i := range 450 { // more than a purge deletes in one go
			batch = append(batch, event(fmt.Sprint("NO", i), "11200"))
		}
		s.record(batch...)
		s.work()
		s.texted(1)
		s.rest()
		s.record(event("NO 11210", "11210"))
		s.elapse(s.options.KeepFor - time.Hour)
		if err := s.box.Purge(s.Context()); err != nil {
			s.Fatal(err)
		}
		if n := s.count("events"); n != 451 {
			s.Errorf("%d events after an early purge", n)
		}
		s.elapse(2 * time.Hour)
		s.record(event("NO new", "11220"))
		if err := s.box.Purge(s.Context()); err != nil {
			s.Fatal(err)
		}
		if events, sms := s.count("events"), s.count("sms"); events != 1 || sms != 2 {
			s.Errorf("%d events and %d SMS are left, want the new event, its SMS, and the one that waited", events, sms)
		}
		s.want(s.record(event("NO0", "11200")), "451st 11200 this year, no more alerts this year")
		s.work()
		s.texted(3)
	})
}
