package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"twilio-error-sms/internal/alert"
)

// retract takes back an alert that turned out to be about an SMS of our own.
// An error about another message that missed its alert by it gets it instead.
func (o *Outbox) retract(ctx context.Context, c claim) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM sms WHERE id = $1`, c.ID); err != nil {
			return err
		}
		var e alert.Event
		var happened, received int64
		err := tx.QueryRowContext(ctx, `UPDATE events SET decision = $1 WHERE id = $2 AND decision <> $1
			RETURNING kind, account, code, level, resource, happened, received`, ownSMS, c.event).Scan(&e.Kind, &e.Account, &e.Code, &e.Level, &e.Resource, &happened, &received)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // done with the SMS to another recipient
		}
		if err != nil {
			return err
		}
		e.Time = fromMillis(happened)
		if err := noteOwn(ctx, tx, e); err != nil {
			return err
		}
		taken := make(map[alert.Counter]int64)
		for _, counter := range o.options.Triggers.Counters(e) {
			taken[counter] = -1
		}
		counts, err := addCounts(ctx, tx, &o.db.bulk, taken)
		if err != nil {
			return err
		}
		if decision, missed := o.options.Triggers.Missed(e, counts); missed {
			return o.makeUp(ctx, tx, e, decision, received)
		}
		return nil
	})
}

// makeUp alerts of the latest event like e, and since it, that did not alert.
func (o *Outbox) makeUp(ctx context.Context, tx *sql.Tx, e alert.Event, decision alert.Decision, since int64) error {
	missed := &entry{result: new(Result)}
	var happened int64
	m := &missed.event
	err := tx.QueryRowContext(ctx, `SELECT id, kind, account, code, level, description, resource, happened FROM events
		WHERE received >= $1 AND account = $2 AND (code = $3 OR $4 = 1) AND level = $5 AND kind NOT IN ('alarm', 'other') AND decision NOT IN ($6, $7)
		ORDER BY received DESC LIMIT 1`, since, e.Account, e.Code, boolean(decision.Together), string(e.Level), alerted, ownSMS).Scan(
		&m.ID, &m.Kind, &m.Account, &m.Code, &m.Level, &m.Description, &m.Resource, &happened)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the error that missed its alert: %w", err)
	}
	m.Time = fromMillis(happened)
	r := newRecording(&o.db.bulk, o.options, time.Now(), nil)
	r.entries = append(r.entries, missed)
	r.follow(missed, decision)
	if err := r.admit(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE events SET decision = $1 WHERE id = $2`, missed.decision, m.ID); err != nil {
		return err
	}
	return insertSMS(ctx, tx, r.bulk, r.sms, r.now)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
