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

// Status is where an SMS stands.
type Status string

// The statuses of an SMS. Sending means that a worker may be sending it, or
// that an attempt was made of which nobody knows whether Twilio accepted it.
const (
	Pending     Status = "pending"
	Sending     Status = "sending"
	Sent        Status = "sent"
	Delivered   Status = "delivered"
	Undelivered Status = "undelivered"
	Failed      Status = "failed"
	Held        Status = "held"
)

const (
	// sendTimeout bounds one attempt, the look into Twilio's log included.
	sendTimeout = 15 * time.Second
	// lease is how long a claimed SMS belongs to its worker: longer than claim
	// and attempt take and Twilio's log lags, so that who takes it over from a
	// process that died finds in the log what that one sent.
	lease = 30 * time.Second
	// longestWait is how long an alert about a message waits for the fate of
	// SMS in doubt, which may stay unknown: rather an alert too many.
	longestWait = time.Hour
	// logLag is how long Twilio's message log may take to show an SMS.
	logLag = 10 * time.Second

	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// insertSMS writes SMS, due at once unless they are held.
func insertSMS(ctx context.Context, tx *sql.Tx, bulk *statements, all []message, now time.Time) error {
	var args []any
	for _, m := range all {
		resource := m.event.Resource
		if !isMessage(resource) {
			resource = ""
		}
		args = append(args, m.ID, m.event.ID, m.event.Code, resource, m.To, m.Body, string(m.status), millis(now), millis(now))
	}
	if _, err := bulk.insertSMS.exec(ctx, tx, args); err != nil {
		return fmt.Errorf("storing SMS: %w", err)
	}
	return nil
}

// claim is an SMS that a worker may send until its lease ends.
type claim struct {
	alert.SMS
	event    string
	created  time.Time
	happened time.Time // its event
	began    time.Time // of this attempt
	attempts int
	own      bool // about an SMS of ours: not to be sent
}

// claim takes up to limit SMS that are due. One about a message waits while
// any SMS that was being sent, or in doubt, when it was recorded may turn out
// to be that message: see dropOwn.
func (o *Outbox) claim(ctx context.Context, limit int, now time.Time) ([]claim, error) {
	// Of a claim that took longer most of the lease would be over.
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	// Materialized, or Postgres may choose anew for each row. An index serves
	// only who repeats its condition.
	rows, err := o.db.writes.QueryContext(ctx, `WITH due AS MATERIALIZED (
			SELECT id FROM sms AS waiting WHERE status IN ('pending', 'sending') AND next_at <= $1
				AND (status = 'sending' OR resource = '' OR NOT EXISTS (
					SELECT 1 FROM sms AS other WHERE waiting.created > $2 AND other.status IN ('pending', 'sending') AND other.status = 'sending'
						AND COALESCE(NULLIF(other.doubt_since, 0), other.attempt_at) <= waiting.created))
			ORDER BY next_at LIMIT $3 `+o.db.skipLocked+`)
		UPDATE sms SET status = 'sending', attempts = attempts + 1, attempt_at = $1, next_at = $4,
			doubt_since = CASE WHEN status = 'sending' AND doubt_since = 0 THEN attempt_at ELSE doubt_since END
		WHERE id IN (SELECT id FROM due)
		RETURNING id, event, recipient, body, created, attempts, doubt_since,
			COALESCE((SELECT CASE kind WHEN 'alarm' THEN received ELSE happened END FROM events WHERE events.id = sms.event), created),
			resource <> '' AND EXISTS (SELECT 1 FROM sms AS other WHERE other.sid = sms.resource)`,
		millis(now), millis(now.Add(-longestWait)), limit, millis(now.Add(lease)))
	if err != nil {
		return nil, fmt.Errorf("claiming SMS: %w", err)
	}
	defer rows.Close()
	var claims []claim
	for rows.Next() {
		c := claim{began: now}
		var created, happened, doubtSince int64
		if err := rows.Scan(&c.ID, &c.event, &c.To, &c.Body, &created, &c.attempts, &doubtSince, &happened, &c.own); err != nil {
			return nil, err
		}
		c.created, c.happened, c.DoubtSince = fromMillis(created), fromMillis(happened), fromMillis(doubtSince)
		claims = append(claims, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("claiming SMS: %w", err) // rows come before the commit, which failed
	}
	return claims, nil
}

// known returns the SIDs of other SMS like c since its doubt began.
func (o *Outbox) known(ctx context.Context, c claim) ([]string, error) {
	rows, err := o.db.reads.QueryContext(ctx, `SELECT sid FROM sms WHERE sid IS NOT NULL AND recipient = $1 AND body = $2 AND id <> $3 AND sent_at > 0 AND sent_at > $4`,
		c.To, c.Body, c.ID, millis(c.DoubtSince.Add(-time.Hour)))
	if err != nil {
		return nil, fmt.Errorf("looking for SMS of the same text: %w", err)
	}
	defer rows.Close()
	var sids []string
	for rows.Next() {
		var sid string
		if err := rows.Scan(&sid); err != nil {
			return nil, err
		}
		sids = append(sids, sid)
	}
	return sids, rows.Err()
}

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

// settleFailed notes a failed attempt and when to try again, or that there is
// no more to try. It returns the status that the SMS has now, or "" when a
// report of Twilio, or another worker, settled it meanwhile.
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

// backoff returns the pause after an attempt: 1 s doubling to 5 min, less a
// random part of up to a half, so that what failed together does not return
// together.
func backoff(attempts int) time.Duration {
	pause := lastRetry
	if attempts < 10 {
		pause = min(firstRetry<<max(attempts-1, 0), lastRetry)
	}
	return pause - rand.N(pause/2)
}

// nextDue returns when the next SMS is due after now, zero when none is: what
// is due already and was not claimed waits for the fate of another.
func (o *Outbox) nextDue(ctx context.Context, now time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var at int64
	err := o.db.reads.QueryRowContext(ctx, `SELECT COALESCE(MIN(next_at), 0) FROM sms WHERE status IN ('pending', 'sending') AND next_at > $1`,
		millis(now)).Scan(&at)
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for the next SMS: %w", err)
	}
	return fromMillis(at), nil
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
	news, created := false, int64(0)
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
			string(status), r.Code, r.SID).Scan(&created)
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
		o.options.Observer.Settled(status, r.Code, time.Since(fromMillis(created)))
	}
	return news, nil
}
