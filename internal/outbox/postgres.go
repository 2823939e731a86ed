package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// poolSize is how many connections there are at most, where pool_max_conns
	// does not say.
	poolSize = 8
	// connLifetime is how long a connection is used: the name of the server may
	// mean another one later.
	connLifetime = 30 * time.Minute
)

// readOnly is Postgres's code of a write to a server that only reads, as a
// primary does after a fail-over.
const readOnly = "25006"

// openPostgres opens a database of Postgres, and assumes nothing of a session:
// a pooler may lend it to others after each transaction.
func openPostgres(ctx context.Context, address string) (*database, error) {
	config, err := postgresConfig(address)
	if err != nil {
		return nil, err
	}
	size := poolSize
	if text, ok := config.RuntimeParams["pool_max_conns"]; ok {
		if size, err = strconv.Atoi(text); err != nil || size < 1 {
			return nil, fmt.Errorf("pool_max_conns in DATABASE_URL is %q: write how many connections there may be, such as pool_max_conns=%d", text, poolSize)
		}
		delete(config.RuntimeParams, "pool_max_conns")
	}
	// Of several hosts the first must not take all the time of a commit.
	several := slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port })
	if several && config.ConnectTimeout == 0 {
		config.ConnectTimeout = commitTimeout / 3
	}
	keep := config.OnPgError // unless the error ended the connection
	config.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool { return err.Code != readOnly && keep(conn, err) }
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // statements without a name
	writes := stdlib.OpenDB(*config)
	writes.SetMaxOpenConns(size)
	writes.SetMaxIdleConns(size)
	writes.SetConnMaxLifetime(connLifetime)
	db := &database{writes: writes, reads: writes, skipLocked: "FOR UPDATE SKIP LOCKED", arrays: true}
	// Replicas that start together must not create the tables together.
	if err := db.migrate(ctx, "SELECT pg_advisory_xact_lock(7304001)"); err != nil {
		return nil, errors.Join(withAdvice(err), db.Close())
	}
	return db, nil
}

// outrun reports whether Postgres ended a transaction in favour of another
// replica's: a deadlock, or a SID that both wrote.
func outrun(err error) bool {
	var postgres *pgconn.PgError
	return errors.As(err, &postgres) && slices.Contains([]string{"40P01", "40001", "23505"}, postgres.Code)
}

// lost reports whether the server cannot be reached, or is no longer the one to
// write to: it only reads, is shutting down or starting, or has no connection left.
// A pooler says so by a code of class 08.
func lost(err error) bool {
	var postgres *pgconn.PgError
	if !errors.As(err, &postgres) {
		return !errors.Is(err, errAgain)
	}
	class := postgres.Code[:min(len(postgres.Code), 3)]
	return postgres.Code == readOnly || postgres.Code == "53300" || class == "57P" || strings.HasPrefix(class, "08")
}
