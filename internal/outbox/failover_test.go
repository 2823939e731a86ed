package outbox_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/pgtest"
)

// twins creates a database on two servers, of the same name and with the tables
// of an outbox.
func twins(t *testing.T, servers ...*pgtest.Server) (name string) {
	t.Helper()
	for _, server := range servers {
		address := server.Database(t)
		open(t, address, defaults(t, "* every 1")).Close()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		name = u.Path[1:]
	}
	return name
}

// readOnly makes a server refuse to write, or not.
func readOnly(t *testing.T, server *pgtest.Server, on bool) {
	t.Helper()
	execute(t, openSQL(t, server.Address("postgres")), fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %v", on), "SELECT pg_reload_conf()")
	eventually(t, "the setting is in force", func() bool {
		return count(t, server.Address("postgres"), fmt.Sprintf("pg_settings WHERE name = 'default_transaction_read_only' AND setting::bool = %v", on)) == 1
	})
}

// TestFailOver turns the primary read-only, or stops it, while events come in:
// none of them is refused if another server takes its place within the time of
// a commit.
func TestFailOver(t *testing.T) {
	t.Parallel()
	a, b := pgtest.Start(t, "fsync=off"), pgtest.Start(t, "fsync=off")
	for _, test := range []struct {
		name    string
		demote  func(t *testing.T)
		restore func()
		refused int // at most
	}{
		{"read-only", func(t *testing.T) { readOnly(t, a, true) }, func() { readOnly(t, a, false) }, 0},
		{"stopped", func(*testing.T) { a.Stop() }, func() { a.Restart(t) }, 0},
		{"silent", func(t *testing.T) { a.Pause(t) }, a.Resume, 2}, // which takes all the time of a commit
	} {
		t.Run(test.name, func(t *testing.T) {
			database := twins(t, a, b)
			defer test.restore()
			primary := pgtest.NewSwitch(t, a)
			box := open(t, primary.Address(database), defaults(t, "* every 1"))
			twilio := new(phones)
			defer work(box, twilio)()
			var warm sync.WaitGroup
			for i := range 8 { // many connections
				warm.Go(func() { box.Health(t.Context()) })
				record(t, box, event(fmt.Sprint("NO before ", i), "11200"))
			}
			warm.Wait()
			test.demote(t)
			time.AfterFunc(time.Second, func() { primary.To(b) })
			refused := 0
			eventually(t, "Record works again", func() bool {
				_, err := box.Record(context.Background(), []alert.Event{event("NO after", "11210")})
				if err != nil {
					refused++
				}
				return err == nil
			})
			if refused > test.refused {
				t.Errorf("%d were refused before, want %d at most", refused, test.refused)
			}
			if n := count(t, b.Address(database), "events WHERE id = 'NO after'"); n != 1 {
				t.Error("the event is not on the new primary")
			}
			eventually(t, "the SMS is sent", func() bool { return len(twilio.Bodies("11210")) == 1 })
			eventually(t, "the outbox is healthy", func() bool { return box.Health(t.Context()).Problem == "" })
		})
	}
	t.Run("among the hosts of the address", func(t *testing.T) { failOverAmongHosts(t, a, b) })
}

// failOverAmongHosts names both servers in the address, and first of all one that
// never answers.
func failOverAmongHosts(t *testing.T, a, b *pgtest.Server) {
	database := twins(t, a, b)
	readOnly(t, b, true)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address := fmt.Sprintf("postgres://postgres@%s,%s,%s/%s?sslmode=disable&target_session_attrs=read-write",
		silent.Addr(), pgtest.NewSwitch(t, a).Host(), pgtest.NewSwitch(t, b).Host(), database)
	box := open(t, address, defaults(t, "* every 1"))
	record(t, box, event("NO before", "11200"))
	readOnly(t, a, true)
	readOnly(t, b, false)
	eventually(t, "Record works again", func() bool {
		_, err := box.Record(context.Background(), []alert.Event{event("NO after", "11200")})
		return err == nil
	})
	if n := count(t, b.Address(database), "events WHERE id = 'NO after'"); n != 1 {
		t.Error("the event is not on the new primary")
	}
}

// TestCommitOfUnknownOutcomeIsNotStoredTwice cuts the connection after a commit
// was sent: Record looks what became of it.
func TestCommitOfUnknownOutcomeIsNotStoredTwice(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	address := server.Database(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	cut := pgtest.NewSwitch(t, server)
	options := defaults(t, "* every 1")
	options.PerHour = 1000
	box := open(t, cut.Address(u.Path[1:]), options)
	for i := range 10 {
		cut.LoseCommit()
		unnamed := alert.Event{Kind: alert.Alarm, Account: account, Code: "11210", Level: alert.Error} // always news, in no count
		results, err := box.Record(t.Context(), []alert.Event{event(fmt.Sprint("NO", i), "11200"), unnamed})
		if err != nil || len(results) != 2 {
			t.Fatal(results, err)
		}
	}
	for what, want := range map[string]int{"events": 20, "sms": 20, "counts WHERE period = 'daily' AND n = 10": 1} {
		if n := count(t, address, what); n != want {
			t.Errorf("%d %s, want %d", n, what, want)
		}
	}
}
