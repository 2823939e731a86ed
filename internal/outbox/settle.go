package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	// logLag is how long Twilio's message log may take to show an SMS.
	logLag = 10 * time.Second
	// firstRetry and lastRetry are the shortest and the longest pause between
	// two attempts.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// settleAccepted notes that Twilio accepted c. A SID that another SMS has
// already cannot be this one's: it stays in doubt.
func (o *Outbox) settleAccepted(ctx context.Context, c claim, sid string, now time.Time) error {
	return o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE sms SET status = 'sent', sid = $1, sent_at = $2, error = ''
			WHERE id = $3 AND sid IS NULL AND NOT EXISTS (SELECT 1 FROM sms AS other WHERE other.sid = $1)`, sid, millis(now), c.ID)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); n > 0 || err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE sms SET next_at = $1 WHERE id = $2 AND sid IS NULL AND status = 'sending'`, millis(now.Add(logLag)), c.ID)
		return err
	})
}

// settleFailed notes a failed attempt and when to try again, or that the SMS has
// failed. It returns the new status of the SMS, or "" if a status callback or
// another worker settled it meanwhile.
func (o *Outbox) settleFailed(ctx context.Context, c claim, failure *alert.SendError, now time.Time) (Status, error) {
	status, next := Pending, now.Add(max(backoff(c.attempts), failure.RetryAfter))
	switch {
	case failure.Outcome == alert.Refused, now.Sub(c.created) > o.options.GiveUpAfter:
		status = Failed
	case failure.Outcome == alert.InDoubt:
		status, next = Sending, now.Add(max(backoff(c.attempts), logLag))
	case !c.DoubtSince.IsZero():
		status = Sending // the doubt about an earlier attempt stays
	}
	reason := failure.Code
	if reason == "" {
		reason = oneLine(failure.Err.Error())
	}
	done, err := o.db.writes.ExecContext(ctx, `UPDATE sms SET status = $1, next_at = $2, error = $3
		WHERE id = $4 AND status = 'sending' AND attempt_at = $5`, string(status), millis(next), reason, c.ID, millis(c.began))
	if err != nil {
		return status, err
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return "", err
	}
	return status, nil
}

// oneLine makes an error fit for a column: Postgres refuses NUL and broken
// UTF-8.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, "\x00", " ")), " ")
	return strings.ToValidUTF8(s[:min(len(s), 200)], "")
}

// backoff returns the pause after an attempt: 1 s doubling to 5 min, shortened
// by up to a half at random, so that SMS that failed together do not return
// together.
func backoff(attempts int) time.Duration {
	pause := lastRetry
	if attempts < 10 {
		pause = min(firstRetry<<max(attempts-1, 0), lastRetry)
	}
	return pause - rand.N(pause/2)
}

// reported maps Twilio's words to ours. Statuses only move forward, from sent
// to one of the others.
var reported = map[string]Status{
	"accepted": Sent, "scheduled": Sent, "queued": Sent, "sending": Sent, "sent": Sent,
	"delivered": Delivered, "read": Delivered, "undelivered": Undelivered, "failed": Undelivered, "canceled": Undelivered,
}

// Deliver notes what became of an SMS and returns whether that was news. A
// report of an SMS whose acceptance was in doubt settles the doubt.
func (o *Outbox) Deliver(ctx context.Context, r alert.Report) (bool, error) {
	status, ok := reported[r.Status]
	if !ok {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	news, created := false, time.Time{}
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := millis(time.Now())
		// Callbacks come in any order, and before the answer to our own call.
		if _, err := tx.ExecContext(ctx, `UPDATE sms SET sid = $1, status = 'sent', sent_at = $2, error = '' WHERE id = $3 AND sid IS NULL
			AND status IN ('pending', 'sending', 'failed') AND NOT EXISTS (SELECT 1 FROM sms AS other WHERE other.sid = $1)`, r.SID, now, r.ID); err != nil {
			return err
		}
		if status == Sent {
			return nil
		}
		err := tx.QueryRowContext(ctx, `UPDATE sms SET status = $1, error = $2 WHERE sid = $3 AND status = 'sent' RETURNING created`,
			string(status), r.Code, r.SID).Scan(at(&created))
		news = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("noting a delivery report: %w", err)
	}
	if news {
		o.options.Observer.Settled(status, r.Code, time.Since(created))
	}
	return news, nil
}
