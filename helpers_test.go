package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// testConfig returns the settings that env describes.
func testConfig(t testing.TB, env map[string]string) Config {
	t.Helper()
	config, err := LoadConfig(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// sign signs a webhook as Twilio does; form is nil for JSON.
func sign(token, address string, form url.Values) string {
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(address))
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range slices.Compact(slices.Sorted(slices.Values(form[name]))) {
			mac.Write([]byte(name + value))
		}
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// openOutbox opens an outbox with the rules of config in a folder of its own.
func openOutbox(t testing.TB, config Config) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(t.Context(), "sqlite:"+t.TempDir()+"/alerts.db", outboxOptions(config, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// memory is an outbox that decides by the triggers and forgets at the end. It
// is broken when its disk is full.
type memory struct {
	config   Config
	diskFull bool
	unwell   string

	mu      sync.Mutex
	events  []alert.Event
	reports []alert.Report
}

var errDiskFull = errors.New("database or disk is full")

func (m *memory) Record(_ context.Context, events []alert.Event) ([]outbox.Result, error) {
	if m.diskFull {
		return nil, errDiskFull
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, events...)
	results := make([]outbox.Result, len(events))
	for i, d := range m.config.Triggers.Decide(events, func(alert.Counter) int64 { return 1 }) {
		results[i].Reason = d.Reason
		if d.Alert {
			results[i].Text = m.config.Text.Render(alert.Alert{Event: events[i], Decision: d})
		}
	}
	return results, nil
}

func (m *memory) Deliver(_ context.Context, report alert.Report) (bool, error) {
	if m.diskFull {
		return false, errDiskFull
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports = append(m.reports, report)
	return true, nil
}

func (m *memory) Health(context.Context) outbox.Health { return outbox.Health{Problem: m.unwell} }
