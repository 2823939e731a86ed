package outbox

import (
	"context"
	"fmt"
	"time"

	"twilio-error-sms/internal/alert"
)

// A stranger may make up codes, so the page does not read all counters.
const (
	// maxCounters is how many counters of a period the page reads at most: those
	// with the highest alerts.
	maxCounters = 1000
	// maxHours is how many counters of the chart it reads at most: the newest.
	maxHours = 20_000
)

// Backlog is what waits.
type Backlog struct {
	Waiting  int64     // SMS that Twilio has not accepted yet
	Oldest   time.Time // when the first of them was recorded, zero if none waits
	Held     int64     // alerts held back and not yet summed up
	CaughtUp time.Time // up to when Twilio's log was read, zero without a catch-up reader
}

// Backlog returns what waits.
func (o *Outbox) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := o.db.reads.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(MIN(created), 0),
			(SELECT COUNT(*) FROM sms WHERE status = 'held' AND summary IN (SELECT id FROM sms WHERE status = 'held' AND event = '')), COALESCE((SELECT MAX(at) FROM marks WHERE name LIKE 'catch-up%'), 0)
		FROM sms WHERE status IN ('pending', 'sending')`).Scan(&b.Waiting, at(&b.Oldest), &b.Held, at(&b.CaughtUp))
	if err != nil {
		return Backlog{}, fmt.Errorf("asking what waits: %w", err)
	}
	return b, nil
}

// History is what happened lately. Its texts came from outside.
type History struct {
	Hours   []HourCount   // of the last 24 hours, the running one included
	Events  []PastEvent   // the newest first
	SMS     []PastSMS     // the newest first
	LastDay []StatusCount // SMS of the last 24 hours
	// Counts are the counters of the running periods.
	Counts map[alert.Counter]alert.Tally
}

// HourCount is how many errors of a code happened in the hour from Start.
type HourCount struct {
	Start time.Time
	Code  string
	N     int64
}

// StatusCount is how many SMS have a status.
type StatusCount struct {
	Status Status
	N      int64
}

// PastEvent is an event and what became of it: Decision is "alerted", or says
// why not.
type PastEvent struct {
	alert.Event
	Received time.Time
	Decision string
}

// Alerted reports whether the event made phones ring.
func (e PastEvent) Alerted() bool { return e.Decision == alerted }

// PastSMS is an SMS and what became of it.
type PastSMS struct {
	alert.SMS
	SID      string // Twilio's, empty until it accepted the SMS
	Status   Status
	Created  time.Time
	Next     time.Time // when to send it, while it is pending
	Attempts int
	Error    string // Twilio's code, or what went wrong
}

// History returns what happened until now, with at most limit events and SMS.
// Its cost does not grow with the history: every query follows an index.
func (o *Outbox) History(ctx context.Context, now time.Time, limit int) (History, error) {
	h := History{Counts: make(map[alert.Counter]alert.Tally)}
	var err error
	if h.Hours, err = o.hours(ctx, now); err != nil {
		return History{}, fmt.Errorf("reading errors by hour: %w", err)
	}
	if h.Events, err = o.events(ctx, limit); err != nil {
		return History{}, fmt.Errorf("reading events: %w", err)
	}
	if h.SMS, err = o.messages(ctx, limit); err != nil {
		return History{}, fmt.Errorf("reading SMS: %w", err)
	}
	if h.LastDay, err = o.lastDay(ctx, now); err != nil {
		return History{}, fmt.Errorf("counting SMS: %w", err)
	}
	for _, period := range []alert.Period{alert.Hourly, alert.Daily, alert.Monthly, alert.Yearly} {
		if err := o.counters(ctx, period, now, h.Counts); err != nil {
			return History{}, fmt.Errorf("reading counts: %w", err)
		}
	}
	return h, nil
}

const selectHours = `SELECT start, code, CAST(SUM(n) AS BIGINT)
	FROM (SELECT start, code, n FROM counts WHERE period = $1 AND start >= $2 ORDER BY start DESC LIMIT $3) AS latest GROUP BY start, code`

func (o *Outbox) hours(ctx context.Context, now time.Time) ([]HourCount, error) {
	first := alert.Hourly.Start(now).Add(-23 * time.Hour)
	return selectAll(ctx, o.db.reads, func(h *HourCount) []any { return []any{at(&h.Start), &h.Code, &h.N} }, selectHours, string(chartPeriod), millis(first), maxHours)
}

const selectEvents = `SELECT id, received, happened, kind, account, code, level, description, resource, decision
	FROM events ORDER BY received DESC LIMIT $1`

func (o *Outbox) events(ctx context.Context, limit int) ([]PastEvent, error) {
	return selectAll(ctx, o.db.reads, func(e *PastEvent) []any {
		return []any{&e.ID, at(&e.Received), at(&e.Time), &e.Kind, &e.Account, &e.Code, &e.Level, &e.Description, &e.Resource, &e.Decision}
	}, selectEvents, limit)
}

const selectMessages = `SELECT id, COALESCE(sid, ''), recipient, body, status, created, next_at, attempts, doubt_since, error
	FROM sms WHERE body <> '' ORDER BY created DESC LIMIT $1`

func (o *Outbox) messages(ctx context.Context, limit int) ([]PastSMS, error) {
	return selectAll(ctx, o.db.reads, func(s *PastSMS) []any {
		return []any{&s.ID, &s.SID, &s.To, &s.Body, &s.Status, at(&s.Created), at(&s.Next), &s.Attempts, at(&s.DoubtSince), &s.Error}
	}, selectMessages, limit)
}

const selectLastDay = `SELECT status, COUNT(*) FROM sms WHERE created >= $1 AND body <> '' GROUP BY status ORDER BY status`

func (o *Outbox) lastDay(ctx context.Context, now time.Time) ([]StatusCount, error) {
	return selectAll(ctx, o.db.reads, func(c *StatusCount) []any { return []any{&c.Status, &c.N} }, selectLastDay, millis(now.Add(-24*time.Hour)))
}

const selectCounters = `SELECT account, code, period, start, n, alerted FROM counts WHERE period = $1 AND start = $2 ORDER BY alerted DESC LIMIT $3`

// counters adds the highest counters of the running period to counts.
func (o *Outbox) counters(ctx context.Context, period alert.Period, now time.Time, counts map[alert.Counter]alert.Tally) error {
	all, err := selectAll(ctx, o.db.reads, (*count).columns, selectCounters, string(period), millis(period.Start(now)), maxCounters)
	for _, c := range all {
		counts[c.Counter] = c.Tally
	}
	return err
}
