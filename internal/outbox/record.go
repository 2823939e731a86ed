package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
)

// Result is what became of an event.
type Result struct {
	// Text is the alert's SMS, empty where there is no alert or it is held back.
	Text string
	// Reason says why there is no SMS.
	Reason string
}

// String returns what to answer: the text of the alert, or why there is none.
func (r Result) String() string { return cmp.Or(r.Text, r.Reason) }

// Decisions of the outbox; all others are reasons of the triggers.
const (
	seenBefore = "seen before"
	tooOld     = "too old: it happened before what the database remembers"
	ownSMS     = "an SMS of our own"
	waits      = "waits: perhaps about an SMS of our own"
	alerted    = "alerted"
)

// entry is an event on its way into the outbox.
type entry struct {
	event     alert.Event
	signature int64 // of the form that brought it, or 0
	result    *Result
	decision  string
	waited    time.Time // since when it has waited, zero for a new one
	delivery  string    // of one that waited
}

// recording is one transaction's work on a batch of deliveries.
type recording struct {
	bulk    *statements
	options Options
	now     time.Time
	entries []*entry
	// askFirst makes dropSeen look for what is known. Otherwise all counts as new
	// until an insert finds out.
	askFirst bool
	// copies are forms that tell of known events. Each is stored for its signature:
	// read in another way, it would tell of a new one.
	copies []*entry
	// deliveries hold the entries of each delivery, in order.
	deliveries [][]*entry
	tallies    map[alert.Counter]alert.Tally
	told       map[alert.Counter]bool // the counters that alert
	sms        []message
}

// message is an SMS to be stored.
type message struct {
	id, to  string
	words   alert.Words
	event   alert.Event // without an ID for a summary of held alerts
	status  Status
	summary string // held: the SMS that will sum it up
}

// newRecording begins to record deliveries. The events without an ID get one of the
// delivery, so that it is known when it comes again, or is stored again.
func (o *Outbox) newRecording(deliveries []delivery) *recording {
	r := &recording{
		bulk: &o.db.bulk, options: o.options, now: time.Now(),
		tallies: make(map[alert.Counter]alert.Tally), told: make(map[alert.Counter]bool),
	}
	if text := o.text.Load(); text != nil {
		r.options.Text = *text
	}
	for _, d := range deliveries {
		entries := make([]*entry, len(d.events))
		for i, event := range d.events {
			if event.ID == "" {
				event.ID = fmt.Sprintf("%x %d", d.name, i)
			}
			d.results[i] = Result{} // an attempt before this one may have left something
			entries[i] = &entry{event: event, signature: d.formSignature(), result: &d.results[i]}
			entries[i].event.Time = r.happened(event)
			if d.signature != "" && !event.Time.IsZero() && r.now.Sub(event.Time) > r.options.KeepFor {
				entries[i].decide(tooOld)
			}
		}
		r.add(entries)
	}
	return r
}

// add adds the entries of a delivery.
func (r *recording) add(entries []*entry) {
	r.deliveries = append(r.deliveries, entries)
	r.entries = append(r.entries, entries...)
}

// formSignature returns the first 8 bytes of the signature of a form: of a request that
// brings one event by itself. JSON is signed as a whole, and its events have IDs.
func (d delivery) formSignature() int64 {
	kind := d.events[0].Kind
	if len(d.signature) < 8 || len(d.events) > 1 || kind != alert.Debugger && kind != alert.Alarm {
		return 0
	}
	return int64(binary.BigEndian.Uint64([]byte(d.signature)))
}

// longestDelivery is how late Twilio may deliver an event: Event Streams try for
// four hours. Source: https://www.twilio.com/docs/events/event-delivery-retries-and-event-duplication.
const longestDelivery = 5 * time.Hour

// happened returns when e happened. An event that says it is older than news and
// than any delivery, or of the future, has a wrong date, and happened now. Only
// events from Twilio's error log may be older.
func (r *recording) happened(e alert.Event) time.Time {
	old := r.now.Sub(e.Time) > max(r.options.GiveUpAfter, longestDelivery) && e.Kind != alert.ErrorLog
	if e.Time.IsZero() || e.Time.After(r.now) || old {
		return r.now
	}
	return e.Time
}

