package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
)

// admit holds back what goes beyond the limit of a phone. While alerts are
// held for a phone, further ones join them.
func (r *recording) admit(ctx context.Context, tx *sql.Tx) error {
	if len(r.sms) == 0 {
		return nil
	}
	used, summaries, err := lockPhones(ctx, tx, r.now)
	if err != nil {
		return err
	}
	sent := make(map[string]bool)
	var started []message
	for i := range r.sms {
		m := &r.sms[i]
		summary, holds := summaries[m.to]
		if !holds && used[m.to] < r.options.PerHour {
			used[m.to]++
			sent[m.event.ID] = true
			continue
		}
		if !holds {
			summary = message{id: rand.Text(), to: m.to, status: Held, event: alert.Event{Time: r.now}}
			summaries[m.to] = summary
			started = append(started, summary)
		}
		m.status, m.summary = Held, summary.id
	}
	for _, e := range r.entries {
		if e.decision == alerted && !sent[e.event.ID] {
			e.result.Text = ""
			e.decide(fmt.Sprintf("held: %d SMS in an hour", r.options.PerHour))
		}
	}
	r.sms = append(r.sms, started...)
	return nil
}

// lockPhones returns, for each phone, how much of its limit is used and the SMS
// that will sum up what is held for it. Until the transaction ends it keeps other
// replicas from using the limits. What was sent in the last hour counts, and what
// waits, since it will be sent.
func lockPhones(ctx context.Context, tx *sql.Tx, now time.Time) (used map[string]int, summaries map[string]message, err error) {
	if _, err := tx.ExecContext(ctx, `INSERT INTO marks (name, at, holder, until) VALUES ('limit', $1, '', 0) ON CONFLICT (name) DO UPDATE SET at = excluded.at`, millis(now)); err != nil {
		return nil, nil, fmt.Errorf("locking the limit of SMS: %w", err)
	}
	held, err := selectAll(ctx, tx, func(m *message) []any { return []any{&m.id, &m.to, at(&m.event.Time)} },
		`SELECT id, recipient, created FROM sms WHERE status = 'held' AND event = ''`)
	if err != nil {
		return nil, nil, fmt.Errorf("looking for held alerts: %w", err)
	}
	summaries = make(map[string]message)
	for _, m := range held {
		summaries[m.to] = m
	}
	// After a jump of the clock, what was sent in the future counts no more.
	used, err = selectMap[string, int](ctx, tx, `SELECT recipient, COUNT(*) FROM (
			SELECT recipient FROM sms WHERE status IN ('pending', 'sending')
			UNION ALL SELECT recipient FROM sms WHERE sent_at > 0 AND sent_at > $1 AND sent_at <= $2
		) AS used GROUP BY recipient`, millis(now.Add(-time.Hour)), millis(now.Add(lease)))
	if err != nil {
		return nil, nil, fmt.Errorf("counting the SMS of an hour: %w", err)
	}
	return used, summaries, nil
}

// release sends each phone with alerts held back and room in its hour one SMS
// that sums them up.
func (o *Outbox) release(ctx context.Context) error {
	waiting, err := selectAll(ctx, o.db.reads, one[string], `SELECT recipient FROM sms WHERE status = 'held' AND event = ''`)
	if err != nil {
		return fmt.Errorf("looking for held alerts: %w", err)
	}
	for _, to := range waiting {
		if !slices.Contains(o.options.Recipients, to) {
			continue // held by a replica whose ALERT_TO names it
		}
		if err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return o.releasePhone(ctx, tx, to, time.Now()) }); err != nil {
			return fmt.Errorf("summing up held alerts: %w", err)
		}
	}
	return nil
}

// releasePhone words the summary for a phone, and lets it go.
func (o *Outbox) releasePhone(ctx context.Context, tx *sql.Tx, to string, now time.Time) error {
	used, summaries, err := lockPhones(ctx, tx, now)
	summary, holds := summaries[to]
	if err != nil || !holds || used[to] >= o.options.PerHour {
		return err
	}
	counts, err := selectAll(ctx, tx, func(c *alert.CodeCount) []any { return []any{&c.Code, &c.Count} },
		`SELECT code, COUNT(*) FROM sms WHERE status = 'held' AND summary = $1 GROUP BY code`, summary.id)
	if err != nil {
		return err
	}
	body, other, until := wordings(alert.HeldText(counts, summary.event.Time), now)
	_, err = tx.ExecContext(ctx, `UPDATE sms SET status = 'pending', body = $1, other = $2, body_until = $3, created = $4, happened = $4, next_at = $4 WHERE id = $5`,
		body, other, until, millis(now), summary.id)
	return err
}
