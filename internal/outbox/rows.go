package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// selectAll returns the rows of a query. Columns returns the places in a row
// that the columns of the query are scanned into, all of them for each row.
func selectAll[T any](ctx context.Context, db querier, columns func(*T) []any, query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return appendRows(nil, rows, columns)
}

// selectMap returns the rows of a query for two columns: the second by the first.
func selectMap[K comparable, V any](ctx context.Context, db querier, query string, args ...any) (map[K]V, error) {
	type row struct {
		key   K
		value V
	}
	rows, err := selectAll(ctx, db, func(r *row) []any { return []any{&r.key, &r.value} }, query, args...)
	all := make(map[K]V, len(rows))
	for _, r := range rows {
		all[r.key] = r.value
	}
	return all, err
}

// one is the columns of a query for a single column.
func one[T any](row *T) []any { return []any{row} }

// appendRows appends the rows of a query to all, and closes them.
func appendRows[T any](all []T, rows *sql.Rows, columns func(*T) []any) ([]T, error) {
	var row T
	places := columns(&row)
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// rowsOf returns how many rows a statement affected.
func rowsOf(done sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// at makes a column of milliseconds scan into t.
func at(t *time.Time) sql.Scanner { return (*moment)(t) }

// moment is a time that scans a column of milliseconds.
type moment time.Time

// Scan implements sql.Scanner.
func (m *moment) Scan(column any) error {
	ms, ok := column.(int64)
	if !ok {
		return fmt.Errorf("got %T, want milliseconds since 1970", column)
	}
	*m = moment(fromMillis(ms))
	return nil
}

// millis returns what a column holds for t: milliseconds since 1970, 0 for the
// zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
