package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
)

// A stranger may make up codes, so the page does not read all counters.
const (
	// maxCounters is how many counters of a period the page reads at most: those
	// with the highest alerts.
	maxCounters = 1000
	// maxHours is how many counters of the chart it adds up at most: the newest.
	maxHours = 20_000
	// maxCodes is how many codes of the last 24 hours it lists.
	maxCodes = 6
)

// Backlog is what waits.
type Backlog struct {
	Waiting  int64     // SMS that Twilio has not accepted yet
	Oldest   time.Time // when the first of them was recorded, zero if none waits
	Held     int64     // alerts held back and not yet summed up
	CaughtUp time.Time // up to when Twilio's log was read, zero without a catch-up reader
	Silences []Silence // that have not ended
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
	b.Silences, err = o.Silences(ctx, time.Now())
	return b, err
}

// Filter says which events and SMS History returns, the newest first.
type Filter struct {
	Code        string   // of this code only, where not empty
	Status      Status   // SMS of this status only, where not empty
	Events, SMS Position // what is older than this only, where not zero
	Limit       int      // of each at most
}

// Position is the place of an event, or of an SMS with its event's ID, in the
// order of time.
type Position struct {
	At time.Time
	ID string
}

// before returns the position as arguments of a query.
func (p Position) before() (at int64, id string) {
	if p.At.IsZero() {
		return math.MaxInt64, ""
	}
	return millis(p.At), p.ID
}

// History is what happened lately. Its texts came from outside.
type History struct {
	Hours   []HourCount       // the last 24, the running one included
	Codes   []alert.CodeCount // the most frequent of these hours
	Events  []PastEvent       // the newest first
	Older   Position          // of further events, zero if there are none
	SMS     []PastSMS         // the newest first, those of an event together, by phone
	LastDay []StatusCount     // SMS of the last 24 hours
	Losses  []Loss            // SMS of the last 24 hours that did not reach their phones
	Phones  []Phone           // the recipients
	// Counts are the counters of the running periods.
	Counts map[alert.Counter]alert.Tally
}

// HourCount is how many errors happened in the hour from Start.
type HourCount struct {
	Start time.Time
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
	Decided  time.Time // zero where that was when it was received
}

// Alerted reports whether the event made phones ring.
func (e PastEvent) Alerted() bool { return e.Decision == alerted }

func (e *PastEvent) columns() []any {
	return []any{&e.ID, at(&e.Received), at(&e.Time), &e.Kind, &e.Account, &e.Code, &e.Level, &e.Description, &e.Resource, &e.Decision, at(&e.Decided)}
}

// PastSMS is an SMS and what became of it.
type PastSMS struct {
	alert.SMS
	SID      string // Twilio's, empty until it accepted the SMS
	Status   Status
	Created  time.Time
	Next     time.Time // when to send it, while it is pending
	Attempts int
	Error    string    // Twilio's code, or what went wrong
	Event    PastEvent // what it tells of; without an ID where it sums up held alerts, and without more where the event is purged
	// Summary is when an SMS told, or is expected to tell, of an alert that is held:
	// Due, while it has not. Zero where neither is known.
	Summary time.Time
	Due     bool
}

// Phone is a recipient, and when the last SMS of each outcome was written.
type Phone struct {
	To                        string
	Delivered, Accepted, Lost time.Time
	Error                     string // of the last that was lost
}

// GetsNothing reports whether no SMS arrived since one was lost.
func (p Phone) GetsNothing() bool {
	return p.Lost.After(p.Delivered) && p.Lost.After(p.Accepted)
}

// History returns what happened until now. Where the filter is for less than
// everything, it has no Hours, Codes, LastDay and Counts. Its cost does not grow with the
// history: every query follows an index.
func (o *Outbox) History(ctx context.Context, now time.Time, filter Filter) (History, error) {
	h := History{Counts: make(map[alert.Counter]alert.Tally)}
	var errs [5]error
	h.Events, h.Older, errs[0] = o.events(ctx, filter)
	h.SMS, errs[1] = o.messages(ctx, now, filter)
	h.Phones, errs[2] = o.phones(ctx)
	h.Losses, errs[3] = o.losses(ctx, now.Add(-24*time.Hour))
	if filter == (Filter{Limit: filter.Limit}) {
		errs[4] = o.lastDay(ctx, now, &h)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return History{}, fmt.Errorf("reading the history: %w", err)
	}
	return h, nil
}

