package outbox

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

func openPostgres(ctx context.Context, address string) (*database, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("pgx cannot read DATABASE_URL: write postgres://user:password@host:5432/database")
	}
	// Statements are prepared while the tables are new, and Postgres keeps those
	// plans: it would read whole tables when they have grown. With enable_seqscan
	// off a query without an index looks expensive enough for JIT compilation,
	// which takes 20 ms and more, so JIT is off too.
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

// outrun reports whether Postgres ended a transaction in favour of another
// replica's: a deadlock, or a SID that both wrote.
func outrun(err error) bool {
	var postgres *pgconn.PgError
	return errors.As(err, &postgres) && slices.Contains([]string{"40P01", "40001", "23505"}, postgres.Code)
}
