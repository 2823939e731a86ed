package outbox_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/pgtest"
)

const (
	// account is the account of the events.
	account = "AC0123456789abcdef0123456789abcdef"
	// alice and bob have phones.
	alice, bob = "+15005550006", "+15005550007"
)

// postgres serves all tests but those that stop it. It lives no longer than
// they: nothing need reach the disk.
var postgres = pgtest.Shared{Settings: []string{"fsync=off"}}

func TestMain(m *testing.M) {
	// Most tests wait for Postgres or a pause, not for a core.
	flag.Set("test.parallel", "8")
	flag.Parse()
	code := m.Run()
	postgres.Close()
	os.Exit(code)
}

// eachEngine runs a test on a new outbox of each engine.
//
// On SQLite, which needs no socket, it runs in a bubble of testing/synctest,
// where time passes at once. On Postgres the stored times are moved into the
// past instead.
func eachEngine(t *testing.T, test func(*store)) {
	t.Parallel()
	run := func(t *testing.T, address string, bubble bool) {
		s := &store{T: t, address: address, bubble: bubble, began: time.Now(), phones: new(phones), options: defaults(t, alert.DefaultTriggers)}
		defer s.close()
		test(s)
	}
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		address := sqliteAddress(t)
		synctest.Test(t, func(t *testing.T) { run(t, address, true) })
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		run(t, postgresAddress(t), false)
	})
}

// sqliteAddress returns the address of a new file.
func sqliteAddress(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "alerts.db")
}

// postgresAddress returns the address of a new outbox, in a database that the
// tests share. Where the machine has no Postgres it skips the test.
func postgresAddress(t *testing.T) string {
	t.Helper()
	return postgres.Start(t).Schema(t)
}

// defaults are options with rules for triggers, Alice's phone and otherwise the
// program's defaults. The log goes to the test's.
func defaults(t testing.TB, triggers string) outbox.Options {
	t.Helper()
	rules, err := alert.ParseTriggers(triggers)
	if err != nil {
		t.Fatal(err)
	}
	return outbox.Options{
		Triggers: rules, Text: alert.DefaultText(), Recipients: []string{alice}, PerHour: 20,
		GiveUpAfter: 24 * time.Hour, KeepFor: 720 * time.Hour, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// event returns an error that the Debugger reported.
func event(id, code string) alert.Event {
	return alert.Event{ID: id, Kind: alert.Debugger, Account: account, Code: code, Level: alert.Error, Resource: "CA0123456789abcdef0123456789abcdef"}
}

// about returns an error about the message sid.
func about(id, code, sid string) alert.Event {
	e := event(id, code)
	e.Resource = sid
	return e
}

// answeredWithin is how long Twilio waits for an answer. An idle machine takes
// little more than 4 s when the database fails, a busy one may take longer.
const answeredWithin = 15 * time.Second

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	const longest = 100 * time.Millisecond // a look is expensive: it may open a connection
	end := time.Now().Add(30 * time.Second)
	for pause := 10 * time.Millisecond; !ok(); pause = min(2*pause, longest) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(pause)
	}
}

// work runs a worker until stop is called.
func work(box *outbox.Outbox, sender outbox.Sender) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { outbox.NewWorker(box, sender).Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// open opens an outbox that closes with the test, or with its bubble.
func open(t testing.TB, address string, options outbox.Options) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(t.Context(), address, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// record records an event and returns the answer.
func record(t testing.TB, box *outbox.Outbox, e alert.Event) string {
	t.Helper()
	results, err := box.Record(t.Context(), []alert.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].String()
}

// recordAtOnce records n events in one delivery, each of a code of its own.
func recordAtOnce(t testing.TB, box *outbox.Outbox, n int) {
	t.Helper()
	var events []alert.Event
	for i := range n {
		events = append(events, event(fmt.Sprint("NO", i), fmt.Sprint(10000+i)))
	}
	if _, err := box.Record(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// count counts rows of the database at address.
func count(t testing.TB, address, what string) (n int) {
	t.Helper()
	db := openSQL(t, address)
	defer db.Close()
	if err := db.QueryRow("SELECT COUNT(*) FROM " + what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// openSQL opens the database behind an outbox until the test ends.
func openSQL(t testing.TB, address string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, address = "sqlite", "file:"+file+"?_pragma=busy_timeout(4000)"
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
