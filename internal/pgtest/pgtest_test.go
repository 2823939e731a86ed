package pgtest_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
)

// TestServer puts a server through what the tests of others need of it.
func TestServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	db, err := sql.Open("pgx", server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(query string) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, query)
		return err
	}
	if _, err := db.Exec("CREATE TABLE kept (n INT)"); err != nil {
		t.Fatal(err)
	}
	server.Pause(t)
	if exec("SELECT 1") == nil {
		t.Error("a paused server answers")
	}
	server.Resume()
	if _, err := db.Exec("SELECT 1"); err != nil {
		t.Errorf("a resumed server: %v", err)
	}
	for name, end := range map[string]func(){"stopped": server.Stop, "crashed": server.Crash} {
		end()
		if exec("SELECT 1") == nil {
			t.Errorf("a %s server answers", name)
		}
		server.Restart(t)
		if _, err := db.Exec("SELECT n FROM kept"); err != nil {
			t.Errorf("a %s server, started again: %v", name, err)
		}
	}
	tcp, err := sql.Open("pgx", server.TCP(t, "test1"))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if _, err := tcp.Exec("SELECT n FROM kept"); err != nil {
		t.Errorf("by TCP: %v", err)
	}
}
