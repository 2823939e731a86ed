package outbox

import (
	"context"
	"fmt"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	// purgeRows is how many rows a purge deletes at a time: few, so that webhooks
	// wait for it no longer than for each other.
	purgeRows = 200
	// purgePauses is how many times as long it rests afterwards.
	purgePauses = 9
)

// Purge deletes history older than KeepFor, a few rows at a time, until none
// is left or ctx ends.
func (o *Outbox) Purge(ctx context.Context) error {
	before := time.Now().Add(-o.options.KeepFor)
	for _, old := range []struct{ table, key, rows string }{
		{"events", "id", "received < $1 ORDER BY received"},
		{"sms", "id", "created < $1 AND status NOT IN ('pending', 'sending') AND NOT (status = 'held' AND event = '') ORDER BY created"},
		{"sids", "sid", "at < $1 ORDER BY at"},
		{"failures", "id", "at < $1 ORDER BY at"},
	} {
		query := fmt.Sprintf(`DELETE FROM %s WHERE %s IN (SELECT %s FROM %s WHERE %s LIMIT %d)`, old.table, old.key, old.key, old.table, old.rows, purgeRows)
		for {
			begin := time.Now()
			done, err := o.db.writes.ExecContext(ctx, query, millis(before))
			if err != nil {
				return fmt.Errorf("purging %s: %w", old.table, err)
			}
			n, err := done.RowsAffected()
			if err != nil {
				return fmt.Errorf("purging %s: %w", old.table, err)
			}
			if n < purgeRows {
				break
			}
			// Webhooks need the same disk: most of the time it is theirs.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(purgePauses * time.Since(begin)):
			}
		}
	}
	for _, period := range []alert.Period{alert.Hourly, alert.Daily, alert.Monthly, alert.Yearly, chartPeriod} {
		// A counter is of use until its period ends, and kept as long as any
		// history after that.
		if _, err := o.db.writes.ExecContext(ctx, `DELETE FROM counts WHERE period = $1 AND start < $2`, string(period), millis(period.Start(before))); err != nil {
			return fmt.Errorf("purging counts: %w", err)
		}
	}
	return nil
}
