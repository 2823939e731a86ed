package outbox_test

import (
	"fmt"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// TestWhatThePageIsTold of two phones: one refuses everything, and both have a
// limit, by both engines.
func TestWhatThePageIsTold(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.Recipients, s.options.PerHour = []string{"+15551230001", "+15551230002"}, 3
		s.phones.Fault = func(_ int, sms alert.SMS) (bool, error) {
			if sms.To == "+15551230002" {
				return false, &alert.SendError{Outcome: alert.Refused, Code: "21610"}
			}
			return true, nil
		}
		s.openAlerting("* every 1")
		for i, code := range []string{"11200", "30003", "11200", "30003", "11200"} {
			s.record(event(fmt.Sprint("NO", i), code))
		}
		s.work()
		s.stands(3, outbox.Sent)
		s.stands(4, outbox.Failed) // a summary of two more too: what failed takes no room
		if _, err := s.box.Deliver(s.Context(), alert.Report{SID: s.phones.Log()[0].SID, Status: "delivered"}); err != nil {
			s.Fatal(err)
		}
		s.rest()

		history := func(filter outbox.Filter) outbox.History {
			h, err := s.box.History(s.Context(), time.Now(), filter)
			if err != nil {
				s.Fatal(err)
			}
			return h
		}
		h := history(outbox.Filter{Limit: 100})
		if first := h.Phones[0]; first.Delivered.IsZero() || first.Accepted.IsZero() || first.GetsNothing() {
			s.Errorf("the first phone: %+v", first)
		}
		if second := h.Phones[1]; !second.GetsNothing() || second.Error != "21610" {
			s.Errorf("the second phone: %+v", second)
		}
		if len(h.Losses) != 1 || h.Losses[0] != (outbox.Loss{To: "+15551230002", Status: outbox.Failed, Error: "21610", N: 4}) {
			s.Errorf("lost: %+v", h.Losses)
		}
		for _, sms := range h.SMS {
			due := sms.To == "+15551230001" // the hour of the other has room
			wait := time.Until(sms.Summary)
			if sms.Status == outbox.Held && (sms.Due != due || due && (wait > time.Hour || wait < 50*time.Minute) || !due && (wait > 0 || wait < -10*time.Minute)) {
				s.Errorf("held: %+v", sms)
			}
			if sms.Event.ID != "" && (sms.Event.Code == "" || sms.Event.Account != account || sms.Event.Received.IsZero()) {
				s.Errorf("its event: %+v", sms.Event)
			}
		}
		for filter, want := range map[outbox.Filter][2]int{ // SMS and events
			{}:                    {11, 5},
			{Code: "11200"}:       {6, 3},
			{Code: "12345"}:       {0, 0},
			{Status: outbox.Sent}: {2, 5}, {Status: outbox.Delivered}: {1, 5}, {Status: outbox.Failed}: {4, 5}, {Status: outbox.Held}: {4, 5},
			{Status: outbox.Pending}: {0, 5}, {Code: "11200", Status: outbox.Failed}: {2, 3},
		} {
			filter.Limit = 3
			if got := walk(s, filter, history); got != want {
				s.Errorf("%+v: %v SMS and events, want %v", filter, got, want)
			}
		}
	})
}

// walk follows a filter to the oldest SMS and event, and returns how many there
// were. No one may come twice.
func walk(s *store, filter outbox.Filter, history func(outbox.Filter) outbox.History) (n [2]int) {
	s.Helper()
	seen := make(map[string]bool)
	note := func(i int, id string) {
		if seen[id] {
			s.Errorf("%+v: %s comes twice", filter, id)
		}
		seen[id] = true
		n[i]++
	}
	for smsLeft, eventsLeft := true, true; smsLeft || eventsLeft; {
		h := history(filter)
		if smsLeft {
			whole := h.SMS
			for len(h.SMS) == filter.Limit && whole[len(whole)-1].Event.ID == h.SMS[len(h.SMS)-1].Event.ID {
				whole = whole[:len(whole)-1] // its event is perhaps cut
			}
			for _, sms := range whole {
				note(0, sms.ID)
				filter.SMS = outbox.Position{At: sms.Created, ID: sms.Event.ID}
			}
			smsLeft = len(h.SMS) > 0
		}
		if eventsLeft {
			for _, e := range h.Events {
				note(1, e.ID)
			}
			filter.Events, eventsLeft = h.Older, h.Older != outbox.Position{}
		}
	}
	return n
}
