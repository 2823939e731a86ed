package outbox

import (
	"context"
	"fmt"
	"time"
)

const (
	// overdueAfter is how long an SMS may wait before something is wrong.
	overdueAfter = 5 * time.Minute
	// failingFor is how long the outbox is unhealthy after a commit that failed,
	// unless another succeeds: on a full disk what Health writes may still fit.
	failingFor = time.Minute
)

// Health says whether the outbox works.
type Health struct {
	// Problem says why the outbox is unhealthy, empty if it is healthy.
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
		return o.unhealthy("the outbox cannot be written", err)
	}
	if now.Sub(fromMillis(o.failed.Load())) < failingFor {
		return Health{Problem: "the outbox cannot be written: the last webhook was refused"}
	}
	var waiting int64
	var oldest time.Time
	var reason string // of the last attempts, if there were any
	if err := o.db.reads.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(created), 0), COALESCE(MAX(error), '') FROM sms
		WHERE status IN ('pending', 'sending') AND created < $1`, millis(now.Add(-overdueAfter))).Scan(&waiting, at(&oldest), &reason); err != nil {
		return o.unhealthy("the outbox cannot be read", err)
	}
	var health Health
	if waiting > 0 {
		health.Problem = fmt.Sprintf("%d SMS overdue, the oldest for %s", waiting, now.Sub(oldest).Round(time.Second))
		if reason != "" {
			health.Problem += ": " + reason
		}
	}
	notes, err := o.lost(ctx, now.Add(-24*time.Hour))
	if err != nil {
		return o.unhealthy("the outbox cannot be read", err)
	}
	health.Notes = notes
	return health
}

// unhealthy is the health of a database that fails. The error goes only into
// the log: it names hosts and users, and anybody may ask for the health.
func (o *Outbox) unhealthy(problem string, err error) Health {
	o.options.Logger.Error(problem, "err", err)
	return Health{Problem: problem}
}

// lost tells of SMS that did not reach their phone and were accepted or given up
// since a time. The time of recording would not do: what Twilio does not accept
// fails GIVE_UP_AFTER later.
func (o *Outbox) lost(ctx context.Context, since time.Time) ([]string, error) {
	type loss struct {
		status, reason string
		n              int64
	}
	losses, err := selectAll(ctx, o.db.reads, func(l *loss) []any { return []any{&l.status, &l.reason, &l.n} }, `SELECT status, error, COUNT(*) FROM sms
		WHERE created >= $1 AND status IN ('undelivered', 'failed') AND (sent_at >= $2 OR next_at >= $2)
		GROUP BY status, error ORDER BY status, error`, millis(since.Add(-o.options.GiveUpAfter-lastRetry)), millis(since))
	if err != nil {
		return nil, err
	}
	var notes []string
	for _, l := range losses {
		notes = append(notes, fmt.Sprintf("%d SMS %s in the last day: %s", l.n, l.status, l.reason))
	}
	return notes, nil
}
