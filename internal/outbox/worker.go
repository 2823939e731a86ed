package outbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
)

// Sender sends an SMS and returns Twilio's SID of it.
//
// An *alert.SendError tells whether to try again; any other error means that
// Twilio may have accepted the SMS. If SMS.DoubtSince is set, Send first looks
// whether Twilio has it already. With SMS.LookOnly it sends nothing.
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
	begun  bool      // what only waited for a start is due
	looked time.Time // when it last looked for SMS of the future
	// slots holds a place for each SMS that is being sent.
	slots   chan struct{}
	sending sync.WaitGroup
	// inFlight has the IDs of the SMS that are being sent.
	inFlight sync.Map
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
			w.logger.Error("database unavailable, SMS wait", "err", err)
		}
		if err == nil && failing {
			w.logger.Info("database available again")
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
	if err := w.prepare(ctx); err != nil {
		return idle, err
	}
	var now time.Time
	for ctx.Err() == nil {
		free := w.acquire(ctx)
		now = time.Now()
		claims, err := w.outbox.claim(ctx, free, now, w.inFlightIDs())
		for range free - len(claims) {
			<-w.slots
		}
		for _, c := range claims {
			w.inFlight.Store(c.ID, nil)
			w.sending.Go(func() {
				w.send(context.WithoutCancel(ctx), c)
				w.inFlight.Delete(c.ID)
				<-w.slots
				signal(w.outbox.settled)
				signal(w.outbox.wake) // to see when it is due again
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

// prepare makes due what waits for something else than its time.
func (w *Worker) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if !w.begun {
		if err := w.outbox.begin(ctx); err != nil {
			return err
		}
		w.begun = true
	}
	if now := time.Now(); now.Sub(w.looked) > time.Minute {
		if err := w.outbox.undoClockJump(ctx, now); err != nil {
			return err
		}
		w.looked = now
	}
	return w.outbox.release(ctx)
}

// inFlightIDs returns the SMS in flight.
func (w *Worker) inFlightIDs() (ids []string) {
	for id := range w.inFlight.Range {
		ids = append(ids, id.(string))
	}
	return ids
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
	sid, err := w.attempt(ctx, c)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err != nil {
		w.fail(ctx, c, err, log)
		return
	}
	settled, err := w.outbox.settleAccepted(ctx, c, sid, time.Now())
	switch {
	case err != nil:
		log.Error("database unavailable, SMS sent but not noted: Twilio's message log will tell", "sid", sid, "err", err)
	case !settled:
		log.Warn("SMS still in doubt: what Twilio's message log shows is another SMS of ours", "sid", sid)
	default:
		w.outbox.options.Observer.Settled(Sent, "", time.Since(c.happened))
		log.Info("SMS sent", "sid", sid)
	}
}

// fail notes a failed attempt to send c.
func (w *Worker) fail(ctx context.Context, c claim, err error, log *slog.Logger) {
	var failure *alert.SendError
	if !errors.As(err, &failure) {
		failure = &alert.SendError{Outcome: alert.InDoubt, Err: err}
	}
	status, err := w.outbox.settleFailed(ctx, c, failure, time.Now())
	if err != nil {
		log.Error("database unavailable, failed SMS not noted: its lease will end", "err", err)
		return
	}
	if status == "" {
		return
	}
	w.outbox.options.Observer.Settled(status, failure.Code, time.Since(c.happened))
	switch {
	case status == Failed:
		log.Error("SMS failed, nobody will get it", "code", failure.Code, "err", failure)
	case failure.Outcome == alert.Blocked:
		log.Error("SMS not sent, it waits until the cause is fixed", "code", failure.Code, "err", failure)
	default:
		log.Warn("SMS not sent yet", "code", failure.Code, "err", failure)
	}
}

// givenUp is the error of an SMS that is no longer news.
const givenUp = "given up: not accepted within GIVE_UP_AFTER"

// attempt sends c. A first attempt is always made. Of an SMS that is no longer
// news a later one only asks whether Twilio has it, if that is in doubt.
func (w *Worker) attempt(ctx context.Context, c claim) (string, error) {
	refuse := func(reason string) (string, error) {
		return "", &alert.SendError{Outcome: alert.Refused, Err: errors.New(reason)}
	}
	doubt := !c.DoubtSince.IsZero()
	c.LookOnly = c.attempts > 1 && time.Since(c.happened) > w.outbox.options.GiveUpAfter
	switch named := slices.Contains(w.outbox.options.Recipients, c.To); {
	case !doubt && !named:
		return refuse(notNamed)
	case !doubt && c.LookOnly:
		return refuse(givenUp)
	case !named:
		c.LookOnly = true
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if doubt {
		known, err := w.outbox.known(ctx, c)
		if err != nil {
			return "", &alert.SendError{Outcome: alert.NotAccepted, Err: err}
		}
		c.Known = known
	}
	return w.sender.Send(ctx, c.SMS)
}
