package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
)

// lateAfter is the age from which an SMS says when it happened.
const lateAfter = 10 * time.Minute

// Result is what became of an event.
type Result struct {
	// Text is the text of the alert's SMS, empty if there is no alert or it is
	// held back.
	Text string
	// Reason says why there is no SMS.
	Reason string
}

// String returns what to answer: the text of the alert, or why there is none.
func (r Result) String() string { return cmp.Or(r.Text, r.Reason) }

// Decisions of the outbox; all others are reasons of the triggers.
const (
	seenBefore = "seen before"
	ownSMS     = "an SMS of our own"
	alerted    = "alerted"
)

// entry is an event on its way into the outbox.
type entry struct {
	event    alert.Event
	result   *Result
	decision string
}

// recording is one transaction's work on a batch of deliveries.
type recording struct {
	bulk    *statements
	options Options
	now     time.Time
	entries []*entry
	// askFirst makes dropSeen look for known events. Otherwise all count as new
	// until insertEvents finds out.
	askFirst bool
	// deliveries hold the entries of each delivery, in order.
	deliveries [][]*entry
	counts     map[alert.Counter]int64
	sms        []message
}

// message is an SMS to be stored.
type message struct {
	alert.SMS
	event  alert.Event
	status Status
}

func newRecording(bulk *statements, options Options, now time.Time, deliveries []delivery) *recording {
	r := &recording{bulk: bulk, options: options, now: now, counts: make(map[alert.Counter]int64)}
	for _, d := range deliveries {
		entries := make([]*entry, len(d.events))
		for i, event := range d.events {
			if event.ID == "" {
				event.ID = "new " + rand.Text()
			}
			event.Time = r.happened(event)
			d.results[i] = Result{} // an attempt before this one may have left something
			entries[i] = &entry{event: event, result: &d.results[i]}
		}
		r.deliveries = append(r.deliveries, entries)
		r.entries = append(r.entries, entries...)
	}
	return r
}

// happened returns when e happened. Twilio delivers for four hours at most: an
// event that says it is older than news, or of the future, has a wrong date, and
// happened now. Only events from Twilio's error log may be older.
func (r *recording) happened(e alert.Event) time.Time {
	old := r.now.Sub(e.Time) > r.options.GiveUpAfter && e.Kind != alert.Log && e.Kind != alert.Alarm
	if e.Time.IsZero() || e.Time.After(r.now) || old {
		return r.now
	}
	return e.Time
}

// store asks, counts, decides and writes. The order lets replicas work side by
// side: each locks its counters before it writes events.
func (r *recording) store(ctx context.Context, tx *sql.Tx) error {
	if err := r.dropSeen(ctx, tx); err != nil {
		return err
	}
	if err := r.dropOwn(ctx, tx); err != nil {
		return err
	}
	if err := r.count(ctx, tx); err != nil {
		return err
	}
	r.decide()
	if err := r.admit(ctx, tx); err != nil {
		return err
	}
	if err := r.insertEvents(ctx, tx); err != nil {
		return err
	}
	return insertSMS(ctx, tx, r.bulk, r.sms, r.now)
}

// dropSeen decides the events that are already known, here or in the batch.
func (r *recording) dropSeen(ctx context.Context, tx *sql.Tx) error {
	seen := make(map[string]bool, len(r.entries))
	if r.askFirst {
		ids := make([]any, len(r.entries))
		for i, e := range r.entries {
			ids[i] = e.event.ID
		}
		var err error
		if seen, err = r.bulk.seenEvents.among(ctx, tx, ids); err != nil {
			return fmt.Errorf("looking for known events: %w", err)
		}
	}
	r.entries = slices.DeleteFunc(r.entries, func(e *entry) bool {
		if seen[e.event.ID] {
			e.decide(seenBefore)
			return true
		}
		seen[e.event.ID] = true
		return false
	})
	return nil
}

// count adds the undecided events to their counters, and leaves in r.counts
// what each counter was before.
func (r *recording) count(ctx context.Context, tx *sql.Tx) error {
	added := make(map[alert.Counter]int64, len(r.entries))
	for _, e := range r.entries {
		if e.decision != "" {
			continue
		}
		for _, c := range r.options.Triggers.Counters(e.event) {
			added[c]++
		}
	}
	counts, err := addCounts(ctx, tx, r.bulk, added)
	if err != nil {
		return err
	}
	for c, n := range counts {
		r.counts[c] = n - added[c]
	}
	return nil
}

