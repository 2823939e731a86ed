package outbox

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

//go:embed schema.sql
var schema string

//go:embed upgrade.sql
var upgrade string // of version 1

// schemaVersion is the version of the tables in schema.sql.
const schemaVersion = 2

// database is SQLite or Postgres behind database/sql.
type database struct {
	writes *sql.DB // on SQLite a single connection: it has a single writer
	reads  *sql.DB // on Postgres the same
	// skipLocked makes a claim skip the SMS that others claim. Only Postgres
	// needs and knows it: SQLite has a single writer.
	skipLocked string
	arrays     bool // Postgres: a bulk statement takes an array for each column
	bulk       statements
	// file is SQLite's file. It is closed after SQLite closed it: closing it
	// releases SQLite's locks, which belong to the process.
	file *os.File
	stop func() // ends the checkpoints, or nil
}

// openDatabase opens what address names: sqlite:FILE or postgres://….
func openDatabase(ctx context.Context, address string) (*database, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, rest)
	case "postgres", "postgresql":
		return openPostgres(ctx, address)
	}
	return nil, errors.New("DATABASE_URL must be sqlite:FILE or postgres://user@host/database")
}

// migrate creates the tables in an empty database, brings those of an older
// program up to date, and refuses those of a newer one. The lock, where it is
// not empty, is taken first.
func (db *database) migrate(ctx context.Context, lock string) error {
	// Once: who starts wants to know what is wrong.
	err := db.attempt(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if lock != "" {
			if _, err := tx.ExecContext(ctx, lock); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS outbox_schema (version BIGINT NOT NULL)`); err != nil {
			return err
		}
		var version int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM outbox_schema`).Scan(&version); err != nil {
			return err
		}
		statements := schema
		switch {
		case version > schemaVersion:
			return fmt.Errorf("written by a newer program (schema %d, this one knows %d): start that one", version, schemaVersion)
		case version == schemaVersion:
			return nil
		case version == 1:
			statements = upgrade
		}
		if !db.arrays {
			statements = strings.NewReplacer("/*", "", "*/", "").Replace(statements)
		}
		for statement := range strings.SplitSeq(strings.TrimSpace(statements), ";\n") {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("making the tables of version %d: %w", schemaVersion, err)
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO outbox_schema (version) VALUES ($1)`, schemaVersion)
		return err
	})
	if err != nil {
		return err
	}
	return db.prepare(ctx)
}

// Close closes the connections.
func (db *database) Close() error {
	if db.stop != nil {
		db.stop()
	}
	err := errors.Join(db.reads.Close(), db.writes.Close()) // on Postgres they are one
	if db.file != nil {
		err = errors.Join(err, db.file.Close())
	}
	return err
}

// errAgain makes transact run a transaction again.
var errAgain = errors.New("an event is known already")

// lostPause is how long transact waits before it looks for a lost server again.
const lostPause = 50 * time.Millisecond

// transact runs do in a transaction, again while ctx lasts if other replicas
// are faster or the server is lost: after a fail-over another one answers. Nothing
// is stored unless it returns nil. If the connection ends during a commit, that may
// have happened all the same, so do must find then what it has stored.
func (db *database) transact(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	for {
		err := db.attempt(ctx, do)
		gone := err != nil && db.arrays && lost(err)
		if gone {
			db.dropConnections()
		}
		if ctx.Err() != nil || !gone && !errors.Is(err, errAgain) && !outrun(err) {
			return err
		}
		if gone {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(lostPause):
			}
		}
	}
}

// dropConnections closes the connections that are not in use.
func (db *database) dropConnections() {
	most := db.writes.Stats().MaxOpenConnections
	db.writes.SetMaxIdleConns(0)
	db.writes.SetMaxIdleConns(most)
}

// exec executes one statement, and returns how many rows it affected. Its error says
// what it was doing.
func (db *database) exec(ctx context.Context, doing, statement string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	rows, err := rowsOf(db.writes.ExecContext(ctx, statement, args...))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	return rows, nil
}

func (db *database) attempt(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	tx, err := db.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if !db.arrays {
		// On SQLite only BEGIN waits for others. To watch the context of each
		// later statement costs a tenth of a webhook.
		ctx = context.WithoutCancel(ctx)
	}
	if err := do(ctx, tx); err != nil {
		tx.Rollback() // the first error tells more
		return err
	}
	return tx.Commit()
}
