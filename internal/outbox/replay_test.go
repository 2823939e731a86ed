package outbox_test

import (
	"crypto/sha1"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// recordRequest records the events of a signed request and returns the answers.
func (s *store) recordRequest(signature string, events ...alert.Event) []string {
	s.Helper()
	results, err := s.box.RecordRequest(s.Context(), signature, events)
	return s.answers(results, err)
}

// sign returns a signature like no other.
func sign(n int) string {
	sum := sha1.Sum([]byte{byte(n)})
	return string(sum[:])
}

// TestSameSignatureIsTheSameRequest, whatever its fields are read as: how they
// are split is not signed.
func TestSameSignatureIsTheSameRequest(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		s.want(s.recordRequest(sign(1), event("NO1", "11200")), "alert")
		s.want(s.recordRequest(sign(1), event("NO1", "11200")), "seen before")
		s.want(s.recordRequest(sign(1), event("NO2", "11210")), "seen before")
		s.want(s.recordRequest(sign(1), event("", "11200")), "seen before")
		s.want(s.recordRequest(sign(2), event("", "11200")), "alert")
		s.want(s.recordRequest(sign(2), event("NO2", "11200")), "seen before")
		s.want(s.record(event("", "11200")), "alert") // where nothing is signed two curls are two alerts
		s.want(s.record(event("", "11200")), "alert")
		s.open()
		s.want(s.recordRequest(sign(1), event("", "11200")), "seen before")
		s.work()
		s.texted(4)
	})
}

// TestFormOfAKnownErrorIsKnownToo: what came by Event Streams or was signed by
// another account before, comes as a form, is captured, and read in another way.
func TestFormOfAKnownErrorIsKnownToo(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		stream := event("NO1", "11200")
		stream.Kind = alert.Stream
		s.want(s.recordRequest(sign(1), stream), "alert")
		for n := 2; n < 5; n++ {
			s.want(s.recordRequest(sign(n), event("NO1", "11200")), "seen before")
			s.want(s.recordRequest(sign(n), event("", "11200")), "seen before")
			s.want(s.recordRequest(sign(n), event("NO2", "11200")), "seen before")
		}
		s.work()
		s.texted(1)
		history, err := s.box.History(s.Context(), time.Now(), outbox.Filter{Limit: 10})
		if err != nil || len(history.Events) != 1 {
			s.Errorf("the page shows %d events, %v; want the one", len(history.Events), err)
		}
	})
}

// TestSignedBatchComesAgain: its events are known, those without an ID too.
func TestSignedBatchComesAgain(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		batch := []alert.Event{event("NO1", "11200"), event("", "11205"), event("", "11210")}
		for i := range batch {
			batch[i].Kind = alert.Stream
		}
		s.want(s.recordRequest(sign(1), batch...), "alert", "alert", "alert")
		s.want(s.recordRequest(sign(1), batch...), "seen before", "seen before", "seen before")
		s.want(s.recordRequest(sign(2), batch[1]), "alert")
		s.work()
		s.texted(4)
	})
}

// TestReplaysAtOnce come in one batch, or in several of them.
func TestReplaysAtOnce(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.openAlerting("* every 1")
		var clients sync.WaitGroup
		for i := range 200 {
			clients.Go(func() { s.recordRequest(sign(i%10), event("", "11200")) })
		}
		clients.Wait()
		s.work()
		s.texted(10)
		if n := s.count("events"); n != 10 {
			s.Errorf("%d events are recorded, want 10", n)
		}
	})
}

// TestReplayAfterAPurge: what a request claims is then too old.
func TestReplayAfterAPurge(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.KeepFor = 24 * time.Hour
		s.openAlerting("* every 1")
		old := event("NO1", "11200")
		old.Time = time.Now()
		s.want(s.recordRequest(sign(1), old), "alert")
		s.elapse(s.options.KeepFor + time.Hour)
		if !s.bubble {
			old.Time = old.Time.Add(-s.options.KeepFor - time.Hour)
		}
		if err := s.box.Purge(s.Context()); err != nil {
			s.Fatal(err)
		}
		if n := s.count("events"); n != 0 {
			s.Errorf("%d events are known after a purge", n)
		}
		s.want(s.recordRequest(sign(1), old, event("NO2", "11200")), "too old: it happened before what the database remembers", "alert")
		if n := s.count("events"); n != 1 {
			s.Errorf("%d events are recorded, want the one that is not too old", n)
		}
		s.want(s.record(old), "alert") // where nothing is signed a wrong date costs nothing
	})
}
