package outbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// Scan implements sql.Scanner. It refuses a status of a newer program.
func (s *Status) Scan(column any) error {
	switch text, _ := column.(string); Status(text) {
	case Pending, Sending, Sent, Delivered, Undelivered, Failed, Held:
		*s = Status(text)
		return nil
	}
	return fmt.Errorf("an SMS has the unknown status %q: was the database written by a newer program?", column)
}

const (
	// sendTimeout bounds one attempt, the look into Twilio's log included.
	sendTimeout = 15 * time.Second
	// lease is how long a claimed SMS belongs to its worker. It is longer than a
	// claim, an attempt and the lag of Twilio's message log together: when a
	// process dies, the log shows what it sent before another claims the SMS.
	lease = 30 * time.Second
)

// claim is an SMS that a worker may send until its lease ends.
type claim struct {
	alert.SMS
	happened time.Time // its event
	began    time.Time // of this attempt
	attempts int
}

// claim takes up to limit SMS that are due, but none of those in flight, which
// this process is sending whatever the clock says of their lease. It
// words each for now.
func (o *Outbox) claim(ctx context.Context, limit int, now time.Time, inFlight []string) ([]claim, error) {
	// After a longer claim little of the lease would be left. A stop does not
	// cancel it: the SMS would be claimed, and nobody would know.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	// Materialized, or Postgres may choose anew for each row. SQLite uses a
	// partial index only if the query repeats its condition. NOT LIKE looks for an
	// ID, which has no wildcard in it, among those in flight.
	claims, err := selectAll(ctx, o.db.writes, func(c *claim) []any {
		return []any{&c.ID, &c.To, &c.Body, &c.Other, &c.attempts, at(&c.DoubtSince), at(&c.began), at(&c.happened)}
	}, `WITH due AS MATERIALIZED (
			SELECT id FROM sms WHERE status IN ('pending', 'sending') AND next_at <= $1 AND $4 NOT LIKE '%' || id || '%'
			ORDER BY next_at LIMIT $2 `+o.db.skipLocked+`)
		UPDATE sms SET status = 'sending', attempts = attempts + 1, attempt_at = $1, next_at = $3,
			doubt_since = CASE WHEN status = 'sending' AND doubt_since = 0 THEN attempt_at ELSE doubt_since END,
			body = CASE WHEN body_until BETWEEN 1 AND $1 THEN other ELSE body END,
			other = CASE WHEN body_until BETWEEN 1 AND $1 THEN body ELSE other END,
			body_until = CASE WHEN body_until BETWEEN 1 AND $1 THEN 0 ELSE body_until END
		WHERE id IN (SELECT id FROM due)
		RETURNING id, recipient, body, other, attempts, doubt_since, attempt_at, happened`,
		millis(now), limit, millis(now.Add(lease)), strings.Join(inFlight, " "))
	if err != nil { // perhaps after some rows: they come before the commit
		return nil, fmt.Errorf("claiming SMS: %w", err)
	}
	return claims, nil
}

// known returns the SIDs of other SMS of ours since the doubt about c began.
func (o *Outbox) known(ctx context.Context, c claim) ([]string, error) {
	sids, err := selectAll(ctx, o.db.reads, one[string], `SELECT sid FROM sids WHERE sms <> $1 AND at > $2
			AND NOT EXISTS (SELECT 1 FROM sms WHERE sms.id = sids.sms AND sms.recipient <> $3)`,
		c.ID, millis(c.DoubtSince.Add(-time.Hour)), c.To)
	if err != nil {
		return nil, fmt.Errorf("looking for other SMS of ours: %w", err)
	}
	return sids, nil
}

// begin makes due what only waited for another start: SMS that Twilio refused
// for a setting. SMS to phones that ALERT_TO no longer names it closes.
func (o *Outbox) begin(ctx context.Context) error {
	now := millis(time.Now())
	if _, err := o.db.exec(ctx, "trying again what was refused",
		`UPDATE sms SET next_at = $1 WHERE status IN ('pending', 'sending') AND status = 'pending' AND blocked = 1`, now); err != nil {
		return err
	}
	phones, err := selectAll(ctx, o.db.reads, one[string], `SELECT DISTINCT recipient FROM sms
		WHERE status IN ('pending', 'sending') AND status = 'pending' UNION SELECT recipient FROM sms WHERE status = 'held' AND event = ''`)
	if err != nil {
		return fmt.Errorf("looking for phones with SMS: %w", err)
	}
	for _, to := range phones {
		if slices.Contains(o.options.Recipients, to) {
			continue
		}
		n, err := o.db.exec(ctx, "closing SMS to a phone that ALERT_TO no longer names", `UPDATE sms SET status = 'failed', next_at = $1, error = $2
			WHERE recipient = $3 AND (status = 'pending' OR status = 'held' AND event = '')`, now, notNamed, to)
		if err != nil {
			return err
		}
		o.options.Logger.Warn("SMS closed: ALERT_TO no longer names the phone", "to", alert.Mask(to), "sms", n)
	}
	return nil
}

// notNamed is the error of an SMS to a phone that was taken out of ALERT_TO.
const notNamed = "ALERT_TO no longer names this phone"

// undoClockJump makes due what a clock that was ahead has put off: an SMS whose last
// attempt, or which itself, would be of the future.
func (o *Outbox) undoClockJump(ctx context.Context, now time.Time) error {
	_, err := o.db.exec(ctx, "looking for SMS of the future",
		`UPDATE sms SET next_at = $1 WHERE status IN ('pending', 'sending') AND next_at > $1 AND (created > $2 OR attempt_at > $2)`,
		millis(now), millis(now.Add(lease)))
	return err
}

// nextDue returns when the next SMS is due after now, zero when none is: what
// is due already and was not claimed waits for the fate of another.
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