// count is a row of counts.
type count struct {
	alert.Counter
	n int64
}

func (c *count) columns() []any {
	return []any{&c.Account, &c.Code, &c.Period, at(&c.Start), &c.n}
}

// addCounts adds to the counters and returns their new values. It writes them
// in sorted order, so that replicas lock them in one order.
func addCounts(ctx context.Context, tx *sql.Tx, bulk *statements, added map[alert.Counter]int64) (map[alert.Counter]int64, error) {
	counters := slices.SortedFunc(maps.Keys(added), func(a, b alert.Counter) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Period, b.Period), a.Start.Compare(b.Start))
	})
	args := make([]any, 0, 5*len(counters))
	for _, c := range counters {
		args = append(args, c.Account, c.Code, string(c.Period), millis(c.Start), added[c])
	}
	counts := make(map[alert.Counter]int64, len(added))
	all, err := selectBulk(ctx, tx, &bulk.addCounts, (*count).columns, args)
	if err != nil {
		return nil, fmt.Errorf("counting: %w", err)
	}
	for _, c := range all {
		counts[c.Counter] = c.n
	}
	return counts, nil
}

// decide asks the triggers, delivery by delivery, and writes the SMS.
func (r *recording) decide() {
	next := func(c alert.Counter) int64 {
		r.counts[c]++
		return r.counts[c]
	}
	for _, delivery := range r.deliveries {
		var undecided []*entry
		var events []alert.Event
		for _, e := range delivery {
			if e.decision == "" {
				undecided = append(undecided, e)
				events = append(events, e.event)
			}
		}
		for i, decision := range r.options.Triggers.Decide(events, next) {
			r.follow(undecided[i], decision)
		}
	}
}

// follow writes the SMS of an alert, or why there is none.
func (r *recording) follow(e *entry, decision alert.Decision) {
	age := r.now.Sub(e.event.Time)
	switch {
	case !decision.Alert:
		e.decide(decision.Reason)
		return
	case e.event.Kind == alert.Log && age > r.options.GiveUpAfter:
		e.decide("too old to alert: it happened at " + e.event.Time.Format(time.RFC3339))
		return
	}
	late := age > lateAfter && e.event.Kind != alert.Alarm
	e.result.Text = r.options.Text.Render(alert.Alert{Event: e.event, Decision: decision, Late: late})
	e.decision = alerted
	for _, to := range r.options.Recipients {
		r.sms = append(r.sms, message{alert.SMS{ID: rand.Text(), To: to, Body: e.result.Text}, e.event, Pending})
	}
}

func (e *entry) decide(reason string) {
	e.decision = reason
	e.result.Reason = reason
}

// insertEvents writes the events. When one of them is there already, because
// dropSeen did not look or another replica was faster, everything starts again.
func (r *recording) insertEvents(ctx context.Context, tx *sql.Tx) error {
	slices.SortFunc(r.entries, func(a, b *entry) int { return cmp.Compare(a.event.ID, b.event.ID) })
	args := make([]any, 0, 10*len(r.entries))
	for _, entry := range r.entries {
		e := entry.event
		args = append(args, e.ID, millis(r.now), millis(e.Time), string(e.Kind), e.Account, e.Code, string(e.Level), e.Description, e.Resource, entry.decision)
	}
	stored, err := r.bulk.insertEvents.exec(ctx, tx, args)
	if err != nil {
		return fmt.Errorf("storing events: %w", err)
	}
	if stored != int64(len(r.entries)) {
		return errAgain
	}
	return nil
}

// insertSMS writes SMS, due at once unless they are held.
func insertSMS(ctx context.Context, tx *sql.Tx, bulk *statements, all []message, now time.Time) error {
	var args []any
	for _, m := range all {
		resource := m.event.Resource
		if !isMessage(resource) {
			resource = ""
		}
		args = append(args, m.ID, m.event.ID, m.event.Code, resource, m.To, m.Body, string(m.status), millis(now), millis(now))
	}
	if _, err := bulk.insertSMS.exec(ctx, tx, args); err != nil {
		return fmt.Errorf("storing SMS: %w", err)
	}
	return nil
}
