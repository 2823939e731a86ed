package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"strings"
)

// bulkSizes is how many sizes of a bulk statement SQLite has: for 1, 2, 4 … 64
// rows. They are prepared: a few of them together serve any number of rows, without
// parsing. On Postgres a statement takes an array for each column, so that one short
// text serves any number of rows. It is not prepared: it would belong to a session,
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
	seenSignatures, seenEvents, ownMessages, addCounts, insertEvents, insertSMS bulk
}

func (db *database) prepare(ctx context.Context) (err error) {
	db.bulk = statements{
		bulk{db: db, columns: 1, head: `SELECT signature FROM events WHERE signature <> 0 AND signature`},
		bulk{db: db, columns: 1, head: `SELECT id FROM events WHERE id`},
		bulk{db: db, columns: 1, head: `SELECT sid FROM sids WHERE sid`},
		bulk{db: db, columns: 5, head: `INSERT INTO counts (account, code, period, start, n)`,
			tail: ` ON CONFLICT (account, code, period, start) DO UPDATE SET n = counts.n + excluded.n RETURNING account, code, period, start, n, alerted`},
		bulk{db: db, columns: 11, head: `INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision, signature)`,
			tail: ` ON CONFLICT DO NOTHING`},
		bulk{db: db, columns: 12, head: `INSERT INTO sms (id, event, summary, code, recipient, body, other, body_until, status, created, happened, next_at)`},
	}
	if db.arrays {
		return nil
	}
	for _, b := range []*bulk{&db.bulk.seenSignatures, &db.bulk.seenEvents, &db.bulk.ownMessages, &db.bulk.addCounts, &db.bulk.insertEvents, &db.bulk.insertSMS} {
		for i := range b.sizes {
			if b.sizes[i], err = db.writes.PrepareContext(ctx, b.text(1<<i)); err != nil {
				return fmt.Errorf("preparing %s: %w", b.head, err)
			}
		}
	}
	return nil
}

// text returns SQLite's statement for a number of rows. Its placeholders have no
// numbers: SQLite searches a list of all names for each.
func (b *bulk) text(rows int) string {
	row := "(?" + strings.Repeat(",?", b.columns-1) + ")"
	if b.columns == 1 {
		return b.head + " IN (?" + strings.Repeat(",?", rows-1) + ")" + b.tail
	}
	return b.head + " VALUES " + row + strings.Repeat(","+row, rows-1) + b.tail
}

// withArrays returns Postgres's statement and its arguments: the columns of args.
func (b *bulk) withArrays(args []any) (text string, columns []any) {
	var places []string
	for c := range b.columns {
		name, column := arrayOf(args[c:], b.columns)
		columns = append(columns, column)
		places = append(places, fmt.Sprintf("$%d::%s", c+1, name))
	}
	list := strings.Join(places, ", ")
	if b.columns == 1 {
		return b.head + " = ANY(" + list + ")" + b.tail, columns
	}
	return b.head + " SELECT * FROM unnest(" + list + ")" + b.tail, columns
}

// arrayOf returns every nth of args as an array, and the array's type.
func arrayOf(args []any, n int) (name string, array any) {
	if _, number := args[0].(int64); number {
		return "bigint[]", collect[int64](args, n)
	}
	return "text[]", collect[string](args, n)
}

func collect[T any](args []any, n int) (all []T) {
	for i := 0; i < len(args); i += n {
		all = append(all, args[i].(T))
	}
	return all
}

// next returns SQLite's largest statement that the arguments fill, and how many of
// them it takes.
func (b *bulk) next(ctx context.Context, tx *sql.Tx, args []any) (*sql.Stmt, int) {
	i := min(bits.Len(uint(len(args)/b.columns)), bulkSizes) - 1
	return tx.StmtContext(ctx, b.sizes[i]), b.columns << i
}

// exec executes the statement for all rows of args and returns how many it
// affected.
func (b *bulk) exec(ctx context.Context, tx *sql.Tx, args []any) (affected int64, err error) {
	if b.db.arrays && len(args) > 0 {
		text, columns := b.withArrays(args)
		return rowsOf(tx.ExecContext(ctx, text, columns...))
	}
	for len(args) > 0 {
		statement, n := b.next(ctx, tx, args)
		rows, err := rowsOf(statement.ExecContext(ctx, args[:n]...))
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
	if b.db.arrays && len(args) > 0 {
		text, arrays := b.withArrays(args)
		return selectAll(ctx, tx, columns, text, arrays...)
	}
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

// among returns which of keys, all of type K, the statement finds.
func among[K comparable](ctx context.Context, tx *sql.Tx, b *bulk, keys []any) (map[K]bool, error) {
	all, err := selectBulk(ctx, tx, b, one[K], keys)
	found := make(map[K]bool, len(all))
	for _, key := range all {
		found[key] = true
	}
	return found, err
}
