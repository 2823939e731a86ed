package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
)

// longestWait is how long an event waits for the fate of SMS in doubt, which
// may stay unknown: better one alert too many.
const longestWait = time.Hour

// decideTimeout bounds a decision of events that waited. With chartTimeout it is
// less than commitTimeout: webhooks wait for both.
const decideTimeout = 3 * time.Second

// replicaSkew is by how much the clocks of two replicas may differ.
const replicaSkew = 2 * time.Second

// wait lets events wait that may be about an SMS whose SID is not known yet: a
// worker is sending it, or asks Twilio what became of it.
//
// It looks before dropOwn does. What settles between the two looks has its SID
// for the second.
func (r *recording) wait(ctx context.Context, tx *sql.Tx) error {
	if len(r.messages()) == 0 {
		return nil
	}
	var sending bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sms WHERE status = 'sending')`).Scan(&sending); err != nil {
		return fmt.Errorf("looking for SMS in flight: %w", err)
	}
	if !sending {
		return nil
	}
	known, err := among[string](ctx, tx, &r.bulk.ownMessages, r.messages())
	if err != nil {
		return fmt.Errorf("looking for SMS of our own: %w", err)
	}
	for _, delivery := range r.deliveries {
		id := rand.Text()
		for _, e := range delivery {
			if e.decision != "" || !r.mayBeOurs(e.event) || known[e.event.Resource] {
				continue
			}
			e.decide(waits)
			if _, err := tx.ExecContext(ctx, `INSERT INTO waiting (event, delivery, since) VALUES ($1, $2, $3) ON CONFLICT (event) DO NOTHING`,
				e.event.ID, id, millis(r.now)); err != nil {
				return fmt.Errorf("storing an event that waits: %w", err)
			}
		}
	}
	return nil
}

// messages returns the SIDs of the messages that undecided events are about
// and that may be ours.
func (r *recording) messages() (sids []any) {
	for _, e := range r.entries {
		if e.decision == "" && r.mayBeOurs(e.event) {
			sids = append(sids, e.event.Resource)
		}
	}
	return sids
}

// mayBeOurs reports whether e is about a message of the account that sends our
// SMS.
func (r *recording) mayBeOurs(e alert.Event) bool {
	message := strings.HasPrefix(e.Resource, "SM") || strings.HasPrefix(e.Resource, "MM")
	return message && r.sameAccount(e)
}

func (r *recording) sameAccount(e alert.Event) bool {
	return e.Account == "" || r.options.Account == "" || e.Account == r.options.Account
}

// dropOwn decides the events about SMS that we sent, and notes them there: a
// failing alert must not breed alerts.
func (r *recording) dropOwn(ctx context.Context, tx *sql.Tx) error {
	own, err := among[string](ctx, tx, &r.bulk.ownMessages, r.messages())
	if err != nil {
		return fmt.Errorf("looking for SMS of our own: %w", err)
	}
	for _, e := range r.entries {
		if e.decision != "" {
			continue
		}
		if own[e.event.Resource] {
			e.decide(ownSMS)
			if err := noteFailure(ctx, tx, e.event.Resource, e.event.Code, r.now); err != nil {
				return err
			}
			continue
		}
		drop := r.dropOwnRefusal
		if e.event.Kind == alert.Alarm {
			drop = r.dropOwnAlarm
		}
		if err := drop(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// sameTime is by how much Twilio's time of an error may differ from ours.
const sameTime = 2 * time.Minute

// dropOwnRefusal decides an event about nothing, such as a request to the API that
// Twilio refused, if an SMS of ours was refused at that time with that code. Each
// refusal is the cause of one event.
func (r *recording) dropOwnRefusal(ctx context.Context, tx *sql.Tx, e *entry) error {
	if e.event.Resource != "" || e.event.Code == "" || !r.sameAccount(e.event) {
		return nil
	}
	n, err := rowsOf(tx.ExecContext(ctx, `UPDATE failures SET told = 1 WHERE told = 0 AND id = (SELECT id FROM failures
		WHERE at BETWEEN $1 AND $2 AND code = $3 AND told = 0 ORDER BY at LIMIT 1)`,
		millis(e.event.Time.Add(-sameTime)), millis(e.event.Time.Add(sameTime)), e.event.Code))
	if err != nil {
		return fmt.Errorf("looking for refused SMS of our own: %w", err)
	}
	if n > 0 {
		e.decide(ownSMS)
	}
	return nil
}

// dropOwnAlarm decides an Alarm that counted nothing but failures of our own
// SMS: it does not say what it is about, but how many it counted, and since
// when.
func (r *recording) dropOwnAlarm(ctx context.Context, tx *sql.Tx, e *entry) error {
	since := e.event.CountedSince()
	if since.IsZero() || !r.sameAccount(e.event) {
		return nil
	}
	code := e.event.Code
	if e.event.CountsEverything() {
		code = ""
	}
	var failed int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM failures WHERE at >= $1 AND (code = $2 OR $2 = '')`, millis(since), code).Scan(&failed); err != nil {
		return fmt.Errorf("counting our own failures: %w", err)
	}
	if failed >= e.event.Count {
		e.decide(fmt.Sprintf("%s: it counted %d, and %d of ours failed", ownSMS, e.event.Count, failed))
	}
	return nil
}

