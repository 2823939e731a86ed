package outbox

import (
	"context"
	"fmt"
	"time"

	"twilio-error-sms/internal/alert"
)

// Status is where an SMS stands.
type Status string

// The statuses of an SMS. Sending means that a worker may be sending it, or
// that Twilio may have accepted an earlier attempt.
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
	// lease is how long a claimed SMS belongs to its worker. It is longer than a
	// claim, an attempt and the lag of Twilio's message log together: when a
	// process dies, the log shows what it sent before another claims the SMS.
	lease = 30 * time.Second
	// longestWait is how long an alert about a message waits for SMS in doubt,
	// which may never settle: better one alert too many.
	longestWait = time.Hour
)

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
	// After a longer claim little of the lease would be left.
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	// Materialized, or Postgres may choose again for each row. SQLite uses a
	// partial index only if the query repeats its condition.
	claims, err := selectAll(ctx, o.db.writes, func(c *claim) []any {
		return []any{&c.ID, &c.event, &c.To, &c.Body, at(&c.created), &c.attempts, at(&c.DoubtSince), at(&c.happened), &c.own}
	}, `WITH due AS MATERIALIZED (
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
	if err != nil { // the rows come before the commit, which may fail
		return nil, fmt.Errorf("claiming SMS: %w", err)
	}
	for i := range claims {
		claims[i].began = now
	}
	return claims, nil
}

// known returns the SIDs of other SMS like c since its doubt began.
func (o *Outbox) known(ctx context.Context, c claim) ([]string, error) {
	sids, err := selectAll(ctx, o.db.reads, one[string],
		`SELECT sid FROM sms WHERE sid IS NOT NULL AND recipient = $1 AND body = $2 AND id <> $3 AND sent_at > 0 AND sent_at > $4`,
		c.To, c.Body, c.ID, millis(c.DoubtSince.Add(-time.Hour)))
	if err != nil {
		return nil, fmt.Errorf("looking for SMS of the same text: %w", err)
	}
	return sids, nil
}

// nextDue returns when the next SMS is due after now, zero if there is none. An
// SMS that is due already and was not claimed waits for another to settle.
func (o *Outbox) nextDue(ctx context.Context, now time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var due time.Time
	err := o.db.reads.QueryRowContext(ctx, `SELECT COALESCE(MIN(next_at), 0) FROM sms WHERE status IN ('pending', 'sending') AND next_at > $1`,
		millis(now)).Scan(at(&due))
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for the next SMS: %w", err)
	}
	return due, nil
}
