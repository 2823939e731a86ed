package sms

import (
	"testing"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/twiliotest"
)

const destination = "https://alerts.example.com/error_trigger"

func TestSinkIsFoundAmongOthers(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	sender := newSender(t, twilio.URL)
	for _, other := range []string{destination + "/", "https://alerts.example.com", "https://other.example.com/error_trigger"} {
		twilio.Streams.Add(other, alert.ErrorLogged)
	}
	if sinks, err := sender.Sinks(t.Context(), destination); err != nil || len(sinks) != 0 {
		t.Fatalf("got %v, %v, want none", sinks, err)
	}
	bare := twilio.Streams.Add(destination)
	calls := twilio.Streams.Add(destination, "com.twilio.voice.1", "com.twilio.voice.2", "com.twilio.voice.3")
	both := twilio.Streams.Add(destination, "a", "b", alert.ErrorLogged)
	twilio.Streams.Fail()
	sinks, err := sender.Sinks(t.Context(), destination)
	if err != nil || len(sinks) != 3 || sinks[0].SID != bare || sinks[1].SID != calls || sinks[2].SID != both {
		t.Fatalf("got %v, %v, want %s, %s and %s", sinks, err, bare, calls, both)
	}
	if sinks[0].Subscriptions != nil || len(sinks[1].Subscriptions) != 1 || sinks[1].Errors != "" || sinks[2].Errors != sinks[2].Subscriptions[0] || !sinks[0].Failed() {
		t.Errorf("got %+v", sinks)
	}
}

func TestSinkComesAndGoes(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		twilio := twiliotest.New(t)
		twilio.Streams.OldSchema = old
		sender := newSender(t, twilio.URL)
		sid, err := sender.CreateSink(t.Context(), destination)
		if err != nil {
			t.Fatal(err)
		}
		subscription, err := sender.Subscribe(t.Context(), Sink{SID: sid})
		if err != nil {
			t.Fatal(err)
		}
		sinks, err := sender.Sinks(t.Context(), destination)
		if err != nil || len(sinks) != 1 || sinks[0].SID != sid || sinks[0].Errors != subscription || sinks[0].Failed() {
			t.Errorf("got %v, %v, want %s with %s", sinks, err, sid, subscription)
		}
		version := 2
		if old {
			version = 1
		}
		if _, subscriptions := twilio.Streams.All(); subscriptions[0].Types[alert.ErrorLogged] != version {
			t.Errorf("old %t: subscribed to %v", old, subscriptions[0].Types)
		}
		if err := sender.RemoveSink(t.Context(), sinks[0]); err != nil {
			t.Fatal(err)
		}
		if sinks, subscriptions := twilio.Streams.All(); len(sinks)+len(subscriptions) != 0 {
			t.Errorf("left: %v, %v", sinks, subscriptions)
		}
		if err := sender.RemoveSink(t.Context(), sinks[0]); err != nil {
			t.Errorf("what is gone already: %v", err)
		}
	}
}

func TestSubscriptionToOtherEventsGetsErrorsToo(t *testing.T) {
	t.Parallel()
	twilio := twiliotest.New(t)
	twilio.Streams.OldSchema = true
	sender := newSender(t, twilio.URL)
	twilio.Streams.Add(destination, "com.twilio.voice.1")
	sinks, err := sender.Sinks(t.Context(), destination)
	if err != nil {
		t.Fatal(err)
	}
	sid, err := sender.Subscribe(t.Context(), sinks[0])
	if err != nil || sid != sinks[0].Subscriptions[0] {
		t.Fatalf("got %s, %v", sid, err)
	}
	if _, subscriptions := twilio.Streams.All(); len(subscriptions) != 1 || len(subscriptions[0].Types) != 2 {
		t.Errorf("got %v", subscriptions)
	}
}

func TestEventStreamsGoWrong(t *testing.T) {
	t.Parallel()
	for fault, want := range map[twiliotest.Fault]alert.Outcome{
		twiliotest.StreamsForbidden: alert.Blocked, twiliotest.SinkLimit: alert.Blocked, twiliotest.ServerErrorAfter: alert.InDoubt, twiliotest.ResetAfter: alert.InDoubt,
	} {
		twilio := twiliotest.New(t)
		twilio.Streams.Fault = func(int) twiliotest.Fault { return fault }
		sender := newSender(t, twilio.URL)
		_, created := sender.CreateSink(t.Context(), destination)
		_, subscribed := sender.Subscribe(t.Context(), Sink{SID: "DG1"})
		for _, err := range []error{created, subscribed, sender.TestSink(t.Context(), "DG1"), sender.RemoveSink(t.Context(), Sink{SID: "DG2"})} {
			if outcome(t, err).Outcome != want {
				t.Errorf("%s: got %v, want %s", fault, err, want)
			}
		}
		left := 0
		if want == alert.InDoubt {
			left = 1
		}
		if sinks, subscriptions := twilio.Streams.All(); len(sinks) != left || len(subscriptions) != left {
			t.Errorf("%s: left %v, %v", fault, sinks, subscriptions)
		}
	}
}
