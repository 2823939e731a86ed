package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	// overdueAfter is how long an SMS may wait before something is wrong.
	overdueAfter = 5 * time.Minute
	// unwellFor is how long the outbox is unwell after a commit that failed,
	// unless another succeeds: on a full disk what Health writes may still fit.
	unwellFor = time.Minute
	// purgeRows is how many rows a purge deletes in one go: few, so that
	// webhooks wait for it no longer than for each other.
	purgeRows = 200
	// purgePauses is for how many times as long it rests after each go.
	purgePauses = 9
)

// chartPeriod is the period of the counters behind the operator's chart: all
// errors of an hour, alarms and uncounted warnings included.
const chartPeriod alert.Period = "chart"

// chartTimeout bounds the storing of the chart, for which webhooks wait.
const chartTimeout = 500 * time.Millisecond

// chartCounter returns the counter that shows e in the chart.
func chartCounter(e alert.Event, now time.Time) (alert.Counter, bool) {
	at := e.Time
	if e.Kind == alert.Alarm {
		at = now // it tells of a count, and of when it fired
	}
	c := alert.Counter{Account: e.Account, Code: e.Code, Period: chartPeriod, Start: alert.Hourly.Start(at)}
	return c, e.Level != alert.Info
}

// storeChart adds to the chart's counters and empties chart. They are a picture
// of the events, not their record: written once a second, what a crash takes
// along is a second of it, and webhooks do not pay for it.
func (o *Outbox) storeChart(chart map[alert.Counter]int64) {
	if len(chart) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), chartTimeout)
	defer cancel()
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := addCounts(ctx, tx, &o.db.bulk, chart)
		return err
	})
	if err == nil {
		clear(chart)
	}
}

// Health says how the outbox is.
type Health struct {
	// Problem says why it is not well, empty if it is.
	Problem string
	// Notes tell of SMS of the last day that did not reach their phone.
	Notes []string
}

// Health tries to write to the outbox and looks for overdue SMS.
func (o *Outbox) Health(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	now := time.Now()
	if _, err := o.db.writes.ExecContext(ctx, `INSERT INTO marks (name, at, holder, until) VALUES ('health', $1, '', 0)
		ON CONFLICT (name) DO UPDATE SET at = excluded.at`, millis(now)); err != nil {
		return o.unwell("the outbox cannot be written", err)
	}
	if now.Sub(fromMillis(o.failed.Load())) < unwellFor {
		return Health{Problem: "the outbox cannot be written: the last webhook was refused"}
	}
	var waiting, oldest int64
	var reason string // of the last attempts, if there were any
	if err := o.db.reads.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(created), 0), COALESCE(MAX(error), '') FROM sms
		WHERE status IN ('pending', 'sending') AND created < $1`, millis(now.Add(-overdueAfter))).Scan(&waiting, &oldest, &reason); err != nil {
		return o.unwell("the outbox cannot be read", err)
	}
	var health Health
	if waiting > 0 {
		health.Problem = fmt.Sprintf("%d SMS overdue, the oldest for %s", waiting, now.Sub(fromMillis(oldest)).Round(time.Second))
		if reason != "" {
			health.Problem += ": " + reason
		}
	}
	notes, err := o.lost(ctx, now.Add(-24*time.Hour))
	if err != nil {
		return o.unwell("the outbox cannot be read", err)
	}
	health.Notes = notes
	return health
}

// unwell is the health of a database that fails. What it says goes into the
// log: anybody may ask for the health, and it names hosts and users.
func (o *Outbox) unwell(problem string, err error) Health {
	o.options.Logger.Error(problem, "err", err)
	return Health{Problem: problem}
}

// lost tells of SMS that were accepted or given up since a time and did not
// reach their phone. When they were recorded says little: what Twilio did not
// accept fails GIVE_UP_AFTER later.
func (o *Outbox) lost(ctx context.Context, since time.Time) ([]string, error) {
	rows, err := o.db.reads.QueryContext(ctx, `SELECT status, error, COUNT(*) FROM sms
		WHERE created >= $1 AND status IN ('undelivered', 'failed') AND (sent_at >= $2 OR next_at >= $2)
		GROUP BY status, error ORDER BY status, error`, millis(since.Add(-o.options.GiveUpAfter-lastRetry)), millis(since))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var notes []string
	for rows.Next() {
		var status, reason string
		var n int64
		if err := rows.Scan(&status, &reason, &n); err != nil {
			return nil, err
		}
		notes = append(notes, fmt.Sprintf("%d SMS %s in the last day: %s", n, status, reason))
	}
	return notes, rows.Err()
}

// Purge deletes history older than KeepFor, a few rows at a time, until none
// is left or ctx ends.
func (o *Outbox) Purge(ctx context.Context) error {
	before := time.Now().Add(-o.options.KeepFor)
	for _, old := range []struct{ table, rows string }{
		{"events", "received < $1 ORDER BY received"},
		{"sms", "created < $1 AND status NOT IN ('pending', 'sending') ORDER BY created"},
	} {
		query := fmt.Sprintf(`DELETE FROM %s WHERE id IN (SELECT id FROM %s WHERE %s LIMIT %d)`, old.table, old.table, old.rows, purgeRows)
		for {
			begin := time.Now()
			done, err := o.db.writes.ExecContext(ctx, query, millis(before))
			if err != nil {
				return fmt.Errorf("purging %s: %w", old.table, err)
			}
			n, err := done.RowsAffected()
			if err != nil {
				return fmt.Errorf("purging %s: %w", old.table, err)
			}
			if n < purgeRows {
				break
			}
			// Webhooks wait for the same disk: most of the time it is theirs.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(purgePauses * time.Since(begin)):
			}
		}
	}
	for _, period := range []alert.Period{alert.Hourly, alert.Daily, alert.Monthly, alert.Yearly, chartPeriod} {
		// The running period counts on, however short history is kept.
		end := period.Start(time.Now())
		if end.After(before) {
			end = before
		}
		if _, err := o.db.writes.ExecContext(ctx, `DELETE FROM counts WHERE period = $1 AND start < $2`, string(period), millis(end)); err != nil {
			return fmt.Errorf("purging counts: %w", err)
		}
	}
	return nil
}
