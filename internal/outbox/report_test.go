package outbox_test

import (
	"slices"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestDeliveryReportsMoveForwardOnly(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.work()
		s.record(event("NO1", "11200"))
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
	})
}

func TestDeliveryReportComesBeforeTwiliosAnswer(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Accepted = func(sid string, sms alert.SMS) {
			if _, err := s.box.Deliver(s.Context(), alert.Report{ID: sms.ID, SID: sid, Status: "delivered"}); err != nil {
				s.Error(err)
			}
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.texted(1)
		s.stands(1, outbox.Delivered)
		s.rest() // with the answer settled
		s.stands(1, outbox.Delivered)
	})
}

func TestDeliveryReportSettlesASendInDoubt(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return true, errInDoubt }
		s.work()
		s.record(event("NO1", "11200"))
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
		s.want(s.record(about("NO2", "30003", s.phones.Log()[0].SID)), "an SMS of our own")
	})
}

func TestDeliveryReportOfAnUnknownSMSIsNoNews(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		for _, r := range []alert.Report{
			{SID: "SMffffffffffffffffffffffffffffffff", Status: "delivered"},
			{SID: "SMffffffffffffffffffffffffffffffff", ID: "unknown", Status: "failed", Code: "30003"},
		} {
			if news, err := s.box.Deliver(s.Context(), r); news || err != nil {
				s.Errorf("%+v: got %v, %v", r, news, err)
			}
		}
	})
}
