// Package catchup reads Twilio's error log, so that no error is missed that no
// webhook brought: because the server was down, or because Twilio cannot reach
// it at all.
//
// Twilio keeps every error for 30 days under the SID that webhooks carry, so
// the reader may read an error twice: Record knows what was seen. It must not
// skip one; the mark says up to which time it has read everything.
package catchup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// Overlap is how far each read reaches back behind the mark: errors enter
// Twilio's error log some time after they happened.
const Overlap = 15 * time.Minute

const (
	// firstReach is how far the very first read reaches back: the history of an
	// account is not news.
	firstReach = time.Hour
	// twilioReach is how far back Twilio can be asked: 30 days, less the time
	// that a read may take. Source: https://www.twilio.com/docs/usage/monitor-alert.
	twilioReach = 30*24*time.Hour - time.Hour
	// shortest is the least time to ask for: Twilio's dates are in seconds.
	shortest = time.Second

	// leaseTime is how long a replica that died keeps the others from reading.
	// Each window renews the lease; when a window takes longer, two replicas may
	// read the same, which costs requests and nothing else.
	leaseTime = time.Minute
	// elsewhere is how soon to look again while another replica reads.
	elsewhere = 15 * time.Second

	// maxBatch is how many events are recorded at a time: a webhook waits for one
	// batch at most.
	maxBatch = 500

	// maxSkew is by how much the clocks of replicas may differ.
	maxSkew = time.Minute

	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// ErrorLog is Twilio's error log.
type ErrorLog interface {
	// ErrorLog returns the entries from one time to another, in any order. More
	// reports that there may be more than were given. After an *alert.SendError
	// that is Blocked, reading fails until the operator helps.
	ErrorLog(ctx context.Context, from, to time.Time) (entries []alert.ErrorLogEntry, more bool, err error)
}

// Recorder stores events. It knows an event that it has seen before.
type Recorder interface {
	Record(ctx context.Context, events []alert.Event) ([]outbox.Result, error)
}

// Mark is the time up to which the error log has been read, and the lease of
// the one replica that reads it. See outbox.Mark.
type Mark interface {
	Take(ctx context.Context, start time.Time, lease time.Duration) (at time.Time, held bool, err error)
	Move(ctx context.Context, to time.Time, lease time.Duration) (held bool, err error)
	Release(ctx context.Context) error
}

// Options say how to read.
type Options struct {
	// Every is the pace, 0 for not at all.
	Every time.Duration
	// Reach is how far back the recorder knows what was seen: reading further
	// would count errors twice.
	Reach time.Duration
	// Logger gets what the operator must know.
	Logger *slog.Logger
}

// Reader records the errors of Twilio's error log.
type Reader struct {
	errorLog ErrorLog
	recorder Recorder
	mark     Mark
	options  Options
	// begun is set when the first read of this process is done, distrusted
	// when a mark in the future was warned of.
	begun, distrusted bool
	failing           bool         // the last read did
	problem           atomic.Value // a string: what lasts until the operator helps
}

// New returns a reader of the error log.
func New(errorLog ErrorLog, recorder Recorder, mark Mark, options Options) *Reader {
	return &Reader{errorLog: errorLog, recorder: recorder, mark: mark, options: options}
}

// Problem says why the error log cannot be read and what to do about it. It is
// empty while reading works, and while trouble may pass by itself.
func (r *Reader) Problem() string {
	problem, _ := r.problem.Load().(string)
	return problem
}

// Run reads the error log at once and then at the pace of the options, until ctx
// ends. One of several replicas reads for all.
func (r *Reader) Run(ctx context.Context) {
	retry := firstRetry
	for r.options.Every > 0 && ctx.Err() == nil {
		wait, err := r.turn(ctx)
		switch {
		case errors.Is(err, errElsewhere):
			wait = min(elsewhere, r.options.Every)
		case err != nil && ctx.Err() == nil:
			wait = max(retry, r.note(err))
			retry = min(2*retry, lastRetry, r.options.Every)
		case err == nil:
			r.note(nil)
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// errElsewhere means that another replica reads the error log.
var errElsewhere = errors.New("another replica reads the error log")

// turn reads the error log if that is due and no other replica does, and returns
// how long to wait for the next turn.
func (r *Reader) turn(ctx context.Context) (time.Duration, error) {
	now := time.Now()
	at, held, err := r.mark.Take(ctx, now.Add(Overlap-firstReach), leaseTime)
	if err != nil {
		return 0, err
	}
	if !held {
		return 0, errElsewhere
	}
	// If this fails, the lease ends by itself.
	defer r.mark.Release(context.WithoutCancel(ctx))
	if at.After(now.Add(maxSkew)) {
		// The clock was ahead, and the mark does not say up to when everything
		// was read: read again as far back as the recorder remembers. The next
		// Move corrects the mark.
		if !r.distrusted {
			r.options.Logger.Warn("the clock was ahead: Twilio's error log is read again from the oldest error that is remembered", "mark", at.UTC())
		}
		r.distrusted, at = true, time.Time{}
	} else if age := now.Sub(at).Abs(); r.begun && age < r.options.Every {
		return r.options.Every - age, nil // another replica has read it
	}
	if err := r.read(ctx, at); err != nil {
		return 0, err
	}
	r.begun = true
	return r.options.Every, nil
}

// read records what the error log holds since the mark, less the overlap,
// window by window from the oldest on. When Twilio does not give everything of
// a window, read asks again for half of it.
func (r *Reader) read(ctx context.Context, mark time.Time) error {
	end := time.Now().Truncate(time.Second)
	from := mark.Add(-Overlap).Truncate(time.Second)
	if oldest := end.Add(-min(r.options.Reach, twilioReach)); from.Before(oldest) {
		from = oldest
	}
	for length := end.Sub(from); from.Before(end); {
		to := from.Add(length)
		if to.After(end) {
			to = end
		}
		entries, more, err := r.errorLog.ErrorLog(ctx, from, to)
		if err != nil {
			return err
		}
		if asked := to.Sub(from); more && asked > shortest {
			length = max((asked / 2).Truncate(time.Second), shortest)
			continue
		}
		if more {
			r.options.Logger.Error("more errors in a second than Twilio tells, some are not counted", "at", from)
		}
		if err := r.record(ctx, entries); err != nil {
			return err
		}
		held, err := r.mark.Move(ctx, to, leaseTime)
		if err != nil {
			return err
		}
		if !held {
			return errElsewhere
		}
		from, length = to, 2*length
	}
	return nil
}

// record records entries in the order in which they happened.
func (r *Reader) record(ctx context.Context, entries []alert.ErrorLogEntry) error {
	events := make([]alert.Event, len(entries))
	for i, entry := range entries {
		events[i] = alert.ParseErrorLogEntry(entry)
	}
	slices.SortStableFunc(events, func(a, b alert.Event) int { return a.Time.Compare(b.Time) })
	for batch := range slices.Chunk(events, maxBatch) {
		if _, err := r.recorder.Record(ctx, batch); err != nil {
			return fmt.Errorf("recording Twilio's error log: %w", err)
		}
	}
	return nil
}

// note notes how a read ended, logs it if the one before ended another way, and
// returns how long Twilio asks to wait.
func (r *Reader) note(err error) time.Duration {
	failure, ok := errors.AsType[*alert.SendError](err)
	if !ok {
		failure = &alert.SendError{Err: err}
	}
	problem := ""
	if failure.Outcome == alert.Blocked {
		problem = fmt.Sprintf("Twilio refuses, and errors are missed until this is fixed: %v", failure.Err)
	}
	same := r.failing == (err != nil) && (r.Problem() == "") == (problem == "")
	r.failing = err != nil
	r.problem.Store(problem)
	switch {
	case same:
	case err == nil:
		r.options.Logger.Info("Twilio's error log is read again")
	case problem == "":
		r.options.Logger.Warn("Twilio's error log not read, trying again", "code", failure.Code, "err", failure.Err)
	default:
		r.options.Logger.Error("Twilio's error log not read", "code", failure.Code, "err", problem)
	}
	return failure.RetryAfter
}
