package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// bulkSizes is how many sizes of a bulk statement are prepared: for 1, 2, 4 …
// 64 rows. A few of them together serve any number of rows, without parsing.
const bulkSizes = 7

// bulk is a statement over a list of rows.
type bulk struct {
	columns int
	sizes   [bulkSizes]*sql.Stmt // the ith takes 1<<i rows
}

// statements are the bulk statements of Record.
type statements struct {
	seenRequests, insertRequests, seenEvents, ownMessages, addCounts, insertEvents, insertSMS bulk
}

func (db *database) prepare(ctx context.Context) (err error) {
	for _, s := range []struct {
		bulk       *bulk
		head, tail string
		columns    int
	}{
		{&db.bulk.seenRequests, `SELECT signature FROM requests WHERE signature IN (`, `)`, 1},
		{&db.bulk.insertRequests, `INSERT INTO requests (signature, at) VALUES `, ` ON CONFLICT (signature) DO NOTHING`, 2},
		{&db.bulk.seenEvents, `SELECT id FROM events WHERE id IN (`, `)`, 1},
		{&db.bulk.ownMessages, `SELECT sid FROM sids WHERE sid IN (`, `)`, 1},
		{&db.bulk.addCounts, `INSERT INTO counts (account, code, period, start, n) VALUES `,
			` ON CONFLICT (account, code, period, start) DO UPDATE SET n = counts.n + excluded.n RETURNING account, code, period, start, n, alerted`, 5},
		{&db.bulk.insertEvents, `INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision) VALUES `,
			` ON CONFLICT (id) DO NOTHING`, 10},
		{&db.bulk.insertSMS, `INSERT INTO sms (id, event, summary, code, recipient, body, other, body_until, status, created, happened, next_at) VALUES `, ``, 12},
	} {
		s.bulk.columns = s.columns
		for i := range s.bulk.sizes {
			query := s.head + db.list(1<<i, s.columns) + s.tail
			if s.bulk.sizes[i], err = db.writes.PrepareContext(ctx, query); err != nil {
				return fmt.Errorf("preparing %s: %w", s.head, err)
			}
		}
	}
	return nil
}

// list writes the placeholders of rows: $1,$2 for a single column, ($1,$2),
// ($3,$4) for more. SQLite searches a list of all names for each $1, so it gets
// ? instead.
func (db *database) list(rows, columns int) string {
	var b strings.Builder
	for n := range rows * columns {
		switch {
		case n > 0 && n%columns == 0 && columns > 1:
			b.WriteString("),(")
		case n > 0:
			b.WriteByte(',')
		case columns > 1:
			b.WriteByte('(')
		}
		if db.numbered {
			b.WriteString("$" + strconv.Itoa(n+1))
		} else {
			b.WriteByte('?')
		}
	}
	if columns > 1 {
		b.WriteByte(')')
	}
	return b.String()
}

// next returns the largest statement of s that the arguments fill, and how
// many of them it takes.
func (s *bulk) next(args []any) (*sql.Stmt, int) {
	i := min(bits.Len(uint(len(args)/s.columns)), bulkSizes) - 1
	return s.sizes[i], s.columns << i
}

// exec executes s for all rows of args and returns how many it affected.
func (s *bulk) exec(ctx context.Context, tx *sql.Tx, args []any) (affected int64, err error) {
	for len(args) > 0 {
		statement, n := s.next(args)
		done, err := tx.StmtContext(ctx, statement).ExecContext(ctx, args[:n]...)
		if err != nil {
			return 0, err
		}
		rows, err := done.RowsAffected()
		if err != nil {
			return 0, err
		}
		affected += rows
		args = args[n:]
	}
	return affected, nil
}

// selectBulk returns the rows that s finds for all rows of args, read as by
// selectAll.
func selectBulk[T any](ctx context.Context, tx *sql.Tx, s *bulk, columns func(*T) []any, args []any) ([]T, error) {
	var all []T
	for len(args) > 0 {
		statement, n := s.next(args)
		rows, err := tx.StmtContext(ctx, statement).QueryContext(ctx, args[:n]...)
		if err != nil {
			return nil, err
		}
		if all, err = appendRows(all, rows, columns); err != nil {
			return nil, err
		}
		args = args[n:]
	}
	return all, nil
}

// among returns which of keys s finds.
func (s *bulk) among(ctx context.Context, tx *sql.Tx, keys []any) (map[string]bool, error) {
	all, err := selectBulk(ctx, tx, s, one[string], keys)
	found := make(map[string]bool, len(all))
	for _, key := range all {
		found[key] = true
	}
	return found, err
}
