package outbox

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// TestLogBeginsAnew lets SQLite's log grow while commits go on: it is moved
// into the database, and begins anew.
func TestLogBeginsAnew(t *testing.T) {
	t.Parallel()
	o, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), Options{
		PerHour: 1, GiveUpAfter: time.Hour, KeepFor: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.db.stop() // the test does it
	var n atomic.Int64
	var over atomic.Bool
	var clients sync.WaitGroup
	record := func() {
		batch := make([]alert.Event, 50) // which fills pages fast
		for i := range batch {
			batch[i] = alert.Event{ID: fmt.Sprint("NO", n.Add(1)), Kind: alert.Debugger, Level: alert.Error, Code: "11200"}
		}
		if _, err := o.Record(t.Context(), batch); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		clients.Go(func() {
			for !over.Load() {
				record()
			}
		})
	}
	pages := func() (logged int) {
		var busy, moved int
		if err := o.db.reads.QueryRow("PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &logged, &moved); err != nil {
			t.Error(err)
		}
		return logged
	}
	for range 2 {
		before := 0
		for before = pages(); before < 2*walPages && !t.Failed(); before = pages() {
			time.Sleep(time.Millisecond)
		}
		o.db.move(t.Context())
		record() // which begins it anew
		if after := pages(); after >= before {
			t.Errorf("the log has %d pages, before it had %d", after, before)
		}
	}
	over.Store(true)
	clients.Wait()
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