// store takes the events that are new and writes them, decided or waiting.
// Replicas can do it side by side: they lock the counters' rows, in one order,
// before they write events.
func (r *recording) store(ctx context.Context, tx *sql.Tx) error {
	return inOrder(ctx, tx, r.dropSeen, r.wait, r.decide, r.insertEvents)
}

// inOrder takes the steps of a transaction, up to the first that fails.
func inOrder(ctx context.Context, tx *sql.Tx, steps ...func(context.Context, *sql.Tx) error) error {
	for _, step := range steps {
		if err := step(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// dropSeen decides the events that are already known, here or in the batch: by
// the signature of their form or by their ID.
func (r *recording) dropSeen(ctx context.Context, tx *sql.Tx) error {
	signatures, ids, err := r.known(ctx, tx)
	if err != nil {
		return fmt.Errorf("looking for known events: %w", err)
	}
	r.entries = slices.DeleteFunc(r.entries, func(e *entry) bool {
		if e.decision != "" { // too old
			return true
		}
		known := signatures[e.signature] || ids[e.event.ID]
		if known {
			e.decide(seenBefore)
		}
		if known && e.signature != 0 && !signatures[e.signature] {
			e.event = alert.Event{ID: fmt.Sprintf("copy %x", uint64(e.signature)), Kind: e.event.Kind, Time: e.event.Time}
			r.copies = append(r.copies, e)
		}
		ids[e.event.ID], signatures[e.signature] = true, e.signature != 0
		return known
	})
	return nil
}

// known returns which signatures and IDs of the batch are known, none unless
// askFirst.
func (r *recording) known(ctx context.Context, tx *sql.Tx) (signatures map[int64]bool, ids map[string]bool, err error) {
	var signed, named []any
	for _, e := range r.entries {
		if !r.askFirst {
			break
		}
		named = append(named, e.event.ID)
		if e.signature != 0 {
			signed = append(signed, e.signature)
		}
	}
	if signatures, err = among[int64](ctx, tx, &r.bulk.seenSignatures, signed); err == nil {
		ids, err = among[string](ctx, tx, &r.bulk.seenEvents, named)
	}
	return signatures, ids, err
}

// decide is the one way in which events are decided: those about our own SMS
// are dropped, the others are counted, the triggers are asked, and the SMS are
// written.
func (r *recording) decide(ctx context.Context, tx *sql.Tx) error {
	return inOrder(ctx, tx, r.dropOwn, r.count, r.askTriggers, r.storeAlerted, r.admit, r.insertSMS)
}

// count adds the undecided events to their counters, and leaves in r.tallies
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
	for _, c := range counts {
		c.N -= added[c.Counter]
		r.tallies[c.Counter] = c.Tally
		if c.N < 0 {
			r.dropUncountable(c)
		}
	}
	return nil
}

// dropUncountable decides the events of a counter below zero, which no program
// of ours has written.
func (r *recording) dropUncountable(c count) {
	reason := fmt.Sprintf("not decided: the database counts %d events of %q in the period from %s", c.N, c.Code, c.Start.Format(time.RFC3339))
	r.options.Logger.Error("a counter is below zero, its events make no alert: correct n in the table counts", "account", c.Account, "code", c.Code, "n", c.N)
	for _, e := range r.entries {
		if e.decision == "" && slices.Contains(r.options.Triggers.Counters(e.event), c.Counter) {
			e.decide(reason)
		}
	}
}

// count is a row of counts.
type count struct {
	alert.Counter
	alert.Tally
}

func (c *count) columns() []any {
	return []any{&c.Account, &c.Code, &c.Period, at(&c.Start), &c.N, &c.Alerted}
}

// addCounts adds to the counters and returns their new values. It writes them
// in sorted order, so that replicas lock them in one order.
func addCounts(ctx context.Context, tx *sql.Tx, bulk *statements, added map[alert.Counter]int64) ([]count, error) {
	args := make([]any, 0, 5*len(added))
	for _, c := range sortedCounters(added) {
		args = append(args, c.Account, c.Code, string(c.Period), millis(c.Start), added[c])
	}
	counts, err := selectBulk(ctx, tx, &bulk.addCounts, (*count).columns, args)
	if err != nil {
		return nil, fmt.Errorf("counting: %w", err)
	}
	return counts, nil
}

func sortedCounters[T any](of map[alert.Counter]T) []alert.Counter {
	return slices.SortedFunc(maps.Keys(of), func(a, b alert.Counter) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Period, b.Period), a.Start.Compare(b.Start))
	})
}

