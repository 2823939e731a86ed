package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Mark says how far something has come that one replica does at a time: the
// replica that holds its lease moves it forward.
type Mark struct {
	db     *database
	name   string
	holder string // this Mark, among those of the same name
}

// Mark returns the mark of a name. Each replica has one; they share the lease.
func (o *Outbox) Mark(name string) *Mark {
	return &Mark{db: o.db, name: name, holder: rand.Text()}
}

// Take takes the lease for a time, or prolongs it, and returns where the mark
// is: at start when it never was anywhere. Held is false while another holder
// has the lease; one that ends later than any lease can is of a clock that was
// ahead, and counts for nothing.
func (m *Mark) Take(ctx context.Context, start time.Time, lease time.Duration) (reached time.Time, held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	now := time.Now()
	err = m.db.writes.QueryRowContext(ctx, `INSERT INTO marks (name, at, holder, until) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
			WHERE marks.until <= $5 OR marks.until > $6 OR marks.holder = excluded.holder
		RETURNING at`, m.name, millis(start), m.holder, millis(now.Add(lease)), millis(now), millis(now.Add(2*lease))).Scan(at(&reached))
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("taking the lease of %s: %w", m.name, err)
	}
	return reached, true, nil
}

// Move moves the mark forward, unless it is there already, and prolongs the
// lease. A mark in the future, of a clock that was ahead, moves back. Held is
// false, and the mark where it was, if another replica has taken the lease since.
func (m *Mark) Move(ctx context.Context, to time.Time, lease time.Duration) (held bool, err error) {
	n, err := m.db.exec(ctx, "moving the mark of "+m.name, `UPDATE marks SET at = CASE WHEN at < $1 OR at > $2 THEN $1 ELSE at END, until = $3
		WHERE name = $4 AND holder = $5`, millis(to), millis(time.Now()), millis(time.Now().Add(lease)), m.name, m.holder)
	return n > 0, err
}

// Release ends the lease now, so that others can take it.
func (m *Mark) Release(ctx context.Context) error {
	_, err := m.db.exec(ctx, "ending the lease of "+m.name, `UPDATE marks SET until = 0 WHERE name = $1 AND holder = $2`, m.name, m.holder)
	return err
}
