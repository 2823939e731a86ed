package outbox_test

import (
	"database/sql"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/outbox"
)

// version1 is the tables of version 1, as the program of that version made them.
//
//go:embed testdata/version1.sql
var version1 string

// version1File returns a copy of a file that the program of version 1 wrote:
// two phones, SMS_PER_HOUR 3, TRIGGERS "* at 1,3,10; 30003 every 1".
func version1File(t *testing.T) string {
	t.Helper()
	file, err := os.ReadFile("testdata/version1.db")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "alerts.db")
	if err := os.WriteFile(copied, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + copied
}

// copyTo copies the rows of the file of version 1 into new tables of Postgres.
func copyTo(s *store, from string) {
	s.exec("CREATE TABLE outbox_schema (version BIGINT NOT NULL)")
	for statement := range strings.SplitSeq(strings.TrimSpace(version1), ";\n") {
		s.exec(statement)
	}
	source := openSQL(s, from)
	for _, table := range []string{"events", "counts", "sms", "phones", "marks", "outbox_schema"} {
		rows, err := source.Query("SELECT * FROM " + table)
		if err != nil {
			s.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			s.Fatal(err)
		}
		for rows.Next() {
			row, places, marks := make([]any, len(columns)), make([]any, len(columns)), make([]string, len(columns))
			for i := range row {
				places[i], marks[i] = &row[i], fmt.Sprintf("$%d", i+1)
			}
			if err := rows.Scan(places...); err != nil {
				s.Fatal(err)
			}
			if _, err := s.sql().Exec("INSERT INTO "+table+" VALUES ("+strings.Join(marks, ",")+")", row...); err != nil {
				s.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			s.Fatal(err)
		}
	}
}

// TestVersion1IsUpgradedInPlace with nothing lost: what waits goes out, what is
// held is summed up, what was counted and told stays so, and our SMS stay ours.
func TestVersion1IsUpgradedInPlace(t *testing.T) {
	eachEngine(t, func(s *store) {
		file := version1File(s.T)
		if s.bubble {
			s.address = file
			// The file was written in 2026, the bubble begins in 2000.
			var received int64
			if err := openSQL(s, file).QueryRow("SELECT MAX(received) FROM events").Scan(&received); err != nil {
				s.Fatal(err)
			}
			time.Sleep(time.Until(time.UnixMilli(received).Add(time.Minute)))
		} else {
			copyTo(s, file)
			var received int64
			if err := s.sql().QueryRow("SELECT MAX(received) FROM events").Scan(&received); err != nil {
				s.Fatal(err)
			}
			age(s, time.Until(time.UnixMilli(received).Add(time.Minute)))
		}
		s.options.Recipients = []string{alice, bob}
		s.options.PerHour = 3
		s.openAlerting("* at 1,3,10; 30003 every 1")
		if n := s.count("events"); n != 8 {
			s.Errorf("%d events, want 8", n)
		}
		s.open() // once more, as version 2
		s.work()
		s.eventually("what waited is sent", func() bool { return s.count("sms WHERE status IN ('pending', 'sending')") == 0 })
		waited := len(s.phones.Log())
		if waited == 0 || len(s.phones.Bodies("30003")) == 0 {
			s.Errorf("the SMS that waited are %v", s.phones.Log())
		}
		s.want(s.record(about("NO of ours", "30003", "SM11111111111111111111111111111111")), "an SMS of our own")
		s.elapse(62 * time.Minute)
		s.eventually("what was held is summed up", func() bool { return len(s.phones.Bodies("held back since")) == 2 })
		for _, body := range s.phones.Bodies("held back since") {
			if !strings.HasPrefix(body, "2 alerts held back since ") || !strings.Contains(body, ": 30003 x2 ") {
				s.Errorf("a summary reads %q", body)
			}
		}
	})
}

// age makes all of version 1's rows older, or younger, so that the newest event
// is a minute old.
func age(s *store, d time.Duration) {
	for table, columns := range map[string][]string{
		"events": {"received", "happened"}, "sms": {"created", "next_at", "attempt_at", "doubt_since", "sent_at"}, "phones": {"held_since"},
	} {
		for _, c := range columns {
			s.exec(fmt.Sprintf("UPDATE %s SET %s = %s - %d WHERE %s > 0", table, c, c, d.Milliseconds(), c))
		}
	}
}

// TestUpgradeIsAllOrNothing: a file that cannot be upgraded stays as it was.
func TestUpgradeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	address := version1File(t)
	db := openSQL(t, address)
	if _, err := db.Exec("CREATE TABLE failures (id TEXT)"); err != nil { // a stranger's
		t.Fatal(err)
	}
	if box, err := outbox.Open(t.Context(), address, defaults(t, "* at 1")); err == nil {
		box.Close()
		t.Fatal("opened")
	}
	var version int64
	if err := db.QueryRow("SELECT version FROM outbox_schema").Scan(&version); err != nil || version != 1 {
		t.Errorf("the file has version %d, %v", version, err)
	}
	var held sql.NullInt64
	if err := db.QueryRow("SELECT SUM(held) FROM phones").Scan(&held); err != nil || held.Int64 != 4 {
		t.Errorf("%d alerts are held, %v, want 4", held.Int64, err)
	}
}
