package metrics

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v2"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// scrape returns what Prometheus reads.
func scrape(t *testing.T, m *Metrics, backlog outbox.Backlog) string {
	t.Helper()
	w := httptest.NewRecorder()
	always := func(context.Context) (outbox.Backlog, error) { return backlog, nil }
	m.Handler(always, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("answer %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := New()
	m.Webhook("debugger", 200)
	m.Webhook("debugger", 200)
	m.Webhook(Unread, 403)
	m.Webhook(Unread, 499)
	m.Webhook(StatusCallback, 204)
	m.Recorded(alert.Event{Code: "11200", Level: alert.Error}, outbox.Result{})
	m.Recorded(alert.Event{Level: alert.Warning}, outbox.Result{})
	m.Settled(outbox.Sent, "", 3*time.Second)
	m.Settled(outbox.Pending, "20429", time.Second)
	m.Settled(outbox.Failed, "21610", time.Second)
	m.Settled(outbox.Undelivered, "30005", time.Minute)
	m.Committed(7, 4*time.Millisecond)
	now := time.Now()
	text := scrape(t, m, outbox.Backlog{Waiting: 2, Oldest: now.Add(-time.Hour), Held: 4, CaughtUp: now.Add(-2 * time.Hour)})
	for _, want := range []string{
		`webhooks_total{kind="debugger",outcome="recorded"} 2`,
		`webhooks_total{kind="unread",outcome="forbidden"} 1`,
		`webhooks_total{kind="unread",outcome="other"} 1`,
		`webhooks_total{kind="alarm",outcome="recorded"} 0`,
		`webhooks_total{kind="status",outcome="recorded"} 1`,
		`events_total{code="11200",level="error"} 1`,
		`events_total{code="none",level="warning"} 1`,
		`send_attempts_total{outcome="accepted",error_code="none"} 1`,
		`send_attempts_total{outcome="retry",error_code="20429"} 1`,
		`send_attempts_total{outcome="failed",error_code="21610"} 1`,
		`deliveries_total{outcome="undelivered",error_code="30005"} 1`,
		`alert_delay_seconds_bucket{le="2.5"} 0`,
		`alert_delay_seconds_bucket{le="5"} 1`,
		`alert_delay_seconds_sum 3`,
		`outbox_commit_seconds_bucket{le="0.005"} 1`,
		`messages_waiting 2`,
		`messages_waiting_oldest_seconds 36`,
		`messages_held 4`,
		`catch_up_lag_seconds 72`,
		`build_info{version=`,
	} {
		if !strings.Contains(text, "\ntwilio_error_sms_"+want) {
			t.Errorf("lacks %s in\n%s", want, text)
		}
	}
	for _, want := range []string{"go_goroutines", "go_info{version=", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("lacks %s", want)
		}
	}
	if text := scrape(t, m, outbox.Backlog{}); strings.Contains(text, "catch_up_lag") || !strings.Contains(text, "oldest_seconds 0\n") {
		t.Error("nothing waits and nobody catches up, but it says so")
	}
}

// Prometheus' own linter must find nothing.
func TestMetricsFollowConventions(t *testing.T) {
	t.Parallel()
	m := New()
	m.Recorded(alert.Event{Code: "11200", Level: alert.Error}, outbox.Result{})
	text := scrape(t, m, outbox.Backlog{CaughtUp: time.Now()})
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		if !strings.Contains(text, "# TYPE "+f.name+" "+f.kind+"\n"+f.name) {
			t.Errorf("%s is described and not exported", f.name)
		}
	}
}

// Strangers can make up codes, and series stay for ever.
func TestSeriesStayFew(t *testing.T) {
	t.Parallel()
	m := New()
	for i := range 5000 {
		code := fmt.Sprint(10000 + i)
		for _, level := range []alert.Level{alert.Error, alert.Warning, alert.Info} {
			m.Recorded(alert.Event{Code: code, Level: level}, outbox.Result{})
		}
		for _, status := range []outbox.Status{outbox.Sent, outbox.Pending, outbox.Sending, outbox.Failed, outbox.Delivered, outbox.Undelivered} {
			m.Settled(status, code, 0)
		}
		for _, kind := range []string{"alarm", "debugger", "stream", "other", Unread, StatusCallback} {
			m.Webhook(kind, 200+i%400)
		}
	}
	text := scrape(t, m, outbox.Backlog{})
	if n := strings.Count(text, "\n"); n > 2200 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(text, `events_total{code="other",level="info"} 4800`+"\n") {
		t.Error("further codes are not counted as other")
	}
}

// ruleFile is the part of a file of Prometheus' rules that these tests read.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func TestAlertRulesNameMetrics(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file ruleFile
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	m := New()
	exported := scrape(t, m, outbox.Backlog{CaughtUp: time.Now()})
	named := regexp.MustCompile(`twilio_error_sms_\w+`)
	var alerts []string
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts = append(alerts, rule.Alert)
			if rule.Alert == "" || rule.For == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a part: %+v", rule.Alert, rule)
			}
			for _, metric := range named.FindAllString(rule.Expr, -1) {
				if !strings.Contains(exported, "\n"+metric+"{") && !strings.Contains(exported, "\n"+metric+" ") {
					t.Errorf("%s asks for %s, which is not exported", rule.Alert, metric)
				}
			}
		}
	}
	if len(alerts) < 5 || len(slices.Compact(slices.Sorted(slices.Values(alerts)))) != len(alerts) {
		t.Errorf("alerts: %q", alerts)
	}
}

// promtool parses the expressions and plays a good and a bad day.
func TestAlertRulesWithPromtool(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed, so the alert rules were not played through: apt-get install prometheus")
	}
	for _, args := range [][]string{{"check", "rules", "../../examples/alerts.yaml"}, {"test", "rules", "../../examples/alerts_test.yaml"}} {
		if output, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, bytes.TrimSpace(output))
		}
	}
}
