package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// bulkSizes is how many sizes of a bulk statement there are: for 1, 2, 4 … 64
// rows. On SQLite they are prepared: a few of them together serve any number of
// rows, without parsing. On Postgres a statement is sent as text, for as many rows
// as there are up to the largest size: a prepared one would belong to a session,
// which a pooler lends to others, and keep a plan made for tables that were empty.
const bulkSizes = 7

// bulk is a statement over a list of rows.
type bulk struct {
	db         *database
	head, tail string // around the rows
	columns    int
	sizes      [bulkSizes]*sql.Stmt // SQLite: the ith takes 1<<i rows
}

// statements are the bulk statements of Record.
type statements struct {
	seenRequests, insertRequests, seenEvents, ownMessages, addCounts, insertEvents, insertSMS bulk
}

func (db *database) prepare(ctx context.Context) (err error) {
	db.bulk = statements{
		bulk{db: db, columns: 1, head: `SELECT signature FROM requests WHERE signature IN (`, tail: `)`},
		bulk{db: db, columns: 2, head: `INSERT INTO requests (signature, at) VALUES `, tail: ` ON CONFLICT (signature) DO NOTHING`},
		bulk{db: db, columns: 1, head: `SELECT id FROM events WHERE id IN (`, tail: `)`},
		bulk{db: db, columns: 1, head: `SELECT sid FROM sids WHERE sid IN (`, tail: `)`},
		bulk{db: db, columns: 5, head: `INSERT INTO counts (account, code, period, start, n) VALUES `,
			tail: ` ON CONFLICT (account, code, period, start) DO UPDATE SET n = counts.n + excluded.n RETURNING account, code, period, start, n, alerted`},
		bulk{db: db, columns: 10, head: `INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision) VALUES `,
			tail: ` ON CONFLICT (id) DO NOTHING`},
		bulk{db: db, columns: 12, head: `INSERT INTO sms (id, event, summary, code, recipient, body, other, body_until, status, created, happened, next_at) VALUES `},
	}
	if db.numbered {
		return nil
	}
	for _, b := range []*bulk{&db.bulk.seenRequests, &db.bulk.insertRequests, &db.bulk.seenEvents, &db.bulk.ownMessages, &db.bulk.addCounts, &db.bulk.insertEvents, &db.bulk.insertSMS} {
		for i := range b.sizes {
			if b.sizes[i], err = db.writes.PrepareContext(ctx, b.text(1<<i)); err != nil {
				return fmt.Errorf("preparing %s: %w", b.head, err)
			}
		}
	}
	return nil
}

// text returns the statement for a number of rows.
func (b *bulk) text(rows int) string { return b.head + b.db.list(rows, b.columns) + b.tail }

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

// runner runs a statement. It is a *sql.Stmt or an unprepared statement.
type runner interface {
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
}

// unprepared is a statement of a transaction that is sent as text.
type unprepared struct {
	tx   *sql.Tx
	text string
}

func (u unprepared) ExecContext(ctx context.Context, args ...any) (sql.Result, error) {
	return u.tx.ExecContext(ctx, u.text, args...)
}

func (u unprepared) QueryContext(ctx context.Context, args ...any) (*sql.Rows, error) {
	return u.tx.QueryContext(ctx, u.text, args...)
}

// next returns the largest statement that the arguments fill, and how many of
// them it takes.
func (b *bulk) next(ctx context.Context, tx *sql.Tx, args []any) (runner, int) {
	rows := len(args) / b.columns
	if b.db.numbered {
		rows = min(rows, 1<<(bulkSizes-1))
		return unprepared{tx, b.text(rows)}, rows * b.columns
	}
	i := min(bits.Len(uint(rows)), bulkSizes) - 1
	return tx.StmtContext(ctx, b.sizes[i]), b.columns << i
}

// exec executes the statement for all rows of args and returns how many it
// affected.
func (b *bulk) exec(ctx context.Context, tx *sql.Tx, args []any) (affected int64, err error) {
	for len(args) > 0 {
		statement, n := b.next(ctx, tx, args)
		done, err := statement.ExecContext(ctx, args[:n]...)
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

// selectBulk returns the rows that b finds for all rows of args, read as by
// selectAll.
func selectBulk[T any](ctx context.Context, tx *sql.Tx, b *bulk, columns func(*T) []any, args []any) ([]T, error) {
	var all []T
	for len(args) > 0 {
		statement, n := b.next(ctx, tx, args)
		rows, err := statement.QueryContext(ctx, args[:n]...)
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

// among returns which of keys the statement finds.
func (b *bulk) among(ctx context.Context, tx *sql.Tx, keys []any) (map[string]bool, error) {
	all, err := selectBulk(ctx, tx, b, one[string], keys)
	found := make(map[string]bool, len(all))
	for _, key := range all {
		found[key] = true
	}
	return found, err
}
