package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
	file := filepath.Join(t.TempDir(), "alerts.db")
	o, err := Open(t.Context(), "sqlite:"+file, Options{
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
	// SQLite's index of the log tells its length at byte 16. To close the file
	// would release SQLite's locks, and to ask SQLite would move the log.
	index, err := os.Open(file + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	pages := func() int {
		length := make([]byte, 4)
		if _, err := index.ReadAt(length, 16); err != nil {
			t.Error(err)
		}
		return int(binary.NativeEndian.Uint32(length))
	}
	for range 2 {
		before := 0
		for before = pages(); before < 2*walPages && !t.Failed(); before = pages() {
			time.Sleep(time.Millisecond)
		}
		// A move is in vain while something reads; the server tries each second.
		begun := false
		for tries := 0; !begun && tries < 50; tries++ {
			o.db.move(t.Context())
			record() // which begins it anew
			begun = pages() < before
		}
		if !begun {
			t.Errorf("the log has %d pages, before it had %d", pages(), before)
		}
	}
	over.Store(true)
	clients.Wait()
	if err := errors.Join(o.Close(), index.Close()); err != nil {
		t.Error(err)
	}
}
