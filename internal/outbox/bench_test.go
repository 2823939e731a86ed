package outbox_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// commits counts commits and what they store.
type commits struct{ n, events atomic.Int64 }

func (c *commits) Committed(events int, _ time.Duration) {
	c.n.Add(1)
	c.events.Add(int64(events))
}
func (c *commits) Recorded(alert.Event, outbox.Result)          {}
func (c *commits) Settled(outbox.Status, string, time.Duration) {}

// BenchmarkRecord stores events of 200 codes from 64 goroutines, and from one.
func BenchmarkRecord(b *testing.B) {
	b.Run("64", func(b *testing.B) { benchmarkRecord(b, 32) })
	b.Run("256", func(b *testing.B) { benchmarkRecord(b, 128) })
	b.Run("2", func(b *testing.B) { benchmarkRecord(b, 1) })
}

func benchmarkRecord(b *testing.B, parallelism int) {
	var seen commits
	triggers, err := alert.ParseTriggers(alert.DefaultTriggers)
	if err != nil {
		b.Fatal(err)
	}
	box, err := outbox.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "alerts.db"), outbox.Options{
		Triggers: triggers, Text: alert.DefaultText(), Recipients: []string{"+15005550006"}, PerHour: 20,
		GiveUpAfter: 24 * time.Hour, KeepFor: 24 * time.Hour, Logger: slog.New(slog.DiscardHandler), Observer: &seen,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	var n atomic.Int64
	b.SetParallelism(parallelism)
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			event := alert.Event{
				ID: fmt.Sprintf("NO%032x", uint64(i)*0x9e3779b97f4a7c15), Kind: alert.Debugger, Level: alert.Error,
				Account: "AC0123456789abcdef0123456789abcdef", Code: strconv.Itoa(int(30000 + i%200)),
				Description: "An attempt to retrieve content returned the HTTP status code 404", Resource: "CA66666666666666666666666666666666", Time: time.Now(),
			}
			if _, err := box.Record(b.Context(), []alert.Event{event}); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/1000/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(seen.events.Load())/float64(seen.n.Load()), "events/commit")
}
