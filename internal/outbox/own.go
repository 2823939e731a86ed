package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"twilio-error-sms/internal/alert"
)

// dropOwn decides the events about SMS that we sent, and notes them there: a
// failing alert must not breed alerts.
func (r *recording) dropOwn(ctx context.Context, tx *sql.Tx) error {
	var resources []any
	for _, e := range r.entries {
		if isMessage(e.event.Resource) {
			resources = append(resources, e.event.Resource)
		}
	}
	own, err := r.bulk.ownMessages.among(ctx, tx, resources)
	if err != nil {
		return fmt.Errorf("looking for SMS of our own: %w", err)
	}
	for _, e := range r.entries {
		if !own[e.event.Resource] {
			continue
		}
		e.decide(ownSMS)
		if err := noteOwn(ctx, tx, e.event); err != nil {
			return err
		}
	}
	return nil
}

// isMessage reports whether sid is of a message, which may be one of ours.
func isMessage(sid string) bool {
	return strings.HasPrefix(sid, "SM") || strings.HasPrefix(sid, "MM")
}

// noteOwn notes an error on the SMS of ours that it is about.
func noteOwn(ctx context.Context, tx *sql.Tx, e alert.Event) error {
	if e.Code == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE sms SET error = $1 WHERE sid = $2`, e.Code, e.Resource); err != nil {
		return fmt.Errorf("noting an error on our SMS: %w", err)
	}
	return nil
}