const (
	selectLastDay  = `SELECT status, COUNT(*) FROM sms WHERE created >= $1 AND body <> '' GROUP BY status ORDER BY status`
	selectCounters = `SELECT account, code, period, start, n, alerted FROM counts WHERE period = $1 AND start = $2 ORDER BY alerted DESC LIMIT $3`
)

// lastDay adds to h what the counters tell, and the SMS of the last day.
func (o *Outbox) lastDay(ctx context.Context, now time.Time, h *History) (err error) {
	if h.Hours, h.Codes, err = o.hours(ctx, now); err != nil {
		return err
	}
	for _, period := range []alert.Period{alert.Hourly, alert.Daily, alert.Monthly, alert.Yearly} {
		highest, err := selectAll(ctx, o.db.reads, (*count).columns, selectCounters, string(period), millis(period.Start(now)), maxCounters)
		if err != nil {
			return err
		}
		for _, c := range highest {
			h.Counts[c.Counter] = c.Tally
		}
	}
	columns := func(c *StatusCount) []any { return []any{&c.Status, &c.N} }
	h.LastDay, err = selectAll(ctx, o.db.reads, columns, selectLastDay, millis(now.Add(-24*time.Hour)))
	return err
}

const selectHours = `SELECT start, code, n FROM counts WHERE period = $1 AND start BETWEEN $2 AND $3 ORDER BY start DESC LIMIT $4`

// hours returns the errors of each of the last 24 hours, and their most frequent
// codes. To add them up in the database would cost more.
func (o *Outbox) hours(ctx context.Context, now time.Time) ([]HourCount, []alert.CodeCount, error) {
	first := alert.Hourly.Start(now).Add(-23 * time.Hour)
	counts, err := selectAll(ctx, o.db.reads, func(c *count) []any { return []any{at(&c.Start), &c.Code, &c.N} },
		selectHours, string(chartPeriod), millis(first), millis(now), maxHours)
	var hours []HourCount
	for i := range 24 {
		hours = append(hours, HourCount{Start: first.Add(time.Duration(i) * time.Hour)})
	}
	totals := make(map[string]int64)
	for _, c := range counts {
		hours[c.Start.Sub(first)/time.Hour].N += c.N
		totals[c.Code] += c.N
	}
	var codes []alert.CodeCount
	for code, n := range totals {
		codes = append(codes, alert.CodeCount{Code: code, Count: n})
	}
	slices.SortFunc(codes, alert.CodeCount.MoreFrequent)
	return hours, codes[:min(len(codes), maxCodes)], err
}

// lookBack is among how many events those of a code are looked for at a time. An
// index by code would cost a tenth of a webhook.
const lookBack = 5000

const (
	selectHorizon = `SELECT COALESCE((SELECT received FROM events WHERE received <= $1 ORDER BY received DESC LIMIT 1 OFFSET $2), 0)`

	eventColumns = `events.id, received, happened, kind, account, events.code, level, description, resource, decision, COALESCE(decided, 0)`

	selectEvents = `SELECT ` + eventColumns + ` FROM events
		WHERE received <= $1 AND received >= $2 AND (received < $1 OR id < $3) AND (code = $4 OR $4 = '') AND decision <> '` + seenBefore + `' ORDER BY received DESC, id DESC LIMIT $5`
)

// events returns the events of a filter, and the position of further ones.
func (o *Outbox) events(ctx context.Context, filter Filter) (events []PastEvent, older Position, err error) {
	before, id := filter.Events.before()
	var horizon int64
	if filter.Code != "" {
		if err := o.db.reads.QueryRowContext(ctx, selectHorizon, before, lookBack).Scan(&horizon); err != nil {
			return nil, Position{}, err
		}
	}
	events, err = selectAll(ctx, o.db.reads, (*PastEvent).columns, selectEvents, before, horizon, id, filter.Code, filter.Limit)
	switch {
	case len(events) > 0 && len(events) == filter.Limit:
		last := events[len(events)-1]
		older = Position{last.Received, last.ID}
	case horizon > 0:
		older = Position{At: fromMillis(horizon)}
	}
	return events, older, err
}

// settled is the condition of the index by status, which a query must repeat.
const settled = `status IN ('sent', 'delivered', 'undelivered', 'failed', 'held')`

