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
	"twilio-error-sms/internal/pgtest"
)

// replicas opens outboxes on one database.
func replicas(t *testing.T, n int, address string, options outbox.Options) []*outbox.Outbox {
	t.Helper()
	var boxes []*outbox.Outbox
	for range n {
		boxes = append(boxes, open(t, address, options))
	}
	return boxes
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

func TestReplicasStartTogether(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	var starting sync.WaitGroup
	for range 5 {
		starting.Go(func() {
			box, err := outbox.Open(t.Context(), address, defaults(t, "* every 1"))
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

// TestEventDeliveredToAllReplicasIsOneEvent delivers events to three replicas
// at once, in different orders and batches.
func TestEventDeliveredToAllReplicasIsOneEvent(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	options := defaults(t, "* at 1,100 daily")
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
						e := event(fmt.Sprint("NO", i), fmt.Sprint(11200+i%codes))
						e.Time = now
						if batch = append(batch, e); len(batch) < 1+c%5 {
							continue
						}
						results, err := box.Record(t.Context(), batch)
						for range 10 { // on a busy machine it is too late at times
							if err == nil {
								break
							}
							results, err = box.Record(t.Context(), batch)
						}
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
		t.Errorf("%d SMS, want one for the 1st and one for the 100th error of %d codes", n, codes)
	}
	if n := count(t, address, fmt.Sprintf("counts WHERE period = 'daily' AND n = %d", events/codes)); n != codes {
		t.Errorf("%d codes were counted right, want %d", n, codes)
	}
}

func TestReplicasShareSMSPerHour(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	options := defaults(t, "* every 1")
	options.PerHour = 5
	boxes := replicas(t, 3, address, options)
	twilio := new(phones)
	var clients sync.WaitGroup
	for r, box := range boxes {
		defer work(box, twilio)()
		clients.Go(func() {
			for i := range 10 {
				record(t, box, event(fmt.Sprintf("NO%d.%d", r, i), "11200"))
			}
		})
	}
	clients.Wait()
	eventually(t, "5 SMS", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 5 })
	if n := count(t, address, "sms WHERE status = 'held' AND event <> ''"); n != 25 {
		t.Errorf("%d SMS are held, want 25", n)
	}
	execute(t, openSQL(t, address), "UPDATE sms SET sent_at = sent_at - 3600000 WHERE sent_at > 0")
	eventually(t, "the summary", func() bool { return len(twilio.Bodies("25 alerts held back")) > 0 })
	time.Sleep(3 * time.Second) // for a second one
	if n := len(twilio.Log()); n != 6 {
		t.Errorf("%d SMS, want 5 and the summary", n)
	}
}

func TestSMSIsClaimedByOneReplica(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	options := defaults(t, "* every 1")
	options.PerHour = 1000
	boxes := replicas(t, 3, address, options)
	recordAtOnce(t, boxes[0], 200)
	twilio := new(phones)
	for _, box := range boxes {
		defer work(box, twilio)()
	}
	eventually(t, "200 SMS sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 200 })
	if n := twilio.Attempts(); n != 200 {
		t.Errorf("%d attempts for 200 SMS", n)
	}
}

// TestDeadReplicaIsTakenOver closes a replica whose SMS is in flight.
func TestDeadReplicaIsTakenOver(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	boxes := replicas(t, 2, address, defaults(t, "* every 1"))
	record(t, boxes[0], event("NO1", "11200"))
	twilio := &phones{Fault: func(n int, _ alert.SMS) (bool, error) {
		boxes[0].Close()
		return true, nil
	}}
	work(boxes[0], twilio)
	eventually(t, "the SMS is in flight", func() bool { return len(twilio.Log()) == 1 })
	defer work(boxes[1], twilio)()
	execute(t, openSQL(t, address), "UPDATE sms SET next_at = next_at - 31000, attempt_at = attempt_at - 31000")
	eventually(t, "it is found", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 1 })
	if len(twilio.Log()) != 1 || twilio.Lookups() != 1 {
		t.Errorf("%d SMS, %d look-ups", len(twilio.Log()), twilio.Lookups())
	}
}

// waiting reports whether a transaction waits for another.
func waiting(t *testing.T, address string) bool {
	t.Helper()
	return count(t, address, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
}

// TestTwoReplicasFindTheSameSMSInTheMessageLog lets another replica note a SID,
// found in the message log, that this one found as well.
func TestTwoReplicasFindTheSameSMSInTheMessageLog(t *testing.T) {
	t.Parallel()
	address := postgres.Start(t).Database(t)
	var log lockedBuffer
	options := defaults(t, "* every 1")
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
	twilio := new(phones)
	execute(t, other, "BEGIN", "UPDATE sms SET sid = 'SM00000000000000000000000000000001', status = 'sent', sent_at = created WHERE id = (SELECT MIN(id) FROM sms)",
		"INSERT INTO sids SELECT sid, id, created FROM sms WHERE sid IS NOT NULL")
	defer work(box, twilio)()
	eventually(t, "the SID is disputed", func() bool { return waiting(t, address) })
	execute(t, other, "COMMIT")
	eventually(t, "the SMS stays in doubt", func() bool {
		return count(t, address, "sms WHERE status = 'sending' AND sid IS NULL AND next_at < attempt_at + 15000") == 1
	})
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log has\n%s", log.String())
	}
	execute(t, db, "UPDATE sms SET next_at = next_at - 20000, attempt_at = attempt_at - 20000 WHERE status = 'sending'")
	eventually(t, "it is sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 2 })
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

// TestDeadlockIsTriedAgain lets a Record wait for a counter whose owner waits
// for the Record.
func TestDeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	address := postgres.Start(t).Database(t)
	box := open(t, address, defaults(t, "* at 1,10"))
	a, b := event("NO1", "11200"), event("NO2", "11300")
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
	eventually(t, "Record waits", func() bool { return waiting(t, address) })
	execute(t, other, "UPDATE counts SET n = n + 1 WHERE code = '11200'", "COMMIT")
	got := <-answers
	if want := "3rd 11200 today, next alert at the 10th"; len(got) != 2 || got[0].String() != want {
		t.Errorf("got %v, want %q", got, want)
	}
}

// TestClaimThatWasNotCommittedSendsNothing lets the commit of claims fail,
// after their rows were read.
func TestClaimThatWasNotCommittedSendsNothing(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	box := open(t, address, defaults(t, "* every 1"))
	record(t, box, event("NO1", "11200"))
	db := openSQL(t, address)
	execute(t, db, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the server is lost'; END $$`,
		`CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON sms DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	twilio := new(phones)
	stop := work(box, twilio)
	time.Sleep(300 * time.Millisecond)
	stop()
	execute(t, db, "DROP TRIGGER refuse ON sms")
	defer work(box, twilio)()
	eventually(t, "the SMS is sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 1 })
	if n := len(twilio.Log()); n != 1 {
		t.Errorf("%d SMS, want 1", n)
	}
}

// TestClaimTakesNoMoreThanWasAskedFor makes Postgres plan a claim as it would be worst.
func TestClaimTakesNoMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	address := postgresAddress(t)
	address += "&enable_hashjoin=off&enable_mergejoin=off&enable_hashagg=off&enable_sort=off&enable_material=off&jit=off"
	options := defaults(t, "* every 1")
	options.PerHour = 1000
	box := open(t, address, options)
	recordAtOnce(t, box, 100)
	s := &crowd{end: make(chan struct{})}
	stop := work(box, s)
	time.Sleep(300 * time.Millisecond)
	close(s.end)
	eventually(t, "100 SMS sent", func() bool { return count(t, address, "sms WHERE status = 'sent'") == 100 })
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

// TestLookUpsInALargeHistoryUseIndexes does all that an outbox does beside a
// large history, and asks Postgres whether it read a large table from end to
// end.
func TestLookUpsInALargeHistoryUseIndexes(t *testing.T) {
	t.Parallel()
	address := postgres.Start(t).Database(t)
	options := defaults(t, "* every 1")
	options.PerHour = 3
	open(t, address, options).Close()
	address += "&enable_seqscan=off" // for the test's own looks
	db := openSQL(t, address)
	history(t, db, 50000)
	execute(t, db, "VACUUM ANALYZE")
	db.Close()
	before := scans(t, address)
	box := open(t, address, options)
	twilio := &phones{Fault: func(n int, _ alert.SMS) (bool, error) {
		if n == 1 {
			return true, errors.New("no answer")
		}
		return true, nil
	}}
	stop := work(box, twilio)
	for i := range 8 {
		record(t, box, about(fmt.Sprint("NO", i), "11200", "SM0123456789abcdef0123456789abcdef"))
		record(t, box, about(fmt.Sprint("NO own ", i), "11200", fmt.Sprint("SMold", 2*i+1)))
	}
	eventually(t, "an SMS is in doubt", func() bool { return count(t, address, "sms WHERE status = 'sending' AND error <> ''") > 0 })
	stop()
	db = openSQL(t, address)
	execute(t, db, "UPDATE sms SET next_at = 1, attempt_at = attempt_at - 20000 WHERE status IN ('pending', 'sending')")
	db.Close()
	stop = work(box, twilio)
	eventually(t, "the SMS in doubt is looked for", func() bool { return twilio.Lookups() > 0 })
	eventually(t, "all are sent", func() bool { return count(t, address, "sms WHERE status IN ('pending', 'sending')") == 0 })
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
	if after := scans(t, address); after != before {
		t.Errorf("before, %s were read from end to end; now %s", before, after)
	}
}

// TestLookUpsInAYoungDatabaseUseIndexes records in tables that have grown
// and that Postgres has no statistics of yet: to read them from end to end took
// 40 ms for each commit after a minute of a storm.
func TestLookUpsInAYoungDatabaseUseIndexes(t *testing.T) {
	t.Parallel()
	address := postgres.Start(t).Database(t)
	options := defaults(t, "* at 1 yearly")
	open(t, address, options).Close()
	db := openSQL(t, address)
	history(t, db, 20000)
	db.Close()
	before := scans(t, address)
	box := open(t, address, options)
	var batch []alert.Event
	for i := range 64 {
		batch = append(batch, about(fmt.Sprint("NO", i), "11200", fmt.Sprintf("SM%032x", i)))
	}
	for i := range 10 {
		results, err := box.Record(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if got := results[63].String(); i > 0 && got != "seen before" {
			t.Errorf("got %q", got)
		}
	}
	box.Close()
	if after := scans(t, address); before != after {
		t.Errorf("tables were read from end to end: %s, before it was %s", after, before)
	}
}

// history fills the tables with n events of long ago and what followed.
func history(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	old := time.Now().Add(-300 * time.Hour).UnixMilli()
	execute(t, db,
		fmt.Sprintf(`INSERT INTO events SELECT 'old ' || i, %d, %d, 'debugger', '%s', '11200', 'error', '', '', 'alerted' FROM generate_series(1, %d) AS i`, old, old, account, n),
		fmt.Sprintf(`INSERT INTO sms (id, event, code, recipient, body, status, created, next_at, attempts, attempt_at, sent_at, sid)
			SELECT 'old ' || i, 'old ' || i, '11200', '%s', 'old ' || i, CASE WHEN i %% 2 = 0 THEN 'held' ELSE 'sent' END, %d + i, %d, 1, %d,
			CASE WHEN i %% 2 = 0 THEN 0 ELSE %d + i END, CASE WHEN i %% 2 = 0 THEN NULL ELSE 'SMold' || i END FROM generate_series(1, %d) AS i`, alice, old, old, old, old, n),
		"INSERT INTO sids SELECT sid, id, created FROM sms WHERE sid IS NOT NULL",
		fmt.Sprintf("INSERT INTO failures SELECT sid, %d, '30003' FROM sids", old))
}

// scans counts how often the large tables were read from end to end, by
// connections that have ended: they tell of it at their end.
func scans(t *testing.T, address string) string {
	t.Helper()
	eventually(t, "all other connections end", func() bool {
		return count(t, address, "pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()") == 0
	})
	db := openSQL(t, address)
	defer db.Close()
	var events, sms int
	if err := db.QueryRow(`SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'events'), (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sms')`).Scan(&events, &sms); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d of events, %d of sms", events, sms)
}

// TestPostgresOutage stops the server, in all ways, while events come in:
// each Record fails within 5 s or is stored; when the server is back all
// works again, by itself, and nothing that was answered is lost.
func TestPostgresOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "fsync=off")
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
			options := defaults(t, "* every 1")
			options.PerHour = 1 << 20
			var log lockedBuffer
			options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			box := open(t, address, options)
			twilio := new(phones)
			defer work(box, twilio)()

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
						_, err := box.Record(context.Background(), []alert.Event{event(id, "11200")})
						if took := time.Since(begin); took > answeredWithin {
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
			eventually(t, "a Record fails", func() bool { return failures() >= 8 })
			if got := box.Health(t.Context()); !strings.HasPrefix(got.Problem, "the database cannot be written") {
				t.Errorf("health is %+v", got)
			}
			eventually(t, "the worker says that SMS wait", func() bool { return strings.Contains(log.String(), "database unavailable, SMS wait") })
			outage.end()
			eventually(t, "Record works again", func() bool {
				_, err := box.Record(t.Context(), []alert.Event{event("NO after", "11210")})
				return err == nil
			})
			halt()
			want := 0
			for id, ok := range answered {
				if !ok {
					continue
				}
				want++
				if got := record(t, box, event(id, "11200")); got != "seen before" {
					t.Errorf("%s was answered and is lost: %s", id, got)
				}
			}
			eventually(t, "the worker says that it is over", func() bool { return strings.Contains(log.String(), "database available again") })
			eventually(t, "SMS are sent again", func() bool { return len(twilio.Bodies("11210")) == 1 })
			eventually(t, "every alert is texted", func() bool { return count(t, address, "sms WHERE status = 'pending'") == 0 })
			if got := box.Health(t.Context()); got.Problem != "" {
				t.Errorf("health is %+v", got)
			}
			t.Logf("%d answered, %d failed", want, failed)
		})
	}
}
