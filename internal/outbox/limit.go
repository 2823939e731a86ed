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

// phone is what the limit knows of a recipient: how many SMS it got in the
// last hour or is about to get, and how many alerts are held back for it.
type phone struct {
	used int
	held int64
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
	held := make(map[string]int64)
	sent := make(map[string]bool)
	for i, m := range r.sms {
		p := phones[m.To]
		if p.held+held[m.To] > 0 || p.used >= r.options.PerHour {
			r.sms[i].status = Held
			held[m.To]++
			continue
		}
		p.used++
		sent[m.event.ID] = true
	}
	for _, e := range r.entries {
		if e.decision == alerted && !sent[e.event.ID] {
			e.result.Text = ""
			e.decide(fmt.Sprintf("held: %d SMS in an hour", r.options.PerHour))
		}
	}
	for to, n := range held {
		// Of two replicas the one that began first may hold second.
		if _, err := tx.ExecContext(ctx, `UPDATE phones SET held = held + $1, held_since = CASE WHEN held = 0 OR held_since > $2 THEN $2 ELSE held_since END WHERE recipient = $3`,
			n, millis(r.now), to); err != nil {
			return fmt.Errorf("holding alerts back: %w", err)
		}
	}
	return nil
}

// lockPhones returns the phones' use of their limit, and keeps other replicas
// from using it until the transaction ends. What was sent in the last hour
// counts, and what waits, since it will be sent.
func lockPhones(ctx context.Context, tx *sql.Tx, recipients []string, now time.Time) (map[string]*phone, error) {
	phones := make(map[string]*phone)
	for _, to := range slices.Sorted(slices.Values(recipients)) {
		p := new(phone)
		phones[to] = p
		if err := tx.QueryRowContext(ctx, `INSERT INTO phones (recipient, held, held_since) VALUES ($1, 0, 0)
			ON CONFLICT (recipient) DO UPDATE SET held = phones.held RETURNING held`, to).Scan(&p.held); err != nil {
			return nil, fmt.Errorf("locking the limit of a phone: %w", err)
		}
	}
	type use struct {
		to string
		n  int
	}
	uses, err := selectAll(ctx, tx, func(u *use) []any { return []any{&u.to, &u.n} }, `SELECT recipient, COUNT(*) FROM (
			SELECT recipient FROM sms WHERE status IN ('pending', 'sending')
			UNION ALL SELECT recipient FROM sms WHERE sent_at > 0 AND sent_at > $1
		) AS used GROUP BY recipient`, millis(now.Add(-time.Hour)))
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
	waiting, err := selectAll(ctx, o.db.reads, one[string], `SELECT recipient FROM phones WHERE held > 0`)
	if err != nil {
		return fmt.Errorf("looking for held alerts: %w", err)
	}
	for _, to := range waiting {
		if !slices.Contains(o.options.Recipients, to) {
			continue // ALERT_TO no longer names it
		}
		if err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return o.releasePhone(ctx, tx, to, time.Now()) }); err != nil {
			return fmt.Errorf("summing up held alerts: %w", err)
		}
	}
	return nil
}

func (o *Outbox) releasePhone(ctx context.Context, tx *sql.Tx, to string, now time.Time) error {
	phones, err := lockPhones(ctx, tx, []string{to}, now)
	if err != nil {
		return err
	}
	if p := phones[to]; p.held == 0 || p.used >= o.options.PerHour {
		return nil
	}
	var since time.Time
	if err := tx.QueryRowContext(ctx, `SELECT held_since FROM phones WHERE recipient = $1`, to).Scan(at(&since)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE phones SET held = 0, held_since = 0 WHERE recipient = $1`, to); err != nil {
		return err
	}
	counts, err := heldCounts(ctx, tx, to, since)
	if err != nil || len(counts) == 0 {
		return err
	}
	body := alert.HeldText(counts, since)
	return insertSMS(ctx, tx, &o.db.bulk, []message{{alert.SMS{ID: rand.Text(), To: to, Body: body}, alert.Event{}, Pending}}, now)
}

// heldCounts counts by code what was held for a phone since a time, without
// what turned out to be about SMS of our own.
func heldCounts(ctx context.Context, tx *sql.Tx, to string, since time.Time) ([]alert.CodeCount, error) {
	return selectAll(ctx, tx, func(c *alert.CodeCount) []any { return []any{&c.Code, &c.Count} }, `SELECT code, COUNT(*) FROM sms WHERE status = 'held' AND recipient = $1 AND created >= $2
		AND (resource = '' OR resource NOT IN (SELECT sid FROM sms WHERE sid IS NOT NULL)) GROUP BY code`, to, millis(since))
}
