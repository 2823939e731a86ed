package e2e

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/twiliotest"
)

// answeredWithin is how long Twilio waits for the answer to a webhook, whatever is
// broken. Event Streams waits for 5 s, which an idle machine keeps, but a busy one
// may exceed.
const answeredWithin = 15 * time.Second

// outage is a server, whose database is unreachable for a while, and what it
// answered.
type outage struct {
	*process
	database string

	mu      sync.Mutex
	n       int // webhooks so far
	refused []webhook
	took    []time.Duration
}

// TestOutages makes the database unreachable for a while. Webhooks get 503 meanwhile,
// and what was answered 200 before, between or after is one SMS each.
func TestOutages(t *testing.T) {
	t.Parallel()
	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		testOutage(t, "", func(o *outage) func() { return o.fillDisk(t) })
	})
	t.Run("locked by another process", func(t *testing.T) {
		t.Parallel()
		testOutage(t, "", func(o *outage) func() { return o.lock(t) })
	})
	for name, begin := range map[string]func(*pgtest.Server) (end func()){
		"Postgres stopped": func(s *pgtest.Server) func() { s.Stop(); return func() { s.Restart(t) } },
		"Postgres crashed": func(s *pgtest.Server) func() { s.Crash(); return func() { s.Restart(t) } },
		"Postgres silent":  func(s *pgtest.Server) func() { s.Pause(t); return s.Resume },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := pgtest.Start(t)
			testOutage(t, postgres.Database(t), func(*outage) func() { return begin(postgres) })
		})
	}
}

// lock keeps the server from its SQLite database until unlock.
func (o *outage) lock(t *testing.T) (unlock func()) {
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(o.database, "sqlite:")+"?_txlock=exclusive&_pragma=busy_timeout(4000)")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		tx.Rollback()
		db.Close()
	}
}

// testOutage has webhooks arrive before, during and after an outage of a
// database, by default one of SQLite.
func testOutage(t *testing.T, database string, begin func(*outage) (end func())) {
	twilio := twiliotest.New(t)
	dir := t.TempDir()
	database = cmp.Or(database, databaseIn(dir))
	o := &outage{process: startProgram(t, dir, sending(twilio.URL, "DATABASE_URL="+database)...), database: database}
	o.post(t)
	end := begin(o)
	within(t, "a webhook is refused", func() bool { return o.post(t) == http.StatusServiceUnavailable })
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() { o.post(t) })
		time.Sleep(20 * time.Millisecond)
	}
	clients.Wait()
	// A little may still fit on a disk that is full.
	within(t, "/healthz tells of the outage", func() bool {
		o.post(t)
		status, text := get(t, o.URL+"/healthz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "the database cannot be written")
	})
	end()
	o.postAgain(t)
	within(t, "nothing is left to send", func() bool { return settled(database) })
	within(t, "/healthz tells that the outage is over", func() bool {
		status, _ := get(t, o.URL+"/healthz")
		return status == http.StatusOK
	})
	o.stop(t)
	checkOnce(t, twilio, o.n)
	for _, want := range []string{`"err":"storing in the database: `, `"refused":"nothing was recorded, try again: the database is not available"`} {
		if !strings.Contains(o.log(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	slices.Sort(o.took)
	t.Logf("half of the answers took more than %s", o.took[len(o.took)/2])
	if most := o.took[len(o.took)-1]; most > answeredWithin {
		t.Errorf("the slowest answer took %s, want %s", most, answeredWithin)
	}
}

// post posts an error of its own and returns the status of the answer: 200, or
// 503 with Retry-After.
func (o *outage) post(t *testing.T) int {
	t.Helper()
	o.mu.Lock()
	o.n++
	w := newWebhook("11200", fmt.Sprintf("number %d of the outage", o.n))
	o.mu.Unlock()
	begin := time.Now()
	answer, text, err := postForm(http.DefaultClient, o.URL, "/error_trigger", twiliotest.AuthToken, w.form())
	if err != nil {
		t.Error(err)
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.took = append(o.took, time.Since(begin))
	switch {
	case answer.StatusCode == http.StatusOK:
	case answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "":
		o.refused = append(o.refused, w)
	default:
		t.Errorf("got %s with Retry-After %q, want 503 with Retry-After: %s", answer.Status, answer.Header.Get("Retry-After"), text)
	}
	return answer.StatusCode
}

// postAgain posts what was refused until it is answered 200.
func (o *outage) postAgain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	servers := &replicas{running: []*process{o.process}}
	for _, w := range o.refused {
		if !servers.deliver(ctx, http.DefaultClient, w) {
			t.Fatalf("the outage does not end:\n%s", o.log()[max(0, len(o.log())-4000):])
		}
	}
}

// TestClaimOlderThanItsLease has a claim wait in Postgres, behind a lock of
// another client, for longer than its lease.
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
	within(t, "all are refused at first", func() bool {
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
	within(t, "nothing is left to send", func() bool { return settled(database) })
	p.stop(t)
	checkOnce(t, twilio, 3)
}

// TestCorruptDatabase starts the program on a file that is not a database.
func TestCorruptDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "alerts.db")
	garbage := strings.Repeat("This is not a database. ", 1000)
	if err := os.WriteFile(file, []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	program := exec.Command("twilio-error-sms")
	program.Env = sending("http://127.0.0.1:1", "ADDR=127.0.0.1:0", "DATABASE_URL="+databaseIn(dir))
	text, err := program.CombinedOutput()
	if err == nil || !strings.Contains(string(text), file) || !strings.Contains(string(text), "not a database") {
		t.Errorf("it ended with %v and says %q, want the name of the file and that it is not a database", err, text)
	}
	if left, err := os.ReadFile(file); err != nil || string(left) != garbage {
		t.Errorf("the file was changed: %v", err)
	}
}
