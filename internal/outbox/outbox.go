// Package outbox keeps what must not be forgotten: the events seen, how often
// each happened, and the SMS to send with what became of them. Its Worker sends
// them. SQLite serves a single process, Postgres any number of replicas; one
// SQL text serves both where they agree.
//
// Every event enters by Record, and nothing else decides. One transaction asks
// whether the event is known, whether it is about an SMS of our own, counts it,
// asks the triggers, and stores the event with the SMS to send. Record returns
// after the commit: what was answered survives a crash, and there is an SMS if
// and only if its event is stored. Sending comes later and never delays an answer.
//
// # Group commit
//
// A commit waits for the disk, whatever its size. Deliveries that arrive during
// a commit therefore join one batch, which is the next commit; there is no
// timer, and a delivery that comes alone is stored at once. Twilio waits a few
// seconds for an answer, so a batch has a deadline and a largest size: a delivery
// that cannot be stored in time gets an error, and nothing of it is stored. An
// event is known by its ID, and a form that Twilio signed also by its signature.
// Most are new, so a batch inserts first; if one is known after all, the
// transaction starts again and looks.
//
// # Decided once
//
// A counter is a row for an account, a code and a period, with two numbers: how
// many events there were, and up to which count alerts have been told. Package
// alert decides, when all that matters is known; nothing is taken back later. A
// transaction locks its counters in sorted order, so that replicas wait for each
// other without a deadlock.
//
// Twilio reports errors about our SMS as it reports others, and an alert about a
// failed alert would fail as well, and cause the next one. So an event about an
// SMS of ours never alerts and is in no count. Every SID that Twilio ever told
// for our SMS is kept. An event can come before its SID: one about a message, that
// comes while an SMS of ours is in flight or in doubt, waits until those have
// settled, an hour at most, and is then decided like any other. A request that
// Twilio refused makes no message: of events that name none, one for each refusal is
// ours, by its code and time. An Alarm does not
// say what it is about, but how many errors it counted: it is about our SMS if
// at least as many of them failed.
//
// # Limits
//
// A phone gets at most PerHour SMS in any hour. SMS of the last hour count, and
// those that wait, since they will be sent. Alerts beyond that are held, and
// belong to one SMS, held as well, that sums them up when the hour has room. One
// row in marks is the lock that makes replicas share the limits.
//
// # Claim and lease
//
// A worker claims an SMS before it sends it: one UPDATE makes it "sending" until
// the end of a lease. An attempt takes less time than a lease, so that two
// workers never send the same SMS; and a worker never claims what it is sending,
// whatever the clock says. The claim also words the SMS: it is stored with a text
// for now and one for later, each true when it is sent. Then the SMS is sent, or pending until the
// next attempt, or failed. If the worker dies, the lease ends, and a claim that
// finds an SMS still "sending" knows that Twilio may have accepted it.
//
// # Doubt
//
// That SMS is in doubt, as is one whose answer was lost. It must be neither lost
// nor doubled, so the sender first looks for it in Twilio's message log: the same
// recipient and text, since the first attempt in doubt, and none of the SIDs that
// other SMS have. If it is there it was sent; if not, it is sent again. The log
// lags behind, so the look comes 10 s after the attempt or later. A later attempt
// that Twilio refuses does not end the doubt about the earlier one; a status
// callback that names the SMS does.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"twilio-error-sms/internal/alert"
)

// Options say which events alert which phones, and how long things are kept.
type Options struct {
	// Triggers decide which events alert.
	Triggers alert.Triggers
	// Text words an alert.
	Text alert.Text
	// Account is the SID of the account that sends the SMS, or empty. Errors of
	// other accounts are never about them.
	Account string
	// Recipients get each alert.
	Recipients []string
	// PerHour is how many SMS a phone gets in any hour at most, at least 1.
	PerHour int
	// GiveUpAfter is how long an event is news: an SMS that Twilio has not
	// accepted by then has failed.
	GiveUpAfter time.Duration
	// KeepFor is how long history stays.
	KeepFor time.Duration
	// Logger gets what the operator should know.
	Logger *slog.Logger
	// Observer, where set, is told of what happens.
	Observer Observer
}

// Observer is told what happens in the outbox, to measure it.
type Observer interface {
	// Committed reports a commit of events and how long it took.
	Committed(events int, took time.Duration)
	// Recorded reports an event, after the commit.
	Recorded(e alert.Event, r Result)
	// Settled reports what became of an attempt to send an SMS, or later of
	// the SMS itself: its status, the error code of Twilio if any, and the
	// time since the event. A retry is reported as Pending, doubt as Sending.
	Settled(status Status, code string, age time.Duration)
}

// Outbox is open until Close. Its methods may be called concurrently.
type Outbox struct {
	db      *database
	options Options
	wake    chan struct{} // an SMS may be due
	settled chan struct{} // an SMS is no longer in flight
	stop    context.CancelFunc
	commits sync.WaitGroup // commitAll
	// askFirst is whether the last batch had known events. It belongs to
	// commitAll.
	askFirst bool
	failed   atomic.Int64               // when the last commit of events failed, or 0
	waiting  atomic.Bool                // events may wait to be decided
	text     atomic.Pointer[alert.Text] // instead of that of options, or nil

	mu     sync.Mutex
	open   *batch        // that deliveries may join, or nil
	opened chan struct{} // gets a value when a batch is opened
	closed bool
}

// Open opens the outbox at address, sqlite:FILE or postgres://…, and creates
// its tables when they are missing.
func Open(ctx context.Context, address string, options Options) (*Outbox, error) {
	db, err := openDatabase(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("opening the database (DATABASE_URL): %w", err)
	}
	if options.Observer == nil {
		options.Observer = silent{}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	o := &Outbox{
		db:      db,
		options: options,
		wake:    make(chan struct{}, 1),
		settled: make(chan struct{}, 1),
		stop:    stop,
		opened:  make(chan struct{}, 1),
	}
	o.commits.Go(func() { o.commitAll(running) })
	return o, nil
}

// UseText makes text the words of the alerts that are recorded from now on.
func (o *Outbox) UseText(text alert.Text) { o.text.Store(&text) }

// Close waits for what is being recorded and closes the database.
func (o *Outbox) Close() error {
	o.stop()
	o.commits.Wait()
	return o.db.Close()
}

// silent is the Observer of an outbox without one.
type silent struct{}

func (silent) Committed(int, time.Duration)          {}
func (silent) Recorded(alert.Event, Result)          {}
func (silent) Settled(Status, string, time.Duration) {}
