package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	// commitTimeout bounds a commit, the wait for the one before it included:
	// a webhook is answered within 5 s, and Event Streams waits no longer.
	commitTimeout = 4 * time.Second
	// leastCommit is the least time for a commit, even if its first delivery
	// waited long: the others may be younger.
	leastCommit = 250 * time.Millisecond
	// maxWaiting is about how many events wait for a commit, before further
	// ones are refused: no more than a slow machine stores in time.
	maxWaiting = 2000
	// yields is how often goroutines that are ready to run may go first before
	// a batch closes.
	yields = 3
)

// Errors of Record, besides those of the database. Nothing was stored.
var (
	ErrClosed = errors.New("the outbox is closed")
	ErrBusy   = errors.New("too many events wait to be stored")
)

// delivery is the events of one request and what became of each.
type delivery struct {
	signature string // empty if nothing is signed
	name      string // like no other's: the signature, or at random
	events    []alert.Event
	results   []Result
}

// batch is the deliveries that share a commit.
type batch struct {
	deliveries []delivery
	events     int
	deadline   time.Time
	done       chan struct{} // closed after the commit
	err        error         // of the commit
}

// Record stores events and what follows from them, and returns one result for
// each. They are on disk when it returns nil; on an error nothing is stored. An
// event that comes twice is stored once. Record waits little more than 4 s for a
// database that is unreachable or locked; ctx matters only before the events
// join others.
func (o *Outbox) Record(ctx context.Context, events []alert.Event) ([]Result, error) {
	return o.RecordRequest(ctx, "", events)
}

// RecordRequest is Record for the events of a request that Twilio signed. A request
// with the signature of one of the last KeepFor was seen before: an event without an
// ID has that of its request, and a form is known whatever its fields are read as.
// Events older than KeepFor are not recorded: their request may have been forgotten.
// Without a signature it is Record.
func (o *Outbox) RecordRequest(ctx context.Context, signature string, events []alert.Event) ([]Result, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := delivery{signature: signature, name: signature, events: events, results: make([]Result, len(events))}
	if signature == "" {
		d.name = rand.Text()
	}
	b, err := o.join(d)
	if err != nil {
		return nil, err
	}
	<-b.done
	if b.err != nil {
		return nil, fmt.Errorf("storing in the database: %w", b.err)
	}
	return d.results, nil
}

// join adds a delivery to the open batch, or opens one with it. A batch is open
// while the commit before it is under way: no delivery waits for a timer.
func (o *Outbox) join(d delivery) (*batch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return nil, ErrClosed
	case o.open == nil:
		o.open = &batch{deadline: time.Now().Add(commitTimeout), done: make(chan struct{})}
		o.opened <- struct{}{}
	case o.open.events+len(d.events) > maxWaiting:
		return nil, ErrBusy
	}
	o.open.deliveries = append(o.open.deliveries, d)
	o.open.events += len(d.events)
	return o.open, nil
}

// commitAll commits batches until ctx ends, and between them decides the events
// that waited and stores what the chart has to show.
func (o *Outbox) commitAll(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	chart := make(map[alert.Counter]int64)
	for ticks := 0; ; {
		select {
		case <-o.opened:
			o.commitBatch(chart)
		case <-o.settled:
			if o.waiting.Load() && o.commitOpen(chart) {
				o.decideWaiting(ctx, chart)
			}
		case <-tick.C:
			if o.commitOpen(chart) {
				// A replica that died may have left some.
				if ticks++; o.waiting.Load() || ticks%60 == 1 {
					o.decideWaiting(ctx, chart)
				}
				o.storeChart(chart)
			}
			tick.Reset(time.Second) // deliveries first, however long that took
		case <-ctx.Done():
			if b := o.take(true); b != nil {
				o.commit(b, chart)
			}
			o.storeChart(chart)
			return
		}
	}
}

// commitBatch commits the open batch.
func (o *Outbox) commitBatch(chart map[alert.Counter]int64) {
	// Deliveries that are about to join may do so first, which saves time for
	// all. If there are none, this takes no time.
	for range yields {
		runtime.Gosched()
	}
	o.commit(o.take(false), chart)
}

// commitOpen commits the open batch, if there is one, and reports whether there
// is time for what can wait: a batch that waited for a commit which failed cannot
// wait for another database timeout.
func (o *Outbox) commitOpen(chart map[alert.Counter]int64) bool {
	select {
	case <-o.opened:
		o.commitBatch(chart)
		return o.failed.Load() == 0
	default:
		return true
	}
}

// take closes the open batch and returns it, nil if there is none. After the
// last one no other is opened.
func (o *Outbox) take(last bool) *batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.open
	o.open, o.closed = nil, last
	return b
}

// commit stores a batch, and then tells the deliveries, the observer and the
// worker.
func (o *Outbox) commit(b *batch, chart map[alert.Counter]int64) {
	begin := time.Now()
	if least := begin.Add(leastCommit); b.deadline.Before(least) {
		b.deadline = least
	}
	ctx, cancel := context.WithDeadline(context.Background(), b.deadline)
	defer cancel()
	// Most events are new, so the first attempt does not look for known ones,
	// unless the last batch had some: where each error comes by two ways, half of
	// them are known.
	var r *recording
	askFirst := o.askFirst
	b.err = o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		r = o.newRecording(b.deliveries)
		r.askFirst, askFirst = askFirst, true
		return r.store(ctx, tx)
	})
	failed := int64(0)
	if b.err != nil {
		failed = millis(time.Now())
	}
	o.failed.Store(failed)
	close(b.done)
	if b.err != nil {
		return
	}
	o.askFirst = len(r.entries) < b.events
	o.options.Observer.Committed(len(r.entries), time.Since(begin))
	for _, e := range r.entries {
		o.options.Observer.Recorded(e.event, *e.result)
		if e.decision == waits {
			o.waiting.Store(true)
		}
	}
	o.addToChart(r, chart)
	if len(r.sms) > 0 {
		signal(o.wake)
	}
}

// signal lets the receiver of c look again, unless it is about to.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
