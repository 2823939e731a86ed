package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/twiliotest"
)

// answerWithin is how soon Twilio must have an answer, whatever is broken.
const answerWithin = 5 * time.Second

// TestOutages takes the database away for a while. Webhooks get 503 meanwhile,
// and what was answered 200 before, between or after is one SMS each.
func TestOutages(t *testing.T) {
	t.Parallel()
	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		var p *process
		outage(t, databaseIn(dir), func(env []string) *process {
			p = startProcess(t, "program", dir, append(env, fileLimit+"=295000")...)
			return p
		}, func() {}, func() { p.Process.Signal(syscall.SIGUSR1) })
	})
	t.Run("locked by another process", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		var lock, unlock = func() {}, func() {}
		lock = func() {
			db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "alerts.db")+"?_txlock=exclusive&_pragma=busy_timeout(4000)")
			if err != nil {
				t.Fatal(err)
			}
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			unlock = func() {
				tx.Rollback()
				db.Close()
			}
		}
		outage(t, databaseIn(dir), func(env []string) *process { return startProcess(t, "program", dir, env...) }, lock, func() { unlock() })
	})
	for name, c := range map[string]struct {
		begin, end func(*pgtest.Server, testing.TB)
	}{
		"Postgres stopped": {func(s *pgtest.Server, _ testing.TB) { s.Stop() }, (*pgtest.Server).Restart},
		"Postgres crashed": {func(s *pgtest.Server, _ testing.TB) { s.Crash() }, (*pgtest.Server).Restart},
		"Postgres silent":  {(*pgtest.Server).Pause, func(s *pgtest.Server, _ testing.TB) { s.Resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := pgtest.Start(t)
			database := postgres.Database(t)
			outage(t, database, func(env []string) *process {
				return startProcess(t, "program", t.TempDir(), append(env, "DATABASE_URL="+database)...)
			}, func() { c.begin(postgres, t) }, func() { c.end(postgres, t) })
		})
	}
}

func outage(t *testing.T, database string, start func(env []string) *process, begin, end func()) {
	twilio := twiliotest.New(t)
	p := start(sending(twilio.URL))
	client := &http.Client{Timeout: 3 * answerWithin}
	n := 0
	next := func() webhook {
		n++
		return newWebhook("11200", fmt.Sprintf("number %d of the outage", n))
	}
	report(t, p.URL, next())
	begin()
	var refused []webhook
	for len(refused) == 0 {
		w := next()
		if n > 10000 {
			t.Fatal("no outage")
		}
		if post(t, client, p.URL, w) == http.StatusServiceUnavailable {
			refused = append(refused, w)
		}
	}
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 2 { // one after the other, and many at a time
		for range 20 {
			w := next()
			clients.Go(func() {
				if post(t, client, p.URL, w) == http.StatusServiceUnavailable {
					mu.Lock()
					defer mu.Unlock()
					refused = append(refused, w)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
	}
	clients.Wait()
	// A little may still fit on a disk that is full.
	within(t, 30*time.Second, "/healthz tells of the outage", func() bool {
		if w := next(); post(t, client, p.URL, w) == http.StatusServiceUnavailable {
			refused = append(refused, w)
		}
		got := health(t, p.URL)
		return strings.HasPrefix(got, "503") && strings.Contains(got, "the outbox cannot be written")
	})
	end()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	servers := &replicas{running: []*process{p}}
	for _, w := range refused {
		if !servers.deliver(ctx, client, w) {
			log, _ := os.ReadFile(filepath.Join(p.Dir, "alerts.log"))
			t.Fatalf("the outage does not end:\n%s", log[max(0, len(log)-4000):])
		}
	}
	within(t, time.Minute, "nothing is left to send", func() bool { return settled(database) })
	within(t, 30*time.Second, "/healthz is well after the outage", func() bool {
		return strings.HasPrefix(health(t, p.URL), "200")
	})
	p.stop(t)
	checkOnce(t, twilio, n)
	log, err := os.ReadFile(filepath.Join(p.Dir, "alerts.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"err":"storing in the outbox: `, `"refused":"nothing was recorded, try again: the outbox is not available"`} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if strings.Contains(string(log), "panic") {
		t.Errorf("a panic:\n%s", log)
	}
}

// post posts an error in an outage and returns the status of the answer: 200,
// or a 503 that is well-behaved.
func post(t *testing.T, client *http.Client, base string, w webhook) int {
	t.Helper()
	begin := time.Now()
	answer, text, err := postFields(client, base, "/error_trigger", w.form())
	if err != nil {
		t.Error(err)
		return 0
	}
	if took := time.Since(begin); took > answerWithin {
		t.Errorf("answered after %s", took)
	}
	if answer.StatusCode != http.StatusOK && (answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "") {
		t.Errorf("got %s with Retry-After %q, want 503 with Retry-After: %s", answer.Status, answer.Header.Get("Retry-After"), text)
	}
	return answer.StatusCode
}

// TestClaimOlderThanItsLease has a claim wait in Postgres, behind somebody's
// lock, for longer than it holds.
func TestClaimOlderThanItsLease(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t).Database(t)
	twilio := twiliotest.New(t)
	twilio.Latency = time.Second
	var open atomic.Bool
	twilio.Fault = func(int, url.Values) twiliotest.Fault {
		if open.Load() {
			return ""
		}
		return twiliotest.TooManyRequests // soon due again, so that a claim is under way
	}
	p := startProgram(t, t.TempDir(), sending(twilio.URL, "DATABASE_URL="+database)...)
	for i := range 3 {
		report(t, p.URL, newWebhook("11200", fmt.Sprintf("alert %d", i)))
	}
	within(t, time.Minute, "all are refused at first", func() bool {
		return rows(database, "sms WHERE attempts > 0") == 3
	})
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("LOCK TABLE sms IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(32 * time.Second) // a lease is 30 s
	open.Store(true)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "nothing is left to send", func() bool { return settled(database) })
	p.stop()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	checkOnce(t, twilio, 3)
}

// TestCorruptDatabase starts the program on a file that is no database.
func TestCorruptDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "alerts.db")
	garbage := strings.Repeat("This is no database. ", 1000)
	if err := os.WriteFile(file, []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	env := sending("http://127.0.0.1:1", "ADDR=127.0.0.1:0", "DATABASE_URL="+databaseIn(dir))
	err := run(t.Context(), nil, func(name string) string { return lookUp(env, name) }, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("got %v, want the name of the file and that it is no database", err)
	}
	if left, err := os.ReadFile(file); err != nil || string(left) != garbage {
		t.Errorf("the file was changed: %v", err)
	}
}
