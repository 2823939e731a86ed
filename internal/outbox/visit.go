package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"twilio-error-sms/internal/alert"
)

// Visit opens an outbox that a server may be using, for Health, Own, TestEvents
// and silences. A visitor decides nothing and sends nothing: Record is refused, and
// events that wait are left to the server.
func Visit(ctx context.Context, address string) (*Outbox, error) {
	db, err := openDatabase(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("opening the database (DATABASE_URL): %w", err)
	}
	options := Options{Logger: slog.New(slog.DiscardHandler), Observer: silent{}}
	return &Outbox{db: db, options: options, stop: func() {}, closed: true}, nil
}

// Own remembers the SID of an SMS that did not come from the outbox as one of
// ours, so that an error about it alerts nobody. The ID is its own, as in the
// status callback.
func (o *Outbox) Own(ctx context.Context, sid, id string) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := settleSent(ctx, tx, sid, id, time.Now())
		return err
	})
}

// TestEvents returns how many test events of Event Streams came since a time.
func (o *Outbox) TestEvents(ctx context.Context, since time.Time) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err = o.db.reads.QueryRowContext(ctx, `SELECT COUNT(*) FROM events WHERE received >= $1 AND kind = $2 AND description = $3`,
		millis(since), string(alert.Other), alert.TestEvent).Scan(&n)
	return n, err
}
