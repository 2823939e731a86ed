// Package metrics is what Prometheus reads of the server.
package metrics

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

const (
	// maxCodes is how many error codes get series of their own; further ones
	// share that of "other". Twilio has some 2,400, and strangers can make up
	// a million.
	maxCodes = 200
	// scrapeTimeout bounds what a scrape asks the outbox.
	scrapeTimeout = 2 * time.Second
)

// What a webhook brings besides an alert.Kind.
const (
	Unread         = "unread" // it was refused before it was read
	StatusCallback = "status" // Twilio's report of what became of an SMS
)

// Metrics counts and measures what happens. It is an outbox.Observer; the
// request log calls Webhook.
type Metrics struct {
	// Version is the program's.
	Version string

	set    *vm.Set
	delay  *vm.PrometheusHistogram
	commit *vm.PrometheusHistogram

	mu    sync.Mutex
	codes map[string]bool // that have series of their own
}

// New returns Metrics at zero. Series that alert rules watch exist from
// the start: Prometheus sees no increase in one that begins at 1.
func New() *Metrics {
	m := &Metrics{set: vm.NewSet(), codes: make(map[string]bool)}
	m.delay = m.set.NewPrometheusHistogramExt("twilio_error_sms_alert_delay_seconds", []float64{.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400})
	m.commit = m.set.NewPrometheusHistogramExt("twilio_error_sms_outbox_commit_seconds", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5})
	for _, kind := range []string{string(alert.Alarm), string(alert.Debugger), string(alert.Stream), StatusCallback} {
		m.webhooks(kind, http.StatusOK)
	}
	for status, outcome := range outcomes {
		if outcome != outcomes[http.StatusOK] {
			m.webhooks(Unread, status)
		}
	}
	for _, status := range []outbox.Status{outbox.Sent, outbox.Pending, outbox.Sending, outbox.Failed, outbox.Delivered, outbox.Undelivered} {
		m.messages(status, "")
	}
	return m
}

// outcomes names the answers to webhooks.
var outcomes = map[int]string{
	http.StatusOK:                    "recorded",
	http.StatusNoContent:             "recorded",
	http.StatusBadRequest:            "unreadable",
	http.StatusForbidden:             "forbidden",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported",
	http.StatusServiceUnavailable:    "unavailable",
}

func (m *Metrics) webhooks(kind string, status int) *vm.Counter {
	return m.counter("twilio_error_sms_webhooks_total{kind=%q,outcome=%q}", kind, cmp.Or(outcomes[status], "other"))
}

// messages returns the counter of what became of SMS: of attempts to send
// them, or of deliveries as Twilio reports them later.
func (m *Metrics) messages(status outbox.Status, code string) *vm.Counter {
	format := "twilio_error_sms_send_attempts_total{outcome=%q,error_code=%q}"
	if status == outbox.Delivered || status == outbox.Undelivered {
		format = "twilio_error_sms_deliveries_total{outcome=%q,error_code=%q}"
	}
	return m.counter(format, cmp.Or(attempts[status], string(status)), m.code(code))
}

// attempts names what came of attempts to send, unless it is the status itself.
var attempts = map[outbox.Status]string{outbox.Sent: "accepted", outbox.Pending: "retry", outbox.Sending: "in_doubt"}

// counter returns the counter of a series.
func (m *Metrics) counter(format, first, second string) *vm.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(format, first, second))
}

// code returns the label of an error code.
func (m *Metrics) code(code string) string {
	if code == "" {
		return "none"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.codes[code] && len(m.codes) >= maxCodes {
		return "other"
	}
	m.codes[code] = true
	return code
}

// Webhook counts a request by what it brought, an alert.Kind, Unread or
// StatusCallback, and by the status of the answer.
func (m *Metrics) Webhook(kind string, status int) { m.webhooks(kind, status).Inc() }

// Committed measures a commit of the outbox.
func (m *Metrics) Committed(_ int, took time.Duration) { m.commit.Update(took.Seconds()) }

// Recorded counts an event.
func (m *Metrics) Recorded(e alert.Event, _ outbox.Result) {
	m.counter("twilio_error_sms_events_total{code=%q,level=%q}", m.code(e.Code), string(e.Level)).Inc()
}

// Settled counts what became of an SMS.
func (m *Metrics) Settled(status outbox.Status, code string, age time.Duration) {
	m.messages(status, code).Inc()
	if status == outbox.Sent {
		m.delay.Update(age.Seconds())
	}
}

// Handler answers Prometheus. What waits in the outbox it asks backlog; if that
// fails, only those series are missing.
func (m *Metrics) Handler(backlog func(context.Context) (outbox.Backlog, error), logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var text bytes.Buffer
		m.set.WritePrometheus(&text)
		ctx, cancel := context.WithTimeout(r.Context(), scrapeTimeout)
		defer cancel()
		if waiting, err := backlog(ctx); err != nil {
			logger.Error("metrics without what waits", "err", err)
		} else {
			writeBacklog(&text, waiting, time.Now())
		}
		vm.WriteGaugeUint64(&text, fmt.Sprintf("twilio_error_sms_build_info{version=%q,goversion=%q}", m.Version, runtime.Version()), 1)
		vm.WriteProcessMetrics(&text)
		vm.WriteFDMetrics(&text)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		describe(w, text.String())
	})
}

func writeBacklog(w io.Writer, b outbox.Backlog, now time.Time) {
	age := 0.0
	if !b.Oldest.IsZero() {
		age = max(now.Sub(b.Oldest).Seconds(), 0)
	}
	vm.WriteGaugeUint64(w, "twilio_error_sms_messages_waiting", uint64(b.Waiting))
	vm.WriteGaugeFloat64(w, "twilio_error_sms_messages_waiting_oldest_seconds", age)
	vm.WriteGaugeUint64(w, "twilio_error_sms_messages_held", uint64(b.Held))
	vm.WriteGaugeUint64(w, "twilio_error_sms_silences", uint64(len(b.Silences)))
	if !b.CaughtUp.IsZero() {
		vm.WriteGaugeFloat64(w, "twilio_error_sms_catch_up_lag_seconds", max(now.Sub(b.CaughtUp).Seconds(), 0))
	}
}

// families describes the exported series: name, kind and help of each. The
// library offers many more about the process; these are useful and follow
// Prometheus's conventions.
//
//go:embed families.tsv
var families string

// describe writes the series of text with the help and type of their family.
// It leaves out series of no family.
func describe(w io.Writer, text string) {
	last := ""
	for line := range strings.Lines(text) {
		name := histogramSuffix.ReplaceAllString(line[:max(strings.IndexAny(line, "{ "), 0)], "")
		_, description, ok := strings.Cut("\n"+families, "\n"+name+"\t")
		if !ok {
			continue
		}
		if name != last {
			kind, rest, _ := strings.Cut(description, "\t")
			help, _, _ := strings.Cut(rest, "\n")
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
			last = name
		}
		io.WriteString(w, line)
	}
}

var histogramSuffix = regexp.MustCompile(`_(sum|count|bucket)$`)
