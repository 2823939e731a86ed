package outbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// TestLocked holds SQLite's lock, as another program could: each Record fails
// within 5 s, however many wait, and nothing is stored. Then all works again.
func TestLocked(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* every 1"))
		defer work(box, new(phones))()
		record(t, box, event("NO before", "11200"))
		db := openSQL(t, address)
		defer db.Close()
		other, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		var clients sync.WaitGroup
		for i := range 100 {
			clients.Go(func() {
				begin := time.Now()
				_, err := box.Record(context.Background(), []alert.Event{event(fmt.Sprint("NO", i), "11200")})
				if took := time.Since(begin); err == nil || took > answeredWithin {
					t.Errorf("got %v after %v", err, took)
				}
			})
			time.Sleep(150 * time.Millisecond)
		}
		clients.Wait()
		if got := box.Health(t.Context()); !strings.HasPrefix(got.Problem, "the database cannot be written") {
			t.Errorf("health is %+v", got)
		}
		if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if n := count(t, address, "events"); n != 1 {
			t.Errorf("%d events are stored, want that of before", n)
		}
		time.Sleep(5 * time.Second)
		record(t, box, event("NO after", "11200"))
		if got := box.Health(t.Context()); got.Problem != "" {
			t.Errorf("health is %+v", got)
		}
	})
}

// TestBriefLock checks that Record waits for a lock that is held for 3 s.
func TestBriefLock(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* every 1"))
		db := openSQL(t, address)
		defer db.Close()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("UPDATE outbox_schema SET version = version"); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() { tx.Rollback() })
		record(t, box, event("NO1", "11200"))
	})
}

// TestBadFiles opens what is not a database.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(t *testing.T, file string)
		want    string
	}{
		"a folder in place of the file": {func(t *testing.T, file string) { os.Mkdir(file, 0o700) }, "is no file: use sqlite:alerts.db"},
		"a file that is not a database": {func(t *testing.T, file string) {
			os.WriteFile(file, []byte(strings.Repeat("no database", 1000)), 0o600)
		}, "file is not a database"},
		"a truncated database": {func(t *testing.T, file string) {
			filled(t, file)
			if err := os.Truncate(file, 3000); err != nil {
				t.Fatal(err)
			}
		}, "database disk image is malformed"},
		"a folder that does not exist": {func(t *testing.T, file string) { os.Remove(filepath.Dir(file)) }, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "folder", "alerts.db")
			os.Mkdir(filepath.Dir(file), 0o700)
			test.prepare(t, file)
			box, err := outbox.Open(t.Context(), "sqlite:"+file, defaults(t, "* every 1"))
			if err == nil {
				box.Close()
				t.Fatal("opened")
			}
			if got := err.Error(); !strings.HasPrefix(got, "opening the database (DATABASE_URL): ") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// filled writes a database of some hundred events.
func filled(t *testing.T, file string) {
	t.Helper()
	box, err := outbox.Open(t.Context(), "sqlite:"+file, defaults(t, "* every 1"))
	if err != nil {
		t.Fatal(err)
	}
	var events []alert.Event
	for i := range 300 {
		events = append(events, event(fmt.Sprint("NO", i), "11200"))
	}
	if _, err := box.Record(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCorrupt writes rubbish over the pages of events: Record returns
// an error, and the program does not crash.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "alerts.db")
	filled(t, file)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const page = 1024
	for begin := 0; begin+page <= len(content); begin += page {
		if p := content[begin : begin+page]; bytes.Contains(p, []byte("NO1")) && !bytes.Contains(p, []byte("CREATE")) {
			copy(p, strings.Repeat("x", page))
		}
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	box := open(t, "sqlite:"+file, defaults(t, "* every 1"))
	if _, err := box.Record(t.Context(), []alert.Event{event("NO100", "11200")}); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("got %v", err)
	}
}

// TestDiskFull lets a process of its own run against a limit of its files'
// size: what is answered is stored, what failed is not, and when there is room
// again it works again.
func TestDiskFull(t *testing.T) {
	const file = "OUTBOX_TEST_DISK_FULL"
	if address := os.Getenv(file); address != "" {
		fillDisk(t, address)
		return
	}
	t.Parallel()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(executable, "-test.run=^TestDiskFull$", "-test.v")
	child.Env = append(os.Environ(), file+"="+sqliteAddress(t))
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, address string) {
	signal.Ignore(syscall.SIGXFSZ) // a write beyond the limit fails, and no more
	options := defaults(t, "* every 1")
	options.PerHour = 1
	box := open(t, address, options)
	limit := func(bytes uint64) {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
		l.Cur = min(bytes, l.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	limit(256 << 10)
	var answered, failed []string
	for i := 0; len(failed) < 20 && i < 2000; i++ {
		id := fmt.Sprint("NO", i)
		if _, err := box.Record(t.Context(), []alert.Event{event(id, "11200")}); err == nil {
			answered = append(answered, id)
		} else {
			failed = append(failed, id)
		}
	}
	if len(failed) < 20 || len(answered) == 0 {
		t.Fatalf("%d answered, %d failed", len(answered), len(failed))
	}
	health := box.Health(t.Context()) // its own write is small and finds room
	if !strings.HasPrefix(health.Problem, "the database cannot be written") {
		t.Errorf("health is %+v", health)
	}
	limit(1 << 30)
	for _, id := range answered {
		if got := record(t, box, event(id, "11200")); got != "seen before" {
			t.Errorf("%s was answered and is lost: %s", id, got)
		}
	}
	for _, id := range failed {
		if got := record(t, box, event(id, "11200")); got == "seen before" {
			t.Errorf("%s failed and is stored", id)
		}
	}
	if got := box.Health(t.Context()); got.Problem != "" {
		t.Errorf("health is %+v", got)
	}
}
