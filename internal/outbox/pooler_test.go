package outbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// TestReplicasBehindAPoolerShareAStorm starts two replicas together behind a
// PgBouncer that lends its connections for a transaction, and lets a storm of
// webhooks come in by both.
func TestReplicasBehindAPoolerShareAStorm(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	address := server.Database(t)
	pooled := server.Pooler(t, address)
	options := defaults(t, "* at 1,10,100 daily")
	boxes := make([]*outbox.Outbox, 2)
	var starting sync.WaitGroup
	for i := range boxes {
		starting.Go(func() {
			var err error
			if boxes[i], err = outbox.Open(t.Context(), pooled, options); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	twilio := new(phones)
	for _, box := range boxes {
		defer box.Close()
		defer work(box, twilio)()
	}
	const clients, each = 40, 10
	var storm sync.WaitGroup
	for c := range clients {
		storm.Go(func() {
			for i := range each {
				id := fmt.Sprintf("NO%d.%d", c, i)
				// Twilio may deliver an event twice, to both replicas.
				for _, box := range boxes {
					if _, err := box.Record(context.Background(), []alert.Event{event(id, "11200")}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	storm.Wait()
	if n := count(t, address, "events"); n != clients*each {
		t.Errorf("%d events, want %d", n, clients*each)
	}
	eventually(t, "the SMS of the 1st, 10th and 100th are sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 3 })
	for _, box := range boxes {
		if got := box.Health(t.Context()); got.Problem != "" {
			t.Error(got.Problem)
		}
	}
	// Another program that uses the pool finds it as it was.
	if n := count(t, pooled+"&default_query_exec_mode=exec", "pg_prepared_statements"); n != 0 {
		t.Errorf("a session has %d named statements", n)
	}
	if n := count(t, pooled+"&default_query_exec_mode=exec", "pg_settings WHERE source = 'session' AND name IN ('enable_seqscan', 'jit')"); n != 0 {
		t.Errorf("a session has %d settings of ours", n)
	}
}
