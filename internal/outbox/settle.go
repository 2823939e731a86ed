package outbox

import (
	"cmp"
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
		settled, err = settleSent(ctx, tx, sid, c.ID, now)
		if err != nil || settled {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE sms SET next_at = $1 WHERE id = $2 AND status = 'sending'`, millis(now.Add(logLag)), c.ID)
		return err
	})
	return settled, err
}

// settleSent remembers the SID of an SMS of ours, and reports whether it is this
// one's: not if it was told of another SMS first. The SMS is then sent, unless it has
// a SID. Callbacks come in any order, and before the answer to our own call.
func settleSent(ctx context.Context, tx *sql.Tx, sid, sms string, now time.Time) (bool, error) {
	var owner string
	err := tx.QueryRowContext(ctx, `INSERT INTO sids (sid, sms, at) VALUES ($1, $2, $3) ON CONFLICT (sid) DO UPDATE SET at = sids.at RETURNING sms`,
		sid, sms, millis(now)).Scan(&owner)
	if err != nil {
		return false, fmt.Errorf("remembering the SID of an SMS: %w", err)
	}
	if owner != sms {
		return false, nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE sms SET status = 'sent', sid = $1, sent_at = $2, error = '', blocked = 0
		WHERE id = $3 AND sid IS NULL AND status IN ('pending', 'sending', 'failed')`, sid, millis(now), sms)
	return true, err
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
	news := false
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := rowsOf(tx.ExecContext(ctx, `UPDATE sms SET status = $1, next_at = $2, error = $3, blocked = CASE WHEN $4 THEN 1 ELSE 0 END
			WHERE id = $5 AND status = 'sending' AND attempt_at = $6`, string(status), millis(next), reason, failure.Outcome == alert.Blocked, c.ID, millis(c.began)))
		news = n > 0
		if err != nil || !logged(failure) {
			return err
		}
		return insertFailure(ctx, tx, fmt.Sprintf("%s %d", c.ID, c.attempts), failure.Code, 0, now)
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
	pause := min(firstRetry<<min(max(attempts-1, 0), 9), lastRetry)
	return pause - rand.N(pause/2)
}

// reported maps Twilio's words for what became of an SMS to ours. By any other
// Twilio has it. Statuses only move forward, from sent to one of these.
var reported = map[string]Status{
	"delivered": Delivered, "read": Delivered, "undelivered": Undelivered, "failed": Undelivered, "canceled": Undelivered,
}

// Deliver notes what became of an SMS and returns whether that was news. A
// report of an SMS whose acceptance was in doubt settles the doubt. Twilio may
// report several copies of an SMS: all of their SIDs are ours, and the one noted
// first tells what became of it.
func (o *Outbox) Deliver(ctx context.Context, r alert.Report) (bool, error) {
	status := cmp.Or(reported[r.Status], Sent)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	news, created := false, time.Time{}
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := time.Now()
		if r.ID != "" {
			if _, err := settleSent(ctx, tx, r.SID, r.ID, now); err != nil {
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
