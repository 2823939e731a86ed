package outbox_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// store is an outbox under test, with its worker and phones.
type store struct {
	*testing.T
	address string
	bubble  bool
	began   time.Time
	options outbox.Options
	phones  *phones

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
func (s *store) work() { s.stop = work(s.box, s.phones) }

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
	return s.answers(results, err)
}

// answers returns what webhooks are answered.
func (s *store) answers(results []outbox.Result, err error) (answers []string) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
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
	long := s.bubble && d > time.Minute
	if s.stop != nil && (!s.bubble || long) {
		s.rest() // settles what is in flight, and looks for nothing meanwhile
		defer s.work()
	}
	if long && s.box != nil {
		s.box.Close() // each second that an outbox is open takes time, too
		defer s.open()
	}
	if s.bubble {
		time.Sleep(d)
		return
	}
	s.phones.elapse(d)
	// A transaction that has seen the times of before ends first.
	all := []string{"LOCK TABLE events, waiting, sms, sids, failures"}
	for table, columns := range map[string][]string{
		"events":   {"received", "happened"},
		"waiting":  {"since"},
		"sms":      {"created", "happened", "next_at", "attempt_at", "doubt_since", "sent_at", "body_until"},
		"sids":     {"at"},
		"failures": {"at"},
	} {
		var set []string
		for _, c := range columns {
			set = append(set, fmt.Sprintf("%s = CASE WHEN %s > 0 THEN %s - %d ELSE 0 END", c, c, c, d.Milliseconds()))
		}
		all = append(all, "UPDATE "+table+" SET "+strings.Join(set, ", "))
	}
	together := strings.Join(all, "; ") // in one transaction; the outbox may take the locks in another order
	s.eventually("time passes", func() bool {
		_, err := s.sql().Exec(together)
		return err == nil
	})
}

// eventually waits until ok.
func (s *store) eventually(what string, ok func() bool) {
	s.Helper()
	eventually(s, what, ok)
}

// settled waits until no SMS is due and the outcome of each attempt is noted:
// none is under the lease of a claim.
func (s *store) settled() {
	s.Helper()
	const lease = 30 * time.Second
	s.eventually("all is settled", func() bool {
		return s.count(fmt.Sprintf("sms WHERE status IN ('pending', 'sending') AND next_at <= %d OR status = 'sending' AND next_at - attempt_at = %d",
			time.Now().UnixMilli(), lease.Milliseconds())) == 0
	})
}

// texted waits until the phones got n SMS in all and all is settled.
func (s *store) texted(n int) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d SMS", n), func() bool { return len(s.phones.Log()) >= n })
	s.settled()
	if got := s.phones.Log(); len(got) != n {
		var list []string
		for _, a := range got {
			list = append(list, a.To+" "+a.Body)
		}
		s.Errorf("%d SMS, want %d:\n%s", len(got), n, strings.Join(list, "\n"))
	}
}

// decided waits until no event waits, and returns what was decided about one.
func (s *store) decided(id string) (decision string) {
	s.Helper()
	s.eventually("no event waits", func() bool { return s.count("waiting") == 0 })
	if err := s.sql().QueryRow("SELECT decision FROM events WHERE id = $1", id).Scan(&decision); err != nil {
		s.Fatal(err)
	}
	return decision
}

// stands waits until n SMS have a status.
func (s *store) stands(n int, status outbox.Status) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d SMS %s", n, status), func() bool { return s.count(fmt.Sprintf("sms WHERE status = '%s' AND body <> ''", status)) == n })
}

// tried waits until an attempt to send has been noted as failed. When it looks
// late another may have begun.
func (s *store) tried() {
	s.Helper()
	s.eventually("a failed attempt is noted", func() bool { return s.count("sms WHERE error <> '' OR attempts > 1") > 0 })
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
		s.db = openSQL(s, s.address)
	}
	return s.db
}
