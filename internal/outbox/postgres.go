package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// openPostgres opens a database of Postgres, and assumes nothing of a session:
// a pooler may lend it to others after each transaction.
func openPostgres(ctx context.Context, address string) (*database, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("pgx cannot read DATABASE_URL: write postgres://user:password@host:5432/database")
	}
	size := poolSize
	if text, ok := config.RuntimeParams["pool_max_conns"]; ok {
		if size, err = strconv.Atoi(text); err != nil || size < 1 {
			return nil, fmt.Errorf("pool_max_conns in DATABASE_URL is %q: write how many connections there may be, such as pool_max_conns=%d", text, poolSize)
		}
		delete(config.RuntimeParams, "pool_max_conns")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // statements without a name
	writes := stdlib.OpenDB(*config)
	writes.SetMaxOpenConns(size)
	writes.SetMaxIdleConns(size)
	writes.SetConnMaxLifetime(connLifetime)
	db := &database{writes: writes, reads: writes, skipLocked: "FOR UPDATE SKIP LOCKED", numbered: true}
	// Replicas that start together must not create the tables together.
	if err := db.migrate(ctx, "SELECT pg_advisory_xact_lock(7304001)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// outrun reports whether Postgres ended a transaction in favour of another
// replica's: a deadlock, or a SID that both wrote.
func outrun(err error) bool {
	var postgres *pgconn.PgError
	return errors.As(err, &postgres) && slices.Contains([]string{"40P01", "40001", "23505"}, postgres.Code)
}
