// Package outbox keeps what must not be forgotten: the events seen, how often
// each happened, and the SMS to be sent and what became of them. Its Worker
// sends them.
//
// Every event enters by Record, and nothing else decides: one transaction asks
// whether it was seen before, counts it, asks the triggers, and keeps the SMS.
// SQLite serves a single process, Postgres any number of replicas.
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

// Options say what alerts, whom, and for how long things are kept.
type Options struct {
	// Triggers decide which events alert.
	Triggers alert.Triggers
	// Text is how an alert reads.
	Text alert.Text
	// Account is the SID of the account that sends the SMS, or empty. Errors of
	// other accounts are never about them.
	Account string
	// Recipients get each alert.
	Recipients []string
	// PerHour is the most SMS that a phone gets in any hour, at least 1.
	PerHour int
	// GiveUpAfter is how long an event is news: an SMS that Twilio has not
	// accepted by then has failed.
	GiveUpAfter time.Duration
	// KeepFor is how long history stays.
	KeepFor time.Duration
	// Logger gets what the operator must know.
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
	stopped chan struct{}
	// askFirst is whether the last batch had known events. It belongs to
	// commitAll.
	askFirst bool
	failed   atomic.Int64 // when the last commit of events failed, or 0
	waiting  atomic.Bool  // events may wait to be decided

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
		return nil, fmt.Errorf("opening the outbox: %w", err)
	}
	if options.Observer == nil {
		options.Observer = nobody{}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	o := &Outbox{
		db:      db,
		options: options,
		wake:    make(chan struct{}, 1),
		settled: make(chan struct{}, 1),
		stop:    stop,
		stopped: make(chan struct{}),
		opened:  make(chan struct{}, 1),
	}
	go o.commitAll(running)
	return o, nil
}

// Close waits for what is being recorded and closes the database.
func (o *Outbox) Close() error {
	o.stop()
	<-o.stopped
	return o.db.Close()
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Committed(int, time.Duration)          {}
func (nobody) Recorded(alert.Event, Result)          {}
func (nobody) Settled(Status, string, time.Duration) {}
