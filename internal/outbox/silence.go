package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
)

// AllCodes stands for all codes in a Silence, and for events without one.
const AllCodes = "all"

// longestSilence bounds a silence: one for good is a rule "never".
const longestSilence = 720 * time.Hour

// Silence is that events of a code, or of AllCodes, make no phone ring until a
// time. They are counted and stored, and leave their counters due.
type Silence struct {
	Code  string
	Until time.Time
}

func (s Silence) String() string {
	what := s.Code + " is"
	if s.Code == AllCodes {
		what = "all codes are"
	}
	return what + " silenced until " + s.Until.UTC().Format(alert.TimeLayout)
}

// ParseSilence returns the silence of a code, or of AllCodes, for a length of
// time from now on: a duration such as 2h, or "tomorrow", which is 00:00 UTC.
func ParseSilence(code, length string, now time.Time) (Silence, error) {
	if code != AllCodes && alert.ParseCode(code) == "" {
		return Silence{}, fmt.Errorf(`expected a code such as 11200, or "all", got %q`, code)
	}
	if length == "tomorrow" {
		return Silence{code, alert.Daily.End(now)}, nil
	}
	duration, err := time.ParseDuration(length)
	switch {
	case err != nil:
		return Silence{}, fmt.Errorf(`expected a duration such as 30m or 2h, or "tomorrow", got %q`, length)
	case duration < time.Minute || duration > longestSilence:
		return Silence{}, fmt.Errorf("%s: a silence lasts between 1m and %.0fh; for longer, write a rule such as %q in TRIGGERS", length, longestSilence.Hours(), "11200 never")
	}
	return Silence{code, now.Add(duration).UTC()}, nil
}

// Silence makes a silence known to all replicas, in place of an earlier one of
// the same code.
func (o *Outbox) Silence(ctx context.Context, s Silence) error {
	_, err := o.db.exec(ctx, "storing a silence", `INSERT INTO silences (code, until) VALUES ($1, $2)
		ON CONFLICT (code) DO UPDATE SET until = excluded.until`, s.Code, millis(s.Until))
	return err
}

// EndSilence ends the silence of a code, and reports whether there was one.
func (o *Outbox) EndSilence(ctx context.Context, code string) (bool, error) {
	var until time.Time
	err := o.db.writes.QueryRowContext(ctx, `DELETE FROM silences WHERE code = $1 RETURNING until`, code).Scan(at(&until))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("ending a silence: %w", err)
	}
	return until.After(time.Now()), nil
}

// Silences returns the silences at a time, by code.
func (o *Outbox) Silences(ctx context.Context, now time.Time) ([]Silence, error) {
	return silences(ctx, o.db.reads, now)
}

func silences(ctx context.Context, db querier, now time.Time) ([]Silence, error) {
	return selectAll(ctx, db, func(s *Silence) []any { return []any{&s.Code, at(&s.Until)} },
		`SELECT code, until FROM silences WHERE until > $1 ORDER BY code`, millis(now))
}

// silencedUntil says until when silences keep events of a code quiet, or "".
func silencedUntil(silences []Silence, code string, now time.Time) string {
	var until time.Time
	for _, s := range silences {
		if slices.Contains([]string{code, AllCodes}, s.Code) && s.Until.After(until) {
			until = s.Until
		}
	}
	if until.IsZero() {
		return ""
	}
	layout := "15:04 UTC"
	if alert.Daily.Start(until) != alert.Daily.Start(now) {
		layout = alert.TimeLayout
	}
	return "silenced until " + until.Format(layout)
}
