package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/outbox/outboxtest"
	"twilio-error-sms/internal/pgtest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	outboxtest.Test(t, func(t *testing.T) string { return server.Database(t) })
	for name, test := range map[string]func(t *testing.T, address string){
		"replicas start together":                           startTogether,
		"an event delivered to all replicas is one event":   oneEvent,
		"replicas share SMS_PER_HOUR":                       sharedHour,
		"an SMS is claimed by one replica":                  oneClaim,
		"a dead replica is taken over":                      takeover,
		"two replicas find the same SMS in the message log": sameSID,
		"a deadlock is tried again":                         deadlock,
		"a claim that was not committed sends nothing":      lostClaim,
		"a claim takes no more than was asked for":          claimLimit,
		"look-ups in a large history use indexes":           indexes,
		"look-ups in a young database use indexes":          youngIndexes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.Database(t))
		})
	}
}

// replicas opens outboxes on one database.
func replicas(t *testing.T, n int, address string, options outbox.Options) []*outbox.Outbox {
	t.Helper()
	var boxes []*outbox.Outbox
	for range n {
		boxes = append(boxes, open(t, address, options))
	}
	return boxes
}

// openSQL opens the database behind an outbox.
func openSQL(t *testing.T, address string) *sql.DB {
	t.Helper()
	db, err := outboxtest.SQL(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func execute(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

func startTogether(t *testing.T, address string) {
	var starting sync.WaitGroup
	for range 5 {
		starting.Go(func() {
			box, err := outbox.Open(t.Context(), address, outboxtest.Options(t, "* every 1"))
			if err != nil {
				t.Error(err)
				return
			}
			if err := box.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
}

// oneEvent delivers events to three replicas at once, in different orders and
// batches.
func oneEvent(t *testing.T, address string) {
	options := outboxtest.Options(t, "* at 1,100 daily")
	const events, codes = 1200, 4
	now := time.Now()
	var mu sync.Mutex
	answers := make(map[string]int)
	var clients sync.WaitGroup
	for r, box := range replicas(t, 3, address, options) {
		order := rand.New(rand.NewPCG(uint64(r), 0)).Perm(events)
		const each = events / 20
		for c := range 20 {
			clients.Go(func() {
				for len(order) > 0 {
					var batch []alert.Event
					for _, i := range order[c*each : (c+1)*each] {
						e := outboxtest.Event(fmt.Sprint("NO", i), fmt.Sprint(11200+i%codes))
						e.Time = now
						if batch = append(batch, e); len(batch) < 1+c%5 {
							continue
						}
						results, err := box.Record(t.Context(), batch)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						for _, result := range results {
							answers[result.String()]++
						}
						mu.Unlock()
						batch = nil
					}
					return
				}
			})
		}
	}
	clients.Wait()
	known := answers["seen before"]
	delete(answers, "seen before")
	for answer, n := range answers {
		if n > 1 && !strings.HasPrefix(answer, "part of the alert for the 100th") {
			t.Errorf("%d times %q", n, answer)
		}
	}
	if n := count(t, address, "events"); n != events || known < events {
		t.Errorf("%d events, %d times seen before", n, known)
	}
	if n := count(t, address, "sms"); n != 2*codes {
		t.Errorf("%d SMS, want that of the 1st and that of the 100th of %d codes", n, codes)
	}
	if n := count(t, address, fmt.Sprintf("counts WHERE period = 'daily' AND n = %d", events/codes)); n != codes {
		t.Errorf("%d codes were counted right, want %d", n, codes)
	}
}

func sharedHour(t *testing.T, address string) {
	options := outboxtest.Options(t, "* every 1")
	options.PerHour = 5
	boxes := replicas(t, 3, address, options)
	phones := new(outboxtest.Phones)
	var clients sync.WaitGroup
	for r, box := range boxes {
		defer outboxtest.Work(box, phones)()
		clients.Go(func() {
			for i := range 10 {
				record(t, box, outboxtest.Event(fmt.Sprintf("NO%d.%d", r, i), "11200"))
			}
		})
	}
	clients.Wait()
	outboxtest.Eventually(t, "5 SMS", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 5 })
	if n := count(t, address, "sms WHERE status = 'held'"); n != 25 {
		t.Errorf("%d SMS are held, want 25", n)
	}
	execute(t, openSQL(t, address), "UPDATE sms SET sent_at = sent_at - 3600000 WHERE sent_at > 0")
	outboxtest.Eventually(t, "the summary", func() bool { return len(phones.Bodies("25 alerts held back")) > 0 })
	time.Sleep(3 * time.Second) // for a second one
	if n := len(phones.Log()); n != 6 {
		t.Errorf("%d SMS, want 5 and the summary", n)
	}
}

func oneClaim(t *testing.T, address string) {
	options := outboxtest.Options(t, "* every 1")
	options.PerHour = 1000
	boxes := replicas(t, 3, address, options)
	for i := range 200 {
		record(t, boxes[0], outboxtest.Event(fmt.Sprint("NO", i), "11200"))
	}
	phones := new(outboxtest.Phones)
	for _, box := range boxes {
		defer outboxtest.Work(box, phones)()
	}
	outboxtest.Eventually(t, "200 SMS sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 200 })
	if n := phones.Attempts(); n != 200 {
		t.Errorf("%d attempts for 200 SMS", n)
	}
}

// takeover closes a replica whose SMS is in flight.
func takeover(t *testing.T, address string) {
	boxes := replicas(t, 2, address, outboxtest.Options(t, "* every 1"))
	record(t, boxes[0], outboxtest.Event("NO1", "11200"))
	phones := &outboxtest.Phones{Fault: func(n int, _ alert.SMS) (bool, error) {
		boxes[0].Close()
		return true, nil
	}}
	outboxtest.Work(boxes[0], phones)
	outboxtest.Eventually(t, "the SMS is in flight", func() bool { return len(phones.Log()) == 1 })
	defer outboxtest.Work(boxes[1], phones)()
	execute(t, openSQL(t, address), "UPDATE sms SET next_at = next_at - 20000, attempt_at = attempt_at - 20000")
	outboxtest.Eventually(t, "it is found", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 1 })
	if len(phones.Log()) != 1 || phones.Lookups() != 1 {
		t.Errorf("%d SMS, %d look-ups", len(phones.Log()), phones.Lookups())
	}
}

// sameSID lets another replica note a SID, found in the message log, that this
// one found as well.
func sameSID(t *testing.T, address string) {
	var log lockedBuffer
	options := outboxtest.Options(t, "* every 1")
	options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	box := open(t, address, options)
	mock := alert.Event{Kind: alert.Alarm, Code: "11200", Level: alert.Error}
	record(t, box, mock)
	record(t, box, mock)
	db := openSQL(t, address)
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	phones := new(outboxtest.Phones)
	execute(t, other, "BEGIN", "UPDATE sms SET sid = 'SM00000000000000000000000000000001', status = 'sent', sent_at = created WHERE id = (SELECT MIN(id) FROM sms)")
	defer outboxtest.Work(box, phones)()
	outboxtest.Eventually(t, "the SID is disputed", func() bool { return count(t, address, "pg_locks WHERE NOT granted") > 0 })
	execute(t, other, "COMMIT")
	outboxtest.Eventually(t, "the SMS stays in doubt", func() bool {
		return count(t, address, "sms WHERE status = 'sending' AND sid IS NULL AND next_at < attempt_at + 15000") == 1
	})
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log has\n%s", log.String())
	}
	execute(t, db, "UPDATE sms SET next_at = next_at - 20000, attempt_at = attempt_at - 20000 WHERE status = 'sending'")
	outboxtest.Eventually(t, "it is sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 2 })
}

// lockedBuffer is a buffer for logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// deadlock lets a Record wait for a counter whose owner waits for the Record.
func deadlock(t *testing.T, address string) {
	box := open(t, address, outboxtest.Options(t, "* at 1,10"))
	a, b := outboxtest.Event("NO1", "11200"), outboxtest.Event("NO2", "11300")
	record(t, box, a)
	record(t, box, b)
	other, err := openSQL(t, address).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// Postgres ends the one of the two that looks first.
	execute(t, other, "SET deadlock_timeout = '1min'", "BEGIN", "UPDATE counts SET n = n + 1 WHERE code = '11300'")
	answers := make(chan []outbox.Result, 1)
	go func() {
		a.ID, b.ID = "NO3", "NO4"
		results, err := box.Record(t.Context(), []alert.Event{a, b})
		if err != nil {
			t.Error(err)
		}
		answers <- results
	}()
	outboxtest.Eventually(t, "Record waits", func() bool { return count(t, address, "pg_locks WHERE NOT granted") > 0 })
	execute(t, other, "UPDATE counts SET n = n + 1 WHERE code = '11200'", "COMMIT")
	got := <-answers
	if want := "3rd 11200 today, next alert at the 10th"; len(got) != 2 || got[0].String() != want {
		t.Errorf("got %v, want %q", got, want)
	}
}

// lostClaim lets the commit of claims fail, after their rows were read.
func lostClaim(t *testing.T, address string) {
	box := open(t, address, outboxtest.Options(t, "* every 1"))
	record(t, box, outboxtest.Event("NO1", "11200"))
	db := openSQL(t, address)
	execute(t, db, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the server is lost'; END $$`,
		`CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON sms DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	phones := new(outboxtest.Phones)
	stop := outboxtest.Work(box, phones)
	time.Sleep(300 * time.Millisecond)
	stop()
	execute(t, db, "DROP TRIGGER refuse ON sms")
	defer outboxtest.Work(box, phones)()
	outboxtest.Eventually(t, "the SMS is sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 1 })
	if n := len(phones.Log()); n != 1 {
		t.Errorf("%d SMS, want 1", n)
	}
}

// claimLimit makes Postgres plan a claim as it would be worst.
func claimLimit(t *testing.T, address string) {
	address += "&enable_hashjoin=off&enable_mergejoin=off&enable_hashagg=off&enable_sort=off&enable_material=off&jit=off"
	options := outboxtest.Options(t, "* every 1")
	options.PerHour = 1000
	box := open(t, address, options)
	for i := range 100 {
		record(t, box, outboxtest.Event(fmt.Sprint("NO", i), "11200"))
	}
	s := &crowd{end: make(chan struct{})}
	stop := outboxtest.Work(box, s)
	time.Sleep(300 * time.Millisecond)
	close(s.end)
	outboxtest.Eventually(t, "100 SMS sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 100 })
	stop()
	if s.most > 16 {
		t.Errorf("%d SMS in flight at a time, want at most 16", s.most)
	}
}

// crowd is a Sender that counts the SMS in flight, and keeps them there until
// end closes.
type crowd struct {
	mu           sync.Mutex
	n, now, most int
	end          chan struct{}
}

func (c *crowd) Send(context.Context, alert.SMS) (string, error) {
	c.mu.Lock()
	c.n++
	c.now++
	c.most = max(c.most, c.now)
	sid := fmt.Sprint("SM", c.n)
	c.mu.Unlock()
	<-c.end
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return sid, nil
}

// indexes does all that an outbox does beside a large history, and asks
// Postgres whether it read a large table from end to end.
func indexes(t *testing.T, address string) {
	options := outboxtest.Options(t, "* every 1")
	options.PerHour = 3
	open(t, address, options).Close() // whose making of indexes is read from end to end
	box := open(t, address, options)
	address += "&enable_seqscan=off" // for the test's own looks
	db := openSQL(t, address)
	old := time.Now().Add(-300 * time.Hour).UnixMilli()
	execute(t, db,
		fmt.Sprintf(`INSERT INTO events SELECT 'old ' || i, %d, %d, 'debugger', '%s', '11200', 'error', '', '', 'alerted' FROM generate_series(1, 50000) AS i`, old, old, outboxtest.Account),
		fmt.Sprintf(`INSERT INTO sms SELECT 'old ' || i, 'old ' || i, '11200', '', '%s', 'old ' || i, CASE WHEN i %% 2 = 0 THEN 'held' ELSE 'sent' END, %d + i, %d, 1, %d, 0,
			CASE WHEN i %% 2 = 0 THEN 0 ELSE %d + i END, CASE WHEN i %% 2 = 0 THEN NULL ELSE 'SMold' || i END, '' FROM generate_series(1, 50000) AS i`, outboxtest.Alice, old, old, old, old),
		"VACUUM ANALYZE")
	before := scans(t, db)
	phones := &outboxtest.Phones{Fault: func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return true, errors.New("no answer")
		}
		return true, nil
	}}
	stop := outboxtest.Work(box, phones)
	for i := range 8 {
		record(t, box, outboxtest.About(fmt.Sprint("NO", i), "11200", "SM0123456789abcdef0123456789abcdef"))
		record(t, box, outboxtest.About(fmt.Sprint("NO own ", i), "11200", fmt.Sprint("SMold", 2*i+1)))
	}
	outboxtest.Eventually(t, "an SMS is in doubt", func() bool { return count(t, address, "sms WHERE status = 'sending' AND error <> ''") > 0 })
	stop()
	execute(t, db, "UPDATE sms SET next_at = 1, attempt_at = attempt_at - 20000 WHERE status IN ('pending', 'sending')")
	stop = outboxtest.Work(box, phones)
	outboxtest.Eventually(t, "the SMS in doubt is looked for", func() bool { return phones.Lookups() > 0 })
	outboxtest.Eventually(t, "all are sent", func() bool { return count(t, address, "sms WHERE status IN ('pending', 'sending')") == 0 })
	if _, err := box.Deliver(t.Context(), alert.Report{ID: "old 2", SID: "SMold1", Status: "delivered"}); err != nil {
		t.Error(err)
	}
	if got := box.Health(t.Context()); got.Problem != "" {
		t.Error(got.Problem)
	}
	if err := box.Purge(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	box.Close()
	if after := scans(t, db); after != before {
		t.Errorf("before, %s were read from end to end; now %s", before, after)
	}
}

// youngIndexes records in tables of which Postgres has no statistics yet, and
// whose statements were prepared while they were empty: it would read them from
// end to end, which took 40 ms for each commit after a minute of a storm.
func youngIndexes(t *testing.T, address string) {
	options := outboxtest.Options(t, "* at 1 yearly")
	open(t, address, options).Close() // whose making of indexes is read from end to end
	box := open(t, address, options)
	db := openSQL(t, address)
	before := scans(t, db)
	var batch []alert.Event
	for i := range 64 {
		batch = append(batch, outboxtest.About(fmt.Sprint("NO", i), "11200", fmt.Sprintf("SM%032x", i)))
	}
	for i := range 10 { // from the sixth on a statement keeps its plan
		results, err := box.Record(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if got := results[63].String(); i > 0 && got != "seen before" {
			t.Errorf("got %q", got)
		}
	}
	box.Close()
	if after := scans(t, db); before != after {
		t.Errorf("tables were read from end to end: %s, before it was %s", after, before)
	}
}

// scans counts how often the large tables were read from end to end.
func scans(t *testing.T, db *sql.DB) string {
	t.Helper()
	time.Sleep(1200 * time.Millisecond) // connections publish what they did once a second, and at their end
	var events, sms int
	if err := db.QueryRow(`SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'events'), (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sms')`).Scan(&events, &sms); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d of events, %d of sms", events, sms)
}

// TestPostgresOutage takes the server away, in all ways, while events come in:
// each Record fails within 5 s or is stored; when the server is back all is
// well again, by itself, and nothing that was answered is lost.
func TestPostgresOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	for _, outage := range []struct {
		name       string
		begin, end func()
	}{
		{"silent", func() { server.Pause(t) }, server.Resume},
		{"stopped", server.Stop, func() { server.Restart(t) }},
		{"crashed", server.Crash, func() { server.Restart(t) }},
	} {
		t.Run(outage.name, func(t *testing.T) {
			address := server.Database(t)
			options := outboxtest.Options(t, "* every 1")
			options.PerHour = 1 << 20
			var log lockedBuffer
			options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			box := open(t, address, options)
			phones := new(outboxtest.Phones)
			defer outboxtest.Work(box, phones)()

			var mu sync.Mutex
			answered, failed := make(map[string]bool), 0
			stop := make(chan struct{})
			var clients sync.WaitGroup
			halt := sync.OnceFunc(func() {
				close(stop)
				clients.Wait()
			})
			defer halt()
			for c := range 8 {
				clients.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						case <-time.After(5 * time.Millisecond):
						}
						id := fmt.Sprintf("NO%d.%d", c, i)
						begin := time.Now()
						_, err := box.Record(context.Background(), []alert.Event{outboxtest.Event(id, "11200")})
						if took := time.Since(begin); took > 5*time.Second {
							t.Errorf("%v after %v", err, took)
						}
						mu.Lock()
						if answered[id] = err == nil; err != nil {
							failed++
						}
						mu.Unlock()
					}
				})
			}
			failures := func() int {
				mu.Lock()
				defer mu.Unlock()
				return failed
			}
			time.Sleep(200 * time.Millisecond)
			outage.begin()
			outboxtest.Eventually(t, "a Record fails", func() bool { return failures() >= 8 })
			if got := box.Health(t.Context()); !strings.HasPrefix(got.Problem, "the outbox cannot be written") {
				t.Errorf("health is %+v", got)
			}
			outboxtest.Eventually(t, "the worker says that SMS wait", func() bool { return strings.Contains(log.String(), "outbox unavailable, SMS wait") })
			outage.end()
			outboxtest.Eventually(t, "Record works again", func() bool {
				_, err := box.Record(t.Context(), []alert.Event{outboxtest.Event("NO after", "11210")})
				return err == nil
			})
			halt()
			want := 0
			for id, ok := range answered {
				if !ok {
					continue
				}
				want++
				if got := record(t, box, outboxtest.Event(id, "11200")); got != "seen before" {
					t.Errorf("%s was answered and is lost: %s", id, got)
				}
			}
			outboxtest.Eventually(t, "the worker says that it is over", func() bool { return strings.Contains(log.String(), "outbox available again") })
			outboxtest.Eventually(t, "SMS are sent again", func() bool { return len(phones.Bodies("11210")) == 1 })
			outboxtest.Eventually(t, "every alert is texted", func() bool { return count(t, address, "sms WHERE status = 'pending'") == 0 })
			if got := box.Health(t.Context()); got.Problem != "" {
				t.Errorf("health is %+v", got)
			}
			t.Logf("%d answered, %d failed", want, failed)
		})
	}
}
