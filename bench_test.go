package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// BenchmarkWebhook posts signed Debugger webhooks of 200 codes over 64
// connections in one process: to a bare net/http server that parses the form
// and answers 200 (the ceiling), and to the handler with its signature and
// commit. Compare the figures of one run; TestFigures measures processes.
func BenchmarkWebhook(b *testing.B) {
	b.Run("ceiling", func(b *testing.B) {
		benchmarkPost(b, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.ParseForm() }))
	})
	b.Run("signed and committed", func(b *testing.B) {
		config := testConfig(b, map[string]string{"DRY_RUN": "true", "PUBLIC_URL": loadURL, "TWILIO_AUTH_TOKEN": loadToken})
		benchmarkPost(b, NewHandler(config, openOutbox(b, config), NewMetrics(), slog.New(slog.NewJSONHandler(io.Discard, nil))))
	})
}

func benchmarkPost(b *testing.B, handler http.Handler) {
	server := httptest.NewServer(handler)
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := postNth(&http.Client{Transport: transport}, server.URL, n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkParse reads a Debugger webhook, decides and renders, without I/O.
func BenchmarkParse(b *testing.B) {
	body, _ := signedForm(1)
	triggers, err := alert.ParseTriggers(alert.DefaultTriggers)
	if err != nil {
		b.Fatal(err)
	}
	parse := func() alert.Event {
		form, _ := url.ParseQuery(body)
		event, err := alert.ParseForm(form, "")
		if err != nil {
			b.Fatal(err)
		}
		event.Time = time.Now()
		return event
	}
	b.Run("parse and decide", func(b *testing.B) {
		for b.Loop() {
			triggers.Decide([]alert.Event{parse()}, func(alert.Counter) int64 { return 2 })
		}
	})
	b.Run("text", func(b *testing.B) {
		a := alert.Alert{Event: parse(), Decision: alert.Decision{Alert: true, Count: 10, Period: alert.Daily}}
		a.Event.Description = strings.Repeat("An attempt to retrieve content ", 5)
		text := alert.DefaultText()
		for b.Loop() {
			text.Render(a)
		}
	})
}
