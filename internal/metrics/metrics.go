// Package metrics is what Prometheus reads of the server.
package metrics

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
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

// family describes to Prometheus the series of one name.
type family struct{ name, kind, help string }

// families are the exported ones. The library offers many more about the
// process; these are useful and follow Prometheus's conventions.
var families = []family{
	{"twilio_error_sms_webhooks_total", "counter", "Requests from Twilio by what they brought and how they were answered."},
	{"twilio_error_sms_events_total", "counter", "Errors, warnings and notices that Twilio reported, each once."},
	{"twilio_error_sms_send_attempts_total", "counter", "Attempts to send an SMS by what came of them."},
	{"twilio_error_sms_deliveries_total", "counter", "SMS that Twilio reported as delivered or undelivered."},
	{"twilio_error_sms_alert_delay_seconds", "histogram", "Time from an event to the acceptance of its SMS by Twilio."},
	{"twilio_error_sms_outbox_commit_seconds", "histogram", "Time to commit events to the database."},
	{"twilio_error_sms_messages_waiting", "gauge", "SMS that Twilio has not accepted yet."},
	{"twilio_error_sms_messages_waiting_oldest_seconds", "gauge", "Age of the SMS that has waited longest, 0 when none waits."},
	{"twilio_error_sms_messages_held", "gauge", "Alerts held back by SMS_PER_HOUR and not yet summed up."},
	{"twilio_error_sms_silences", "gauge", "Codes that are silenced now; all codes together count as one."},
	{"twilio_error_sms_catch_up_lag_seconds", "gauge", "Time since the end of what the catch-up reader has read of Twilio's log."},
	{"twilio_error_sms_build_info", "gauge", "What this program was built from, value 1."},
	{"go_info", "gauge", "Version of Go, value 1."},
	{"go_goroutines", "gauge", "Goroutines that exist."},
	{"process_cpu_seconds_total", "counter", "User and system CPU time spent."},
	{"process_resident_memory_bytes", "gauge", "Resident memory size."},
	{"process_start_time_seconds", "gauge", "When the process started, since 1970."},
	{"process_open_fds", "gauge", "File descriptors that are open."},
	{"process_max_fds", "gauge", "File descriptors that may be open."},
}

// describe writes the series of text with the help and type of their family.
// It leaves out series of no family.
func describe(w io.Writer, text string) {
	last := ""
	for line := range strings.Lines(text) {
		name := line[:max(strings.IndexAny(line, "{ "), 0)]
		i := slices.IndexFunc(families, func(f family) bool {
			suffix, ok := strings.CutPrefix(name, f.name)
			return ok && slices.Contains([]string{"", "_sum", "_count", "_bucket"}, suffix)
		})
		if i < 0 {
			continue
		}
		if f := families[i]; f.name != last {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
			last = f.name
		}
		io.WriteString(w, line)
	}
}