// selectMessages selects the SMS of a filter and their events.
func selectMessages(filter Filter) (query string, args []any) {
	before, id := filter.SMS.before()
	args = []any{before, id, filter.Limit}
	condition := ""
	where := func(column, value string) {
		args = append(args, value)
		condition += fmt.Sprintf(" AND %s = $%d", column, len(args))
	}
	if filter.Code != "" {
		where("sms.code", filter.Code)
	}
	if filter.Status != "" {
		if filter.Status != Pending && filter.Status != Sending && filter.Code == "" {
			condition += " AND sms." + settled
		}
		where("sms.status", string(filter.Status))
	}
	return `SELECT sms.id, COALESCE(sms.sid, ''), sms.recipient, sms.body, sms.status, sms.created, sms.next_at, sms.attempts, sms.doubt_since, sms.error,
			COALESCE(summary.created, 0), COALESCE(summary.status = 'held', FALSE), sms.event, COALESCE(received, 0), COALESCE(events.happened, 0), COALESCE(kind, ''),
			COALESCE(account, ''), sms.code, COALESCE(level, ''), COALESCE(description, ''), COALESCE(resource, ''), COALESCE(decision, ''), COALESCE(decided, 0)
		FROM sms LEFT JOIN events ON events.id = sms.event LEFT JOIN sms AS summary ON summary.id = sms.summary
		WHERE sms.body <> '' AND sms.created <= $1 AND (sms.created < $1 OR sms.event < $2)` + condition + ` ORDER BY sms.created DESC, sms.event DESC, sms.recipient LIMIT $3`, args
}

// messages returns the SMS of a filter.
func (o *Outbox) messages(ctx context.Context, now time.Time, filter Filter) ([]PastSMS, error) {
	query, args := selectMessages(filter)
	all, err := selectAll(ctx, o.db.reads, func(s *PastSMS) []any {
		return append([]any{&s.ID, &s.SID, &s.To, &s.Body, &s.Status, at(&s.Created), at(&s.Next), &s.Attempts, at(&s.DoubtSince), &s.Error,
			at(&s.Summary), &s.Due}, s.Event.columns()...)
	}, query, args...)
	if err != nil {
		return nil, err
	}
	rooms, err := o.roomAgain(ctx, now)
	for i := range all {
		if all[i].Due {
			all[i].Summary = cmp.Or(time.Time(rooms[all[i].To]), now)
		}
	}
	return all, err
}

// roomAgain returns when the hour of a phone has room for one more SMS, by what the
// limit counts: at once, for a phone that is missing.
func (o *Outbox) roomAgain(ctx context.Context, now time.Time) (map[string]moment, error) {
	return selectMap[string, moment](ctx, o.db.reads, `SELECT recipient, used + $4 FROM (
			SELECT recipient, used, ROW_NUMBER() OVER (PARTITION BY recipient ORDER BY used DESC) AS place FROM (
				SELECT recipient, CAST($1 AS BIGINT) AS used FROM sms WHERE status IN ('pending', 'sending')
				UNION ALL SELECT recipient, sent_at FROM sms WHERE sent_at > 0 AND sent_at > $2) AS uses
		) AS places WHERE place = $3`, millis(now), millis(now.Add(-time.Hour)), o.options.PerHour, time.Hour.Milliseconds())
}

// selectLast selects the last SMS of each outcome for a phone.
const selectLast = `WITH outcomes (status) AS (VALUES ('sent'), ('delivered'), ('undelivered'), ('failed'))
	SELECT sms.status, sms.created, sms.error FROM outcomes JOIN sms ON sms.id = (
		SELECT id FROM sms WHERE ` + settled + ` AND status = outcomes.status AND recipient = $1 ORDER BY created DESC LIMIT 1)`

// phones returns what the recipients got, in their order.
func (o *Outbox) phones(ctx context.Context) ([]Phone, error) {
	var phones []Phone
	for _, to := range o.options.Recipients {
		p := Phone{To: to}
		last, err := selectAll(ctx, o.db.reads, func(s *PastSMS) []any { return []any{&s.Status, at(&s.Created), &s.Error} }, selectLast, to)
		if err != nil {
			return nil, err
		}
		for _, s := range last {
			switch {
			case s.Status == Delivered:
				p.Delivered = s.Created
			case s.Status == Sent:
				p.Accepted = s.Created
			case s.Created.After(p.Lost) && s.Error != notNamed:
				p.Lost, p.Error = s.Created, s.Error
			}
		}
		phones = append(phones, p)
	}
	return phones, nil
}
