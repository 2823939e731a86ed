package outbox

import (
	"context"
	"fmt"
	"strings"
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
// is left or ctx ends. A counter is of use until its period ends, and kept as
// long as any history after that.
func (o *Outbox) Purge(ctx context.Context) error {
	before := time.Now().Add(-o.options.KeepFor)
	for _, old := range []struct{ table, key, rows string }{
		{"events", "id", "received < $1 ORDER BY received"},
		{"sms", "id", "created < $1 AND status NOT IN ('pending', 'sending') AND NOT (status = 'held' AND event = '') ORDER BY created"},
		{"sids", "sid", "at < $1 ORDER BY at"},
		{"failures", "id", "at < $1 ORDER BY at"},
	} {
		if err := o.purge(ctx, old.table, old.key, old.rows, millis(before)); err != nil {
			return err
		}
	}
	for _, period := range []alert.Period{alert.Hourly, alert.Daily, alert.Monthly, alert.Yearly, chartPeriod} {
		if err := o.purge(ctx, "counts", "(account, code, period, start)", "start < $1 AND period = $2 ORDER BY start", millis(period.Start(before)), string(period)); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes rows of a table by its key, with rests.
func (o *Outbox) purge(ctx context.Context, table, key, rows string, args ...any) error {
	query := fmt.Sprintf(`DELETE FROM %s WHERE %s IN (SELECT %s FROM %s WHERE %s LIMIT %d)`, table, key, strings.Trim(key, "()"), table, rows, purgeRows)
	for {
		begin := time.Now()
		n, err := rowsOf(o.db.writes.ExecContext(ctx, query, args...))
		if err != nil {
			return fmt.Errorf("purging %s: %w", table, err)
		}
		if n < purgeRows {
			return nil
		}
		// Webhooks need the same disk: most of the time it is theirs.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(purgePauses * time.Since(begin)):
		}
	}
}
