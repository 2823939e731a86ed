package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	// overdueAfter is how long an SMS may wait before something is wrong.
	overdueAfter = 5 * time.Minute
	// unhealthyFor is how long the outbox is unhealthy after a commit that failed,
	// unless another succeeds: on a full disk what Health writes may still fit.
	unhealthyFor = time.Minute
)

// Health says whether the outbox works.
type Health struct {
	// Down is whether the database cannot be used, which a restart may fix.
	Down bool
	// Problem says why it is not healthy and what to do, empty if it is.
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
		return o.unhealthy("the database cannot be written; the log says why", err)
	}
	if now.Sub(fromMillis(o.failed.Load())) < unhealthyFor {
		return Health{Down: true, Problem: "the database cannot be written: the last webhook was refused; the log says why"}
	}
	problem, err := o.waitingProblem(ctx, now)
	notes, noNotes := o.lost(ctx, now.Add(-24*time.Hour))
	if err := errors.Join(err, noNotes); err != nil {
		return o.unhealthy("the database cannot be read; the log says why", err)
	}
	return Health{Problem: problem, Notes: notes}
}

// waitingProblem says what is wrong with the SMS that wait, if anything is:
// Twilio refuses them, or they wait for too long.
func (o *Outbox) waitingProblem(ctx context.Context, now time.Time) (string, error) {
	var blocked, overdue int64
	var code, reason string // of the last attempt that was refused, and of one that is overdue
	var oldest time.Time
	err := o.db.reads.QueryRowContext(ctx, `SELECT COUNT(CASE WHEN blocked = 1 THEN 1 END), COALESCE((SELECT error FROM sms WHERE status IN ('pending', 'sending') AND blocked = 1 ORDER BY attempt_at DESC LIMIT 1), ''),
			COUNT(CASE WHEN created < $1 THEN 1 END), COALESCE(MAX(CASE WHEN created < $1 THEN error END), ''), COALESCE(MIN(created), 0)
		FROM sms WHERE status IN ('pending', 'sending')`, millis(now.Add(-overdueAfter))).Scan(&blocked, &code, &overdue, &reason, at(&oldest))
	switch {
	case err != nil:
		return "", err
	case blocked > 0:
		return fmt.Sprintf("%d SMS wait, Twilio refuses them: %s", blocked, alert.Advice(code)), nil
	case overdue > 0:
		return fmt.Sprintf("%d SMS overdue, the oldest for %s: %s", overdue, now.Sub(oldest).Round(time.Second), publicReason(reason)), nil
	}
	return "", nil
}

// publicReason returns the error of an SMS for everybody to read: Twilio's code, or words
// of ours. Any other text is for the log and the page.
func publicReason(reason string) string {
	switch {
	case strings.HasPrefix(reason, "given up: "): // here or by the sender
		return reason
	case reason == "" || strings.Trim(reason, "0123456789") != "":
		return "Twilio cannot be reached, see the log"
	}
	return reason
}

// unhealthy is the health of a database that fails. The error goes only into
// the log: it names hosts and users, and anybody may ask for the health.
func (o *Outbox) unhealthy(problem string, err error) Health {
	o.options.Logger.Error(problem, "err", err)
	return Health{Down: true, Problem: problem}
}

// Loss is SMS that did not reach a phone, for one reason.
type Loss struct {
	To     string
	Status Status
	Error  string // Twilio's code, or what went wrong
	N      int64
}

// losses returns SMS that did not reach their phones and were accepted or given
// up since a time. The time of recording would not do: what Twilio does not accept
// fails GIVE_UP_AFTER later.
func (o *Outbox) losses(ctx context.Context, since time.Time) ([]Loss, error) {
	return selectAll(ctx, o.db.reads, func(l *Loss) []any { return []any{&l.To, &l.Status, &l.Error, &l.N} }, `SELECT recipient, status, error, COUNT(*) FROM sms
		WHERE created >= $1 AND status IN ('undelivered', 'failed') AND (sent_at >= $2 OR next_at >= $2) AND error <> $3
		GROUP BY status, error, recipient ORDER BY status, error, recipient`, millis(since.Add(-o.options.GiveUpAfter-lastRetry)), millis(since), notNamed)
}

// lost tells of losses without naming phones: anybody may ask for the health.
func (o *Outbox) lost(ctx context.Context, since time.Time) ([]string, error) {
	losses, err := o.losses(ctx, since)
	var notes []string
	for i, l := range losses {
		if i+1 < len(losses) && losses[i+1].Status == l.Status && losses[i+1].Error == l.Error {
			losses[i+1].N += l.N
			continue
		}
		notes = append(notes, fmt.Sprintf("%d SMS %s in the last day: %s", l.N, l.Status, publicReason(l.Error)))
	}
	return notes, err
}
