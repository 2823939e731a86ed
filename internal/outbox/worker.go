package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
)

// Sender sends an SMS and returns Twilio's SID of it.
//
// An *alert.SendError tells whether to try again; any other error means that
// Twilio may have accepted the SMS. If SMS.DoubtSince is set, Send first looks
// whether Twilio has it already.
type Sender interface {
	Send(ctx context.Context, sms alert.SMS) (sid string, err error)
}

const (
	// concurrency is how many SMS a worker sends at a time.
	concurrency = 16
	// idle is how long a worker rests at most. It then looks for SMS of other
	// replicas, ended leases and held alerts.
	idle = 2 * time.Second
)

// Worker sends what is due in the outbox.
type Worker struct {
	outbox *Outbox
	sender Sender
	logger *slog.Logger
	// slots holds a place for each SMS that is being sent.
	slots   chan struct{}
	sending sync.WaitGroup
}

// NewWorker returns a worker that sends the outbox's SMS through sender.
func NewWorker(o *Outbox, sender Sender) *Worker {
	return &Worker{outbox: o, sender: sender, logger: o.options.Logger, slots: make(chan struct{}, concurrency)}
}

// Run sends SMS until ctx ends, and returns when those in flight are settled.
// SMS that wait are sent after the next start.
func (w *Worker) Run(ctx context.Context) {
	defer w.sending.Wait()
	// A database that fails does so at each look: log the change only.
	var failing bool
	for ctx.Err() == nil {
		wait, err := w.round(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			w.logger.Error("outbox unavailable, SMS wait", "err", err)
		}
		if err == nil && failing {
			w.logger.Info("outbox available again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-w.outbox.wake:
		case <-time.After(wait):
		}
	}
}

// round starts to send what is due, and returns how long to rest.
func (w *Worker) round(ctx context.Context) (time.Duration, error) {
	if err := w.outbox.release(ctx); err != nil {
		return idle, err
	}
	var now time.Time
	for ctx.Err() == nil {
		free := w.acquire(ctx)
		now = time.Now()
		claims, err := w.outbox.claim(ctx, free, now)
		for range free - len(claims) {
			<-w.slots
		}
		for _, c := range claims {
			w.sending.Go(func() {
				defer func() { <-w.slots }()
				w.send(context.WithoutCancel(ctx), c)
			})
		}
		if err != nil {
			return idle, err
		}
		if len(claims) < free {
			break
		}
	}
	due, err := w.outbox.nextDue(ctx, now)
	if err != nil || due.IsZero() {
		return idle, err
	}
	return min(max(time.Until(due), time.Millisecond), idle), nil
}

// acquire waits for a free slot, takes all that are free, and returns how
// many.
func (w *Worker) acquire(ctx context.Context) int {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; ; n++ {
		select {
		case w.slots <- struct{}{}:
		default:
			return n
		}
	}
}

// send sends a claimed SMS and notes what became of it.
func (w *Worker) send(ctx context.Context, c claim) {
	log := w.logger.With("sms", c.ID, "to", alert.Mask(c.To), "attempt", c.attempts)
	if c.own {
		if err := w.outbox.retract(ctx, c); err != nil {
			log.Error("alert about an SMS of our own not taken back", "err", err)
		}
		return
	}
	sid, err := w.attempt(ctx, c)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err == nil {
		w.outbox.options.Observer.Settled(Sent, "", time.Since(c.happened))
		log.Info("SMS sent", "sid", sid)
		if err := w.outbox.settleAccepted(ctx, c, sid, time.Now()); err != nil {
			log.Error("outbox unavailable, SMS sent but not noted: Twilio's message log will tell", "sid", sid, "err", err)
		}
	} else {
		w.fail(ctx, c, err, log)
	}
	// What waited for the fate of this SMS may go now.
	w.outbox.wakeWorker()
}

// fail notes a failed attempt to send c.
func (w *Worker) fail(ctx context.Context, c claim, err error, log *slog.Logger) {
	var failure *alert.SendError
	if !errors.As(err, &failure) {
		failure = &alert.SendError{Outcome: alert.InDoubt, Err: err}
	}
	status, err := w.outbox.settleFailed(ctx, c, failure, time.Now())
	if err != nil {
		log.Error("outbox unavailable, failed SMS not noted: its lease will end", "err", err)
		return
	}
	if status == "" {
		return
	}
	w.outbox.options.Observer.Settled(status, failure.Code, time.Since(c.happened))
	if status == Failed {
		log.Error("SMS failed, nobody will get it", "code", failure.Code, "err", failure)
		return
	}
	log.Warn("SMS not sent yet", "code", failure.Code, "err", failure)
}

// attempt sends c while it is news.
func (w *Worker) attempt(ctx context.Context, c claim) (string, error) {
	if age := time.Since(c.created); age > w.outbox.options.GiveUpAfter {
		return "", &alert.SendError{Outcome: alert.Refused, Err: errors.New("given up: not accepted within GIVE_UP_AFTER")}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if !c.DoubtSince.IsZero() {
		known, err := w.outbox.known(ctx, c)
		if err != nil {
			return "", &alert.SendError{Outcome: alert.NotAccepted, Err: err}
		}
		c.Known = known
	}
	return w.sender.Send(ctx, c.SMS)
}