// storeAlerted writes up to which counts the counters have been told now.
func (r *recording) storeAlerted(ctx context.Context, tx *sql.Tx) error {
	for _, c := range sortedCounters(r.told) {
		if _, err := tx.ExecContext(ctx, `UPDATE counts SET alerted = $1 WHERE account = $2 AND code = $3 AND period = $4 AND start = $5`,
			r.tallies[c].Alerted, c.Account, c.Code, string(c.Period), millis(c.Start)); err != nil {
			return fmt.Errorf("noting what was told: %w", err)
		}
	}
	return nil
}

// askTriggers asks the triggers about each delivery. Few events are due, so only
// those ask for silences.
func (r *recording) askTriggers(ctx context.Context, tx *sql.Tx) (err error) {
	silenced := sync.OnceValue(func() (all []Silence) {
		all, err = silences(ctx, tx, r.now)
		return all
	})
	// quiet says why e must not ring although its count is due, or "".
	quiet := func(e alert.Event) string {
		if r.now.Sub(e.Time) > r.options.GiveUpAfter {
			return "too old to alert: it happened at " + e.Time.Format(time.RFC3339)
		}
		return silencedUntil(silenced(), e.Code, r.now)
	}
	for _, delivery := range r.deliveries {
		r.ask(delivery, quiet)
	}
	return err
}

// ask asks the triggers about the undecided events of a delivery.
func (r *recording) ask(delivery []*entry, quiet func(alert.Event) string) {
	var undecided []*entry
	var events []alert.Event
	for _, e := range delivery {
		if e.decision == "" {
			undecided = append(undecided, e)
			events = append(events, e.event)
		}
	}
	for i, decision := range r.options.Triggers.Decide(events, r.tallies, quiet) {
		r.follow(undecided[i], decision)
	}
}

// follow writes the SMS of an alert, or why there is none.
func (r *recording) follow(e *entry, decision alert.Decision) {
	if !decision.Alert {
		e.decide(decision.Reason)
		return
	}
	words := r.options.Text.Render(e.event, decision)
	e.result.Text = words.At(r.now)
	e.decision = alerted
	for _, c := range decision.Counts {
		r.told[c.Counter] = true
	}
	for _, to := range r.options.Recipients {
		r.sms = append(r.sms, message{id: rand.Text(), to: to, words: words, event: e.event, status: Pending})
	}
}

func (e *entry) decide(reason string) {
	e.decision = reason
	e.result.Reason = reason
}

// insertEvents writes the events. When one of them is there already, because
// dropSeen did not look or another replica was faster, everything starts again.
func (r *recording) insertEvents(ctx context.Context, tx *sql.Tx) error {
	all := slices.Concat(r.entries, r.copies)
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.event.ID, b.event.ID) })
	args := make([]any, 0, 11*len(all))
	for _, entry := range all {
		e := entry.event
		args = append(args, e.ID, millis(r.now), millis(e.Time), string(e.Kind), e.Account, e.Code, string(e.Level), e.Description, e.Resource, entry.decision, entry.signature)
	}
	stored, err := r.bulk.insertEvents.exec(ctx, tx, args)
	if err != nil {
		return fmt.Errorf("storing events: %w", err)
	}
	if stored != int64(len(all)) {
		return errAgain
	}
	return nil
}

// wordings returns the columns of an SMS that hold its words: the ones that are
// true now, the ones for later where those differ, and from when on.
func wordings(words alert.Words, now time.Time) (body, other string, until int64) {
	body = words.At(now)
	if body != words.Later {
		return body, words.Later, millis(words.Until)
	}
	return body, "", 0
}

// insertSMS writes the SMS, due at once unless they are held.
func (r *recording) insertSMS(ctx context.Context, tx *sql.Tx) error {
	var args []any
	now := millis(r.now)
	for _, m := range r.sms {
		body, other, until := wordings(m.words, r.now)
		args = append(args, m.id, m.event.ID, m.summary, m.event.Code, m.to, body, other, until, string(m.status), now, millis(m.event.Time), now)
	}
	if _, err := r.bulk.insertSMS.exec(ctx, tx, args); err != nil {
		return fmt.Errorf("storing SMS: %w", err)
	}
	return nil
}
