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

// settleAccepted notes that Twilio accepted c, and reports whether it did: a SID
// that belongs to another SMS cannot be this one's, which stays in doubt.
func (o *Outbox) settleAccepted(ctx context.Context, c claim, sid string, now time.Time) (settled bool, err error) {
	err = o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		owner, err := keepSID(ctx, tx, sid, c.ID, now)
		if err != nil {
			return err
		}
		if settled = owner == c.ID; !settled {
			_, err = tx.ExecContext(ctx, `UPDATE sms SET next_at = $1 WHERE id = $2 AND status = 'sending'`, millis(now.Add(logLag)), c.ID)
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE sms SET status = 'sent', sid = $1, sent_at = $2, error = '', blocked = 0 WHERE id = $3 AND sid IS NULL`, sid, millis(now), c.ID)
		return err
	})
	return settled, err
}

// keepSID remembers the SID of an SMS of ours, and returns the SMS that it
// belongs to: another one, where that was told first.
func keepSID(ctx context.Context, tx *sql.Tx, sid, sms string, now time.Time) (owner string, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO sids (sid, sms, at) VALUES ($1, $2, $3) ON CONFLICT (sid) DO UPDATE SET at = sids.at RETURNING sms`,
		sid, sms, millis(now)).Scan(&owner)
	if err != nil {
		return "", fmt.Errorf("remembering the SID of an SMS: %w", err)
	}
	return owner, nil
}

// settleFailed notes a failed attempt and when to try again, or that the SMS has
// failed. It returns the new status of the SMS, or "" if a status callback or
// another worker settled it meanwhile.
func (o *Outbox) settleFailed(ctx context.Context, c claim, failure *alert.SendError, now time.Time) (Status, error) {
	status, next := Pending, now.Add(max(backoff(c.attempts), failure.RetryAfter))
	late := now.Sub(c.happened) - o.options.GiveUpAfter
	doubt := !c.DoubtSince.IsZero()
	switch {
	case failure.Outcome == alert.Refused, late > 0 && !doubt && failure.Outcome != alert.InDoubt, late > longestWait:
		status = Failed
	case failure.Outcome == alert.InDoubt:
		status, next = Sending, now.Add(max(backoff(c.attempts), logLag))
	case doubt:
		status = Sending // the doubt about an earlier attempt stays
	}
	reason := failure.Code
	if reason == "" {
		reason = oneLine(failure.Err.Error())
	}
	blocked := 0
	if failure.Outcome == alert.Blocked {
		blocked = 1
	}
	news := false
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE sms SET status = $1, next_at = $2, error = $3, blocked = $4
			WHERE id = $5 AND status = 'sending' AND attempt_at = $6`, string(status), millis(next), reason, blocked, c.ID, millis(c.began))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		news = n > 0
		if err != nil || !logged(failure) {
			return err
		}
		return insertFailure(ctx, tx, fmt.Sprintf("%s %d", c.ID, c.attempts), failure.Code, now)
	})
	if err != nil || !news {
		return "", err
	}
	return status, nil
}

// logged reports whether Twilio logs a refusal as an error of the account, which
// an Alarm then counts: not limits, and not what was never let in (20xxx).
func logged(failure *alert.SendError) bool {
	refused := failure.Outcome == alert.Refused || failure.Outcome == alert.Blocked
	return refused && failure.Code != "" && !strings.HasPrefix(failure.Code, "20")
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
// report of an SMS whose acceptance was in doubt settles the doubt. Twilio may
// report several copies of an SMS: all of their SIDs are ours, and the one noted
// first tells what became of it.
func (o *Outbox) Deliver(ctx context.Context, r alert.Report) (bool, error) {
	status, ok := reported[r.Status]
	if !ok {
		status = Sent // new words of Twilio's: it has the SMS
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	news, created := false, time.Time{}
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := time.Now()
		if r.ID != "" {
			if err := settleReported(ctx, tx, r, now); err != nil {
				return err
			}
		}
		if status == Sent {
			return nil
		}
		err := tx.QueryRowContext(ctx, `UPDATE sms SET status = $1, error = $2 WHERE sid = $3 AND status = 'sent' RETURNING created`,
			string(status), r.Code, r.SID).Scan(at(&created))
		news = err == nil
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if status != Undelivered {
			return nil
		}
		// Twilio may say the code only when it reports again.
		return noteFailure(ctx, tx, r.SID, r.Code, now)
	})
	if err != nil {
		return false, fmt.Errorf("noting a delivery report: %w", err)
	}
	signal(o.settled)
	if news {
		o.options.Observer.Settled(status, r.Code, time.Since(created))
	}
	return news, nil
}

// settleReported settles the SMS that a report names. Callbacks come in any
// order, and before the answer to our own call.
func settleReported(ctx context.Context, tx *sql.Tx, r alert.Report, now time.Time) error {
	owner, err := keepSID(ctx, tx, r.SID, r.ID, now)
	if err != nil || owner != r.ID {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE sms SET sid = $1, status = 'sent', sent_at = $2, error = '', blocked = 0
		WHERE id = $3 AND sid IS NULL AND status IN ('pending', 'sending', 'failed')`, r.SID, millis(now), r.ID)
	return err
}