// noteFailure notes an error that Twilio logged about an SMS of ours, by its
// SID, once for each.
func noteFailure(ctx context.Context, tx *sql.Tx, sid, code string, now time.Time) error {
	if code == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE sms SET error = $1 WHERE id = (SELECT sms FROM sids WHERE sid = $2)`, code, sid); err != nil {
		return fmt.Errorf("noting an error on our SMS: %w", err)
	}
	return insertFailure(ctx, tx, sid, code, 1, now)
}

func insertFailure(ctx context.Context, tx *sql.Tx, id, code string, told int, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO failures (id, at, code, told) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`, id, millis(now), code, told); err != nil {
		return fmt.Errorf("noting a failure of our SMS: %w", err)
	}
	return nil
}

// decideWaiting decides the events whose wait is over: every SMS that was in
// flight when they came has settled, or they have waited for an hour. What fails
// is tried again a second later.
func (o *Outbox) decideWaiting(ctx context.Context, chart map[alert.Counter]int64) {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	var left bool
	err := o.db.reads.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM waiting)`).Scan(&left)
	o.waiting.Store(left || err != nil)
	if !left || err != nil {
		return
	}
	var r *recording
	err = o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = o.newRecording(nil)
		if err := r.loadWaiting(ctx, tx, o.db.skipLocked); err != nil || len(r.entries) == 0 {
			return err
		}
		return inOrder(ctx, tx, r.decide, r.updateEvents)
	})
	if err != nil {
		if ctx.Err() == nil {
			o.options.Logger.Error("events still wait to be decided", "err", err)
		}
		return
	}
	for _, e := range r.entries {
		o.options.Logger.Info("event decided", "id", e.event.ID, "code", e.event.Code, "decision", e.decision,
			"waited", r.now.Sub(e.waited).Round(time.Millisecond).String())
	}
	o.addToChart(r, chart)
	if len(r.sms) > 0 {
		signal(o.wake)
	}
}

// loadWaiting adds the events whose wait is over. All of those that wait may be
// about an SMS whose attempt began before they came. The wait of an event of the
// future is over: a clock was ahead.
func (r *recording) loadWaiting(ctx context.Context, tx *sql.Tx, skipLocked string) error {
	var first int64 // when the oldest attempt began whose SID is not known
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MIN(COALESCE(NULLIF(doubt_since, 0), attempt_at)), 0) FROM sms WHERE status = 'sending'`).Scan(&first); err != nil {
		return err
	}
	until := int64(math.MaxInt64) // all
	if first > 0 {
		until = max(first-replicaSkew.Milliseconds(), millis(r.now.Add(-longestWait)))
	}
	if skipLocked != "" {
		skipLocked = "FOR UPDATE OF waiting SKIP LOCKED"
	}
	all, err := selectAll(ctx, tx, (*entry).waitingColumns, `SELECT delivery, since, id, happened, kind, account, code, level, description, resource
		FROM waiting JOIN events ON events.id = waiting.event WHERE since < $1 OR since > $2 ORDER BY since, delivery, event LIMIT 500 `+skipLocked, until, millis(r.now.Add(lease)))
	if err != nil {
		return err
	}
	var delivery []*entry
	for i := range all {
		all[i].result = new(Result)
		delivery = append(delivery, &all[i])
		if i+1 == len(all) || all[i+1].delivery != all[i].delivery {
			r.add(delivery)
			delivery = nil
		}
	}
	return nil
}

// waitingColumns are the columns of an event that waits.
func (e *entry) waitingColumns() []any {
	of := &e.event
	return []any{&e.delivery, at(&e.waited), &of.ID, at(&of.Time), &of.Kind, &of.Account, &of.Code, &of.Level, &of.Description, &of.Resource}
}

// updateEvents writes what was decided about events that waited.
func (r *recording) updateEvents(ctx context.Context, tx *sql.Tx) error {
	for _, e := range r.entries {
		if _, err := tx.ExecContext(ctx, `UPDATE events SET decision = $1, decided = $2 WHERE id = $3`, e.decision, millis(r.now), e.event.ID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM waiting WHERE event = $1`, e.event.ID); err != nil {
			return err
		}
	}
	return nil
}
