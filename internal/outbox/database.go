package outbox

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed schema.sql
var schema string

// schemaVersion is that of schema.sql.
const schemaVersion = 1

// database is SQLite or Postgres behind database/sql.
type database struct {
	writes *sql.DB // on SQLite a single connection: it has a single writer
	reads  *sql.DB
	// skipLocked lets concurrent claims pass each other by. Postgres needs it,
	// SQLite, with its single writer, neither needs nor knows it.
	skipLocked string
	numbered   bool // whether it is Postgres, which wants the placeholders of lists numbered
	bulk       statements
	// file is SQLite's, open until SQLite has closed it: to close it releases
	// SQLite's locks, which belong to the process.
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

func openSQLite(ctx context.Context, file string) (*database, error) {
	if file == "" {
		return nil, errors.New("DATABASE_URL has no file: use sqlite:alerts.db")
	}
	// It holds phone numbers: nobody else's to read. SQLite makes its other
	// files alike.
	opened, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	db := &database{file: opened}
	// A commit is on disk when it returns (synchronous=FULL), so that an
	// answered webhook survives a power cut.
	if db.writes, err = openFile(file, 1, "immediate", "page_size(1024)", "busy_timeout(4000)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)", "cache_size(-2000)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if db.reads, err = openFile(file, 2, "deferred", "busy_timeout(4000)", "cache_size(-2000)", "query_only(1)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.migrate(ctx, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), db.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		db.checkpoint(running)
	}()
	db.stop = func() {
		stop()
		<-stopped
	}
	return db, nil
}

// openFile opens a file of SQLite, for up to that many connections at a time.
func openFile(file string, connections int, lock string, pragmas ...string) (*sql.DB, error) {
	settings := url.Values{"_txlock": {lock}, "_pragma": pragmas}
	location := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", location.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

// walPages is the length in pages from which SQLite's log is begun anew.
const walPages = 1000

// checkpoint moves what SQLite has logged into its file, once a second until
// ctx ends. By itself it would do so in the middle of a commit, and webhooks
// would wait, 100 ms while history is purged. What fails, such as on a full
// disk, is tried again; commits tell of it.
func (db *database) checkpoint(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var changed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wal, err := os.Stat(db.file.Name() + "-wal")
		if err != nil || wal.ModTime().Equal(changed) {
			continue
		}
		changed = wal.ModTime()
		db.move(ctx)
	}
}

// move moves what is in the log, and where that is much begins the log anew.
func (db *database) move(ctx context.Context) {
	const passive = "PRAGMA wal_checkpoint(PASSIVE)"
	var busy, logged, moved int
	for range 3 { // each moves what was logged during the one before
		before := moved
		if err := db.reads.QueryRowContext(ctx, passive).Scan(&busy, &logged, &moved); err != nil || moved < walPages {
			return
		}
		if err := db.file.Sync(); err != nil {
			return
		}
		if moved-before < walPages {
			break
		}
	}
	// A log begins anew once all of it has moved and is on disk. While commits
	// go on there is always a rest, which by now is small: they wait for it.
	db.writes.ExecContext(ctx, passive)
}

func openPostgres(ctx context.Context, address string) (*database, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("DATABASE_URL is no address that pgx understands: use postgres://user:password@host:5432/database")
	}
	// Statements are prepared while the tables are young or empty, and stay
	// planned for that: Postgres would read tables from end to end as they grow.
	// To forbid that makes it think of what has no index as dear enough to
	// compile, which takes 20 ms and more.
	writes := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET enable_seqscan = off; SET jit = off")
		return err
	}))
	writes.SetMaxOpenConns(8)
	writes.SetMaxIdleConns(8)
	db := &database{writes: writes, reads: writes, skipLocked: "FOR UPDATE SKIP LOCKED", numbered: true}
	// Replicas that start together must not create the tables together.
	if err := db.migrate(ctx, "SELECT pg_advisory_xact_lock(7304001)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// migrate creates the tables in an empty database and refuses those of a
// newer program. The lock, where it is not empty, is taken first.
func (db *database) migrate(ctx context.Context, lock string) error {
	err := db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
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
		if version > schemaVersion {
			return fmt.Errorf("written by a newer program (schema %d, this one knows %d): start that one", version, schemaVersion)
		}
		if version == schemaVersion {
			return nil
		}
		tables := schema
		if !db.numbered {
			tables = strings.NewReplacer("/*", "", "*/", "").Replace(schema)
		}
		for statement := range strings.SplitSeq(strings.TrimSpace(tables), ";\n") {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("creating the tables: %w", err)
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
	var problems []error
	if db.reads != nil && db.reads != db.writes {
		problems = append(problems, db.reads.Close())
	}
	if db.writes != nil {
		problems = append(problems, db.writes.Close())
	}
	if db.file != nil {
		problems = append(problems, db.file.Close())
	}
	return errors.Join(problems...)
}

// errAgain makes transact run a transaction again.
var errAgain = errors.New("an event is known already")

// transact runs do in a transaction, and again while other replicas are
// faster and ctx lasts. Nothing is stored unless it returns nil.
func (db *database) transact(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	for {
		err := db.attempt(ctx, do)
		if ctx.Err() != nil || !errors.Is(err, errAgain) && !outrun(err) {
			return err
		}
	}
}

// outrun reports whether Postgres ended a transaction for the sake of another
// replica's: a deadlock, or a SID that both of them wrote.
func outrun(err error) bool {
	var postgres *pgconn.PgError
	return errors.As(err, &postgres) && slices.Contains([]string{"40P01", "40001", "23505"}, postgres.Code)
}

func (db *database) attempt(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	tx, err := db.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if !db.numbered {
		// On SQLite only the beginning waits for others; to watch the context
		// of each statement after it costs a tenth of a webhook.
		ctx = context.WithoutCancel(ctx)
	}
	if err := do(ctx, tx); err != nil {
		tx.Rollback() // the first error tells more
		return err
	}
	return tx.Commit()
}

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
