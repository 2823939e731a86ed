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

// pair starts two servers, each with the tables of an outbox in a database of
// the same name.
func pair(t *testing.T) (a, b *pgtest.Server, database string) {
	t.Helper()
	var addresses []string
	for _, server := range []**pgtest.Server{&a, &b} {
		*server = pgtest.Start(t, "fsync=off")
		addresses = append(addresses, (*server).Database(t))
		open(t, addresses[len(addresses)-1], defaults(t, "* every 1")).Close()
	}
	u, err := url.Parse(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	return a, b, u.Path[1:]
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
	for name, demote := range map[string]func(t *testing.T, old *pgtest.Server){
		"read-only": func(t *testing.T, old *pgtest.Server) { readOnly(t, old, true) },
		"stopped":   func(t *testing.T, old *pgtest.Server) { old.Stop() },
		"silent":    func(t *testing.T, old *pgtest.Server) { old.Pause(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, database := pair(t)
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
			demote(t, a)
			time.AfterFunc(time.Second, func() { primary.To(b) })
			refused := 0
			eventually(t, "Record works again", func() bool {
				_, err := box.Record(context.Background(), []alert.Event{event("NO after", "11210")})
				if err != nil {
					refused++
				}
				return err == nil
			})
			// Only a silent server takes all the time of a commit.
			if most := map[string]int{"silent": 2}[name]; refused > most {
				t.Errorf("%d were refused before, want %d at most", refused, most)
			}
			if n := count(t, b.Address(database), "events WHERE id = 'NO after'"); n != 1 {
				t.Error("the event is not on the new primary")
			}
			eventually(t, "the SMS is sent", func() bool { return len(twilio.Bodies("11210")) == 1 })
			eventually(t, "the outbox is healthy", func() bool { return box.Health(t.Context()).Problem == "" })
		})
	}
}

// TestFailOverAmongHosts names both servers in the address, and first of all one
// that never answers.
func TestFailOverAmongHosts(t *testing.T) {
	t.Parallel()
	a, b, database := pair(t)
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
	record(t, box, event("NO after", "11200"))
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
