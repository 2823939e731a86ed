// Package outboxtest is the suite that the outbox passes on each of its
// engines, and what its tests have in common.
package outboxtest

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

const (
	// Account is that of the events.
	Account = "AC0123456789abcdef0123456789abcdef"
	// Alice and Bob have phones.
	Alice, Bob = "+15005550006", "+15005550007"
)

// Test runs the suite. Address returns that of a new, empty database.
//
// On SQLite, which needs no socket, each case runs in a bubble of
// testing/synctest, where time passes at once. On Postgres the stored times
// are moved into the past instead.
func Test(t *testing.T, address func(t *testing.T) string) {
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := address(t)
			if strings.HasPrefix(at, "sqlite:") {
				synctest.Test(t, func(t *testing.T) { run(t, at, true, test) })
				return
			}
			run(t, at, false, test)
		})
	}
}

func run(t *testing.T, address string, bubble bool, test func(*store)) {
	s := &store{T: t, address: address, bubble: bubble, began: time.Now(), phones: new(Phones), options: Options(t, alert.DefaultTriggers)}
	defer s.close()
	test(s)
}

// Options are options with rules for triggers, Alice's phone and otherwise the
// program's defaults. The log goes to the test's.
func Options(t testing.TB, triggers string) outbox.Options {
	t.Helper()
	rules, err := alert.ParseTriggers(triggers)
	if err != nil {
		t.Fatal(err)
	}
	return outbox.Options{
		Triggers: rules, Text: alert.DefaultText(), Recipients: []string{Alice}, PerHour: 20,
		GiveUpAfter: 24 * time.Hour, KeepFor: 720 * time.Hour, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// Event returns an error that the Debugger reported.
func Event(id, code string) alert.Event {
	return alert.Event{ID: id, Kind: alert.Debugger, Account: Account, Code: code, Level: alert.Error, Resource: "CA0123456789abcdef0123456789abcdef"}
}

// About returns an error about the message sid.
func About(id, code, sid string) alert.Event {
	e := Event(id, code)
	e.Resource = sid
	return e
}

// Eventually waits until ok.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Work runs a worker until stop is called.
func Work(box *outbox.Outbox, sender outbox.Sender) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { outbox.NewWorker(box, sender).Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// store is an outbox under test, with its worker and phones.
type store struct {
	*testing.T
	address string
	bubble  bool
	began   time.Time
	options outbox.Options
	phones  *Phones

	box  *outbox.Outbox
	db   *sql.DB
	stop func()
}

// open opens the outbox, again if it is open already: a restart.
func (s *store) open() {
	s.Helper()
	s.close()
	box, err := outbox.Open(s.Context(), s.address, s.options)
	if err != nil {
		s.Fatal(err)
	}
	s.box = box
}

// openAlerting opens the outbox with rules for triggers.
func (s *store) openAlerting(triggers string) {
	s.Helper()
	rules, err := alert.ParseTriggers(triggers)
	if err != nil {
		s.Fatal(err)
	}
	s.options.Triggers = rules
	s.open()
}

// close stops the worker and closes what is open.
func (s *store) close() {
	s.rest()
	if s.box != nil {
		s.box.Close()
		s.box = nil
	}
	if s.db != nil {
		s.db.Close()
		s.db = nil
	}
}

// work starts a worker.
func (s *store) work() { s.stop = Work(s.box, s.phones) }

// rest stops the worker.
func (s *store) rest() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// record records events and returns the answers. They all happened when the
// test began: a day that ends meanwhile does not matter.
func (s *store) record(events ...alert.Event) []string {
	s.Helper()
	events = slices.Clone(events)
	for i := range events {
		if events[i].Time.IsZero() {
			events[i].Time = s.began
		}
	}
	results, err := s.box.Record(s.Context(), events)
	if err != nil {
		s.Fatal(err)
	}
	var answers []string
	for _, r := range results {
		answers = append(answers, r.String())
	}
	return answers
}

// want compares answers; "alert" stands for the text of an alert.
func (s *store) want(got []string, want ...string) {
	s.Helper()
	for i, answer := range got {
		if strings.HasPrefix(answer, "An error on your Twilio app occurred!") {
			got[i] = "alert"
		}
	}
	if !slices.Equal(got, want) {
		s.Errorf("got the answers\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// elapse lets time pass.
func (s *store) elapse(d time.Duration) {
	s.Helper()
	if s.stop != nil && (!s.bubble || d > time.Minute) {
		s.rest() // settles what is in flight, and looks for nothing meanwhile
		defer s.work()
	}
	if s.bubble {
		time.Sleep(d)
		return
	}
	s.phones.elapse(d)
	for table, columns := range map[string][]string{
		"events": {"received", "happened"},
		"sms":    {"created", "next_at", "attempt_at", "doubt_since", "sent_at"},
		"phones": {"held_since"},
	} {
		var set []string
		for _, c := range columns {
			set = append(set, fmt.Sprintf("%s = CASE WHEN %s > 0 THEN %s - %d ELSE 0 END", c, c, c, d.Milliseconds()))
		}
		s.exec("UPDATE " + table + " SET " + strings.Join(set, ", "))
	}
}

// eventually waits until ok.
func (s *store) eventually(what string, ok func() bool) {
	s.Helper()
	Eventually(s, what, ok)
}

// texted waits until the phones got n SMS in all and no other is due.
func (s *store) texted(n int) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d SMS", n), func() bool { return len(s.phones.Log()) >= n })
	s.eventually("no SMS is due", func() bool {
		return s.count(fmt.Sprintf("sms WHERE status IN ('pending', 'sending') AND next_at <= %d", time.Now().UnixMilli())) == 0
	})
	if got := s.phones.Log(); len(got) != n {
		var list []string
		for _, a := range got {
			list = append(list, a.To+" "+a.Body)
		}
		s.Errorf("%d SMS, want %d:\n%s", len(got), n, strings.Join(list, "\n"))
	}
}

// stands waits until n SMS have a status.
func (s *store) stands(n int, status outbox.Status) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d SMS %s", n, status), func() bool { return s.count(fmt.Sprintf("sms WHERE status = '%s'", status)) == n })
}

// tried waits until an attempt to send has been noted as failed.
func (s *store) tried() {
	s.Helper()
	s.eventually("a failed attempt is noted", func() bool { return s.count("sms WHERE error <> ''") > 0 })
}

// count counts rows.
func (s *store) count(what string) int {
	s.Helper()
	var n int
	if err := s.sql().QueryRow("SELECT COUNT(*) FROM " + what).Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *store) exec(query string) {
	s.Helper()
	if _, err := s.sql().Exec(query); err != nil {
		s.Fatal(err)
	}
}

// sql returns the database behind the outbox.
func (s *store) sql() *sql.DB {
	s.Helper()
	if s.db == nil {
		db, err := SQL(s.address)
		if err != nil {
			s.Fatal(err)
		}
		s.db = db
	}
	return s.db
}

// SQL opens the database at address.
func SQL(address string) (*sql.DB, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(4000)")
	}
	return sql.Open("pgx", address)
}
