package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
)

// phone is what the limit knows of a recipient.
type phone struct {
	used    int    // SMS that it got in the last hour or is about to get
	summary string // the SMS that will sum up what is held for it, or empty
}

// admit holds back what goes beyond the limit of a phone. While alerts are
// held for a phone, further ones join them.
func (r *recording) admit(ctx context.Context, tx *sql.Tx) error {
	if len(r.sms) == 0 {
		return nil
	}
	phones, err := lockPhones(ctx, tx, r.options.Recipients, r.now)
	if err != nil {
		return err
	}
	sent := make(map[string]bool)
	var summaries []message
	for i := range r.sms {
		m := &r.sms[i]
		p := phones[m.to]
		if p.summary == "" && p.used < r.options.PerHour {
			p.used++
			sent[m.event.ID] = true
			continue
		}
		if p.summary == "" {
			p.summary = rand.Text()
			summaries = append(summaries, message{id: p.summary, to: m.to, status: Held})
		}
		m.status, m.summary = Held, p.summary
	}
	for _, e := range r.entries {
		if e.decision == alerted && !sent[e.event.ID] {
			e.result.Text = ""
			e.decide(fmt.Sprintf("held: %d SMS in an hour", r.options.PerHour))
		}
	}
	r.sms = append(r.sms, summaries...)
	return nil
}

// lockPhones returns the phones' use of their limit, and keeps other replicas
// from using it until the transaction ends. What was sent in the last hour
// counts, and what waits, since it will be sent.
func lockPhones(ctx context.Context, tx *sql.Tx, recipients []string, now time.Time) (map[string]*phone, error) {
	if _, err := tx.ExecContext(ctx, `INSERT INTO marks (name, at, holder, until) VALUES ('limit', $1, '', 0) ON CONFLICT (name) DO UPDATE SET at = excluded.at`, millis(now)); err != nil {
		return nil, fmt.Errorf("locking the limit of SMS: %w", err)
	}
	phones := make(map[string]*phone)
	for _, to := range recipients {
		p := new(phone)
		phones[to] = p
		err := tx.QueryRowContext(ctx, `SELECT id FROM sms WHERE status = 'held' AND event = '' AND recipient = $1`, to).Scan(&p.summary)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("looking for held alerts: %w", err)
		}
	}
	type use struct {
		to string
		n  int
	}
	// After a jump of the clock, what was sent in the future counts no more.
	uses, err := selectAll(ctx, tx, func(u *use) []any { return []any{&u.to, &u.n} }, `SELECT recipient, COUNT(*) FROM (
			SELECT recipient FROM sms WHERE status IN ('pending', 'sending')
			UNION ALL SELECT recipient FROM sms WHERE sent_at > 0 AND sent_at > $1 AND sent_at <= $2
		) AS used GROUP BY recipient`, millis(now.Add(-time.Hour)), millis(now.Add(lease)))
	if err != nil {
		return nil, fmt.Errorf("counting the SMS of an hour: %w", err)
	}
	for _, u := range uses {
		if p := phones[u.to]; p != nil {
			p.used = u.n
		}
	}
	return phones, nil
}

// release sends each phone with alerts held back and room in its hour one SMS
// that sums them up.
func (o *Outbox) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
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
	phones, err := lockPhones(ctx, tx, []string{to}, now)
	if err != nil {
		return err
	}
	p := phones[to]
	if p.summary == "" || p.used >= o.options.PerHour {
		return nil
	}
	counts, err := selectAll(ctx, tx, func(c *alert.CodeCount) []any { return []any{&c.Code, &c.Count} },
		`SELECT code, COUNT(*) FROM sms WHERE status = 'held' AND summary = $1 GROUP BY code`, p.summary)
	if err != nil {
		return err
	}
	var since time.Time
	if err := tx.QueryRowContext(ctx, `SELECT created FROM sms WHERE id = $1`, p.summary).Scan(at(&since)); err != nil {
		return err
	}
	words := alert.HeldText(counts, since)
	body, other, until := wordings(words, now)
	_, err = tx.ExecContext(ctx, `UPDATE sms SET status = 'pending', body = $1, other = $2, body_until = $3, created = $4, happened = $4, next_at = $4 WHERE id = $5`,
		body, other, until, millis(now), p.summary)
	return err
}
