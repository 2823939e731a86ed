package outbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// recorder is a driver that notes the statements that pass through it.
type recorder struct {
	driver.Driver
	mu      sync.Mutex
	queries map[string]bool
}

func (r *recorder) Open(name string) (driver.Conn, error) {
	conn, err := r.Driver.Open(name)
	return &recorded{conn, r}, err
}

// recorded is a connection of a recorder.
type recorded struct {
	driver.Conn
	by *recorder
}

func (c *recorded) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.by.mu.Lock()
	c.by.queries[query] = true
	c.by.mu.Unlock()
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *recorded) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
}

// openRecorded opens an outbox on SQLite and notes its statements.
func openRecorded(t *testing.T) (*Outbox, *recorder) {
	t.Helper()
	triggers, err := alert.ParseTriggers("* every 1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alerts.db")
	o, err := Open(t.Context(), "sqlite:"+file, Options{
		Triggers: triggers, Text: alert.DefaultText(), Recipients: []string{"+15005550006"}, PerHour: 3,
		GiveUpAfter: 24 * time.Hour, KeepFor: 720 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	r := &recorder{Driver: o.db.writes.Driver(), queries: make(map[string]bool)}
	if err := o.db.Close(); err != nil {
		t.Fatal(err)
	}
	o.db.writes = sql.OpenDB(connector{r, "file:" + file + "?_txlock=immediate"})
	o.db.writes.SetMaxOpenConns(1)
	o.db.reads = o.db.writes
	if err := o.db.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o, r
}

// connector opens connections to a file through a recorder.
type connector struct {
	r    *recorder
	name string
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.r.Open(c.name) }
func (c connector) Driver() driver.Driver                        { return c.r }

// TestIndexes does all that an outbox does, and asks SQLite whether it would
// read a large table from end to end for it.
func TestIndexes(t *testing.T) {
	t.Parallel()
	o, recorder := openRecorded(t)
	ctx := t.Context()
	about := func(id, sid string) {
		t.Helper()
		if _, err := o.Record(ctx, []alert.Event{{ID: id, Kind: alert.Debugger, Level: alert.Error, Code: "11200", Resource: sid}}); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		about(fmt.Sprint("NO", i), "SM1")
	}
	now := time.Now()
	claims, err := o.claim(ctx, 2, now, nil)
	must(err)
	_, err = o.settleAccepted(ctx, claims[0], "SM1", now)
	must(err)
	claims[1].DoubtSince = now
	_, err = o.known(ctx, claims[1])
	must(err)
	_, err = o.settleFailed(ctx, claims[1], &alert.SendError{Outcome: alert.InDoubt, Err: ErrClosed}, now)
	must(err)
	about("NO own", "SM1")
	about("NO waits", "SM2")
	must(o.begin(ctx))
	must(o.undoClockJump(ctx, now))
	o.decideWaiting(ctx, make(map[alert.Counter]int64))
	_, err = o.Deliver(ctx, alert.Report{ID: claims[0].ID, SID: "SM1", Status: "delivered"})
	must(err)
	must(o.release(ctx))
	must(o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return o.releasePhone(ctx, tx, "+15005550006", now.Add(2*time.Hour))
	}))
	_, err = o.nextDue(ctx, now)
	must(err)
	if health := o.Health(ctx); health.Problem != "" {
		t.Fatal(health.Problem)
	}
	must(o.Purge(ctx))

	// The index of what waits is small; any other is as large as its table.
	endless := regexp.MustCompile(`^SCAN (events|sms|sids|failures)\b`)
	for _, query := range slices.Sorted(maps.Keys(recorder.queries)) {
		rows, err := o.db.reads.Query("EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "$")+strings.Count(query, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			must(rows.Scan(&id, &parent, &unused, &detail))
			if endless.MatchString(detail) && !strings.Contains(detail, "INDEX sms_waiting") && !strings.Contains(detail, "INDEX sms_sending") && !strings.Contains(detail, "INDEX sms_summary") {
				t.Errorf("%s for\n%s", detail, query)
			}
		}
		must(rows.Err())
	}
}
