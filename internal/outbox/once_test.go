package outbox_test

import (
	"testing"

	"twilio-error-sms/internal/alert"
)

func TestEventSeenTwiceIsOneAlert(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.work()
		s.want(s.record(event("NO1", "11200")), "alert")
		s.want(s.record(event("NO1", "11200")), "seen before")
		s.texted(1)
	})
}

func TestRedeliveryInTheSameBatchIsSeenBefore(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.want(s.record(event("NO1", "11200"), event("NO2", "11200"), event("NO1", "11200")),
			"alert", "2nd 11200 today, next alert at the 10th", "seen before")
	})
}

func TestEventsWithoutAnIdentityAreAlwaysNews(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.work()
		mock := alert.Event{Kind: alert.Alarm, Code: "11200", Level: alert.Error}
		s.want(s.record(mock, mock), "alert", "alert")
		s.want(s.record(mock), "alert")
		s.texted(3)
	})
}
