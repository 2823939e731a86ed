package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// pageOutbox returns an empty outbox.
func pageOutbox(t testing.TB) *Outbox {
	t.Helper()
	triggers, err := alert.ParseTriggers(alert.DefaultTriggers)
	if err != nil {
		t.Fatal(err)
	}
	box, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "alerts.db"), Options{
		Triggers: triggers, Text: alert.DefaultText(), Recipients: []string{"+15551230001"}, PerHour: 2,
		GiveUpAfter: 24 * time.Hour, KeepFor: 720 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// fill writes a history of n events of 200 codes over the last 30 days, with
// their counters and an SMS for each hundredth, as Record would have left it.
func fill(t testing.TB, box *Outbox, n int) {
	t.Helper()
	now := time.Now()
	past := fmt.Sprintf(`WITH RECURSIVE past (i, at) AS (
		SELECT 1, %[1]d UNION ALL SELECT i + 1, %[1]d - i * 2592000000 / %[2]d FROM past WHERE i < %[2]d) `, millis(now), n)
	for _, statement := range []string{
		`INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision)
			SELECT 'NO' || i, at, at, 'debugger', 'AC1', CAST(30000 + i * 7919 % 200 AS TEXT), 'error', 'Something of the usual length went wrong, number ' || i, 'CA' || i, '2nd today' FROM past`,
		`INSERT INTO counts (account, code, period, start, n)
			SELECT 'AC1', CAST(30000 + i * 7919 % 200 AS TEXT), 'chart', at / 3600000 * 3600000, COUNT(*) FROM past GROUP BY 2, 4`,
		`INSERT INTO counts (account, code, period, start, n)
			SELECT 'AC1', CAST(30000 + i * 7919 % 200 AS TEXT), 'daily', at / 86400000 * 86400000, COUNT(*) FROM past GROUP BY 2, 4`,
		`INSERT INTO sms (id, event, code, recipient, body, status, created, next_at, sent_at, sid)
			SELECT 'S' || i, 'NO' || i, '30001', '+15551230001', 'An error on your Twilio app occurred! number ' || i, 'delivered', at, at, at, 'SM' || i FROM past WHERE i % 100 = 0`,
	} {
		insert, query, _ := strings.Cut(statement, "SELECT")
		if _, err := box.db.writes.ExecContext(t.Context(), insert+past+"SELECT"+query); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	box := pageOutbox(t)
	now := time.Now()
	event := alert.Event{Kind: alert.Debugger, Account: "AC1", Code: "11200", Level: alert.Error, Description: "HTTP retrieval failure", Time: now}
	for i := range 12 {
		event.ID = fmt.Sprintf("NO%d", i)
		if _, err := box.Record(t.Context(), []alert.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	var history History
	for begin := time.Now(); (len(history.Hours) != 24 || history.Hours[23].N < 12) && time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		var err error // the chart follows within seconds
		if history, err = box.History(t.Context(), now, Filter{Limit: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if last := history.Hours[23]; last != (HourCount{alert.Hourly.Start(now), 12}) || !slices.Equal(history.Codes, []alert.CodeCount{{Code: "11200", Count: 12}}) {
		t.Errorf("hours: %v, codes: %v", history.Hours, history.Codes)
	}
	if len(history.Events) != 5 || history.Events[0].Description != "HTTP retrieval failure" || history.Events[0].Account != "AC1" {
		t.Errorf("events: %+v", history.Events)
	}
	if len(history.SMS) != 2 || history.SMS[0].Status != Pending || history.SMS[0].To != "+15551230001" {
		t.Errorf("SMS: %+v", history.SMS)
	}
	if len(history.LastDay) != 1 || history.LastDay[0] != (StatusCount{Pending, 2}) {
		t.Errorf("SMS of the last day: %v", history.LastDay)
	}
	if n := history.Counts[alert.Counter{Account: "AC1", Code: "11200", Period: alert.Daily, Start: alert.Daily.Start(now)}]; n != (alert.Tally{N: 12, Alerted: 10}) {
		t.Errorf("counted %v today, want 12, and the 10th told", n)
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	box := pageOutbox(t)
	backlog, err := box.Backlog(t.Context())
	if err != nil || !reflect.DeepEqual(backlog, Backlog{}) {
		t.Errorf("nothing waits, but: %+v, %v", backlog, err)
	}
	for i := range 4 { // SMS_PER_HOUR lets two of them pass
		event := alert.Event{Kind: alert.Alarm, ID: fmt.Sprint(i), Code: "11200", Level: alert.Error}
		if _, err := box.Record(t.Context(), []alert.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	read := time.Now().Add(-time.Minute).Truncate(time.Millisecond).UTC()
	if _, err := box.db.writes.ExecContext(t.Context(), `INSERT INTO marks (name, at, holder, until) VALUES ('catch-up AC0123456789abcdef0123456789abcdef', $1, '', 0)`, millis(read)); err != nil {
		t.Fatal(err)
	}
	backlog, err = box.Backlog(t.Context())
	if err != nil || backlog.Waiting != 2 || backlog.Held != 2 || !backlog.CaughtUp.Equal(read) || time.Since(backlog.Oldest) > time.Minute {
		t.Errorf("two wait and two are held, but: %+v, %v", backlog, err)
	}
}

// filters are what the page may ask for.
func filters() map[string]Filter {
	now := time.Now()
	return map[string]Filter{
		"all":           {Limit: 100},
		"older":         {Limit: 100, Events: Position{now, "NO1"}, SMS: Position{now, "NO1"}},
		"a code":        {Limit: 100, Code: "30001"},
		"a rare code":   {Limit: 100, Code: "12345"},
		"delivered":     {Limit: 100, Status: Delivered},
		"failed":        {Limit: 100, Status: Failed},
		"held":          {Limit: 100, Status: Held},
		"waiting":       {Limit: 100, Status: Pending},
		"a code's held": {Limit: 100, Code: "30001", Status: Held},
	}
}

// What the page costs must not grow with the history: none of its queries may
// read or sort a table from end to end.
func TestPageFollowsIndexes(t *testing.T) {
	t.Parallel()
	box := pageOutbox(t)
	queries := map[string][]any{
		selectHours: {"chart", 0, 9, 1000}, selectEvents: {0, 0, "", "", 50}, selectHorizon: {0, 0}, selectLastDay: {0}, selectCounters: {"daily", 0, 1000}, selectLast: {"1"},
	}
	for _, filter := range filters() {
		query, args := selectMessages(filter)
		queries[query] = args
	}
	for query, args := range queries {
		rows, err := box.db.reads.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			small := strings.Contains(step, "outcomes") || strings.Contains(step, "CONSTANT ROW")
			if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "INDEX") && !small {
				t.Errorf("%s\nreads a whole table: %s", query, step)
			}
			if (strings.HasPrefix(query, "SELECT sms.id") || query == selectCounters) && step == "USE TEMP B-TREE FOR ORDER BY" {
				t.Errorf("%s\nsorts a whole table: %s", query, step)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// makeUp makes up counters of codes that never were, from a time on: of the day
// and of the chart.
func makeUp(t testing.TB, box *Outbox, n int, at time.Time) {
	t.Helper()
	if _, err := box.db.writes.ExecContext(t.Context(), `WITH RECURSIVE made (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM made WHERE i < $1 / 2)
		INSERT INTO counts (account, code, period, start, n, alerted) SELECT 'AC' || i, CAST(100000 + i % 900000 AS TEXT), 'daily', $2, 1, 1 FROM made
		UNION ALL SELECT 'AC' || i, CAST(100000 + i % 900000 AS TEXT), 'chart', $3, 1, 0 FROM made`,
		n, millis(alert.Daily.Start(at)), millis(alert.Hourly.Start(at))); err != nil {
		t.Fatal(err)
	}
}

// TestPageBesideMadeUpCounters: it reads no more of them than it may, those first
// that alerted most. TestPageFollowsIndexes shows that it does not sort all.
func TestPageBesideMadeUpCounters(t *testing.T) {
	t.Parallel()
	box, now := pageOutbox(t), time.Now()
	makeUp(t, box, 20_000, now)
	if _, err := box.db.writes.ExecContext(t.Context(), `INSERT INTO counts (account, code, period, start, n, alerted) VALUES ('AC', '11200', 'daily', $1, 120, 100)`, millis(alert.Daily.Start(now))); err != nil {
		t.Fatal(err)
	}
	history, err := box.History(t.Context(), now, Filter{Limit: 50})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := history.Counts[alert.Counter{Account: "AC", Code: "11200", Period: alert.Daily, Start: alert.Daily.Start(now)}]; !ok {
		t.Error("the counter that alerted most is not on the page")
	}
	if n := len(history.Counts); n != maxCounters {
		t.Errorf("%d counters are read, want %d", n, maxCounters)
	}
}

// TestWebhooksGoOnWhileCountersArePurged: they do not wait for the end of it.
func TestWebhooksGoOnWhileCountersArePurged(t *testing.T) {
	t.Parallel()
	box := pageOutbox(t)
	makeUp(t, box, 100_000, time.Now().AddDate(0, -3, 0))
	ctx, stop := context.WithCancel(t.Context())
	purged := make(chan error)
	go func() { purged <- box.Purge(ctx) }()
	left := func() (n int) {
		if err := box.db.reads.QueryRow(`SELECT COUNT(*) FROM counts WHERE account <> 'AC1'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for left() == 100_000 {
		time.Sleep(time.Millisecond)
	}
	for i := range 20 {
		event := alert.Event{ID: fmt.Sprint("NO", i), Kind: alert.Debugger, Account: "AC1", Code: "11200", Level: alert.Error}
		if _, err := box.Record(t.Context(), []alert.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	if left() == 0 {
		t.Error("20 webhooks waited for the whole purge")
	}
	stop()
	if err := <-purged; !errors.Is(err, context.Canceled) {
		t.Errorf("the purge ended with %v", err)
	}
}

// TestChartOfMadeUpCodes: it has no more counters than it can show, and counts all.
func TestChartOfMadeUpCodes(t *testing.T) {
	t.Parallel()
	chart := make(map[alert.Counter]int64)
	box := &Outbox{}
	for i := range maxChart + 500 {
		r := &recording{now: time.Now(), entries: []*entry{{event: alert.Event{Code: fmt.Sprint(100_000 + i), Level: alert.Error}}}}
		r.entries[0].event.Time = r.now
		box.addToChart(r, chart)
	}
	total := int64(0)
	for _, n := range chart {
		total += n
	}
	if len(chart) > maxChart+2 || total != maxChart+500 { // two when an hour ends meanwhile
		t.Errorf("%d counters of %d errors", len(chart), total)
	}
}

// BenchmarkHistory reads what the page shows beside a million past events.
func BenchmarkHistory(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		box := pageOutbox(b)
		fill(b, box, n)
		for name, filter := range filters() {
			b.Run(fmt.Sprintf("%d events, %s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := box.History(b.Context(), time.Now(), filter); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
