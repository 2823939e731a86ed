package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/outbox/outboxtest"
)

// sqliteAddress returns the address of a new database.
func sqliteAddress(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "alerts.db")
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	outboxtest.Test(t, sqliteAddress)
}

// open opens an outbox that closes with the test, or with its bubble.
func open(t testing.TB, address string, options outbox.Options) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(t.Context(), address, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// record records an event and returns the answer.
func record(t testing.TB, box *outbox.Outbox, e alert.Event) string {
	t.Helper()
	results, err := box.Record(t.Context(), []alert.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].String()
}

// count counts rows of the database at address.
func count(t testing.TB, address, what string) (n int) {
	t.Helper()
	db, err := outboxtest.SQL(address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT COUNT(*) FROM " + what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// attempts notes when an SMS was tried, and answers as Answer says.
type attempts struct {
	Answer func(n int) error

	mu sync.Mutex
	at []time.Time
}

func (a *attempts) Send(context.Context, alert.SMS) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return "SM1", a.Answer(len(a.at))
}

// pauses returns the times between attempts.
func (a *attempts) pauses() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pauses []time.Duration
	for i := 1; i < len(a.at); i++ {
		pauses = append(pauses, a.at[i].Sub(a.at[i-1]))
	}
	return pauses
}

// TestRetryTable checks the pauses between attempts: 1 s doubling to 5 min,
// less up to a half, and no shorter than Twilio asks.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	failure := func(outcome alert.Outcome, retryAfter time.Duration) error {
		return &alert.SendError{Outcome: outcome, RetryAfter: retryAfter, Err: errors.New("a fault")}
	}
	const s = time.Second
	for _, test := range []struct {
		name  string
		err   error
		most  []time.Duration
		least time.Duration // of each pause, 0: half of the most
	}{
		{"not accepted", failure(alert.NotAccepted, 0), []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 300 * s}, 0},
		{"Retry-After is longer", failure(alert.NotAccepted, 90*s), []time.Duration{90 * s, 90 * s, 90 * s}, 90 * s},
		{"Retry-After is shorter", failure(alert.NotAccepted, s/10), []time.Duration{s, 2 * s, 4 * s}, 0},
		{"in doubt, while the message log lags", failure(alert.InDoubt, 0), []time.Duration{10 * s, 10 * s, 10 * s, 10 * s}, 10 * s},
		{"an error of unknown kind is a doubt", errors.New("a fault"), []time.Duration{10 * s, 10 * s}, 10 * s},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := sqliteAddress(t)
			synctest.Test(t, func(t *testing.T) {
				box := open(t, address, outboxtest.Options(t, "* every 1"))
				sender := &attempts{Answer: func(n int) error {
					if n <= len(test.most) {
						return test.err
					}
					return nil
				}}
				defer outboxtest.Work(box, sender)()
				record(t, box, outboxtest.Event("NO1", "11200"))
				for _, pause := range test.most {
					time.Sleep(pause + time.Second)
				}
				time.Sleep(15 * time.Second) // for one too many
				pauses := sender.pauses()
				if len(pauses) != len(test.most) {
					t.Fatalf("the pauses are %v", pauses)
				}
				for i, pause := range pauses {
					const slack = 10 * time.Millisecond
					least := test.least
					if least == 0 {
						least = test.most[i] / 2
					}
					if pause < least-slack || pause > test.most[i]+slack {
						t.Errorf("pause %d is %v, want %v to %v", i+1, pause, least, test.most[i])
					}
				}
			})
		})
	}
}

// TestJitter checks that what failed together does not return together.
func TestJitter(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, outboxtest.Options(t, "* every 1"))
		for i := range 10 {
			record(t, box, outboxtest.Event(fmt.Sprint("NO", i), "11200"))
		}
		sender := &attempts{Answer: func(n int) error {
			if n <= 10 {
				return &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("a fault")}
			}
			return nil
		}}
		defer outboxtest.Work(box, sender)()
		time.Sleep(time.Minute)
		returned := make(map[time.Time]bool)
		for _, at := range sender.at[10:] {
			returned[at] = true
		}
		if len(returned) < 5 {
			t.Errorf("10 SMS returned at %d moments", len(returned))
		}
	})
}

// TestOutage is an hour without Twilio, in all its ways at random: every
// alert is texted, none twice.
func TestOutage(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		options := outboxtest.Options(t, "* every 1")
		options.PerHour = 1000
		box := open(t, address, options)
		end := time.Now().Add(time.Hour)
		random := rand.New(rand.NewPCG(1, 2))
		phones := &outboxtest.Phones{Lag: 3 * time.Second}
		var mu sync.Mutex
		phones.Fault = func(int, alert.SMS) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			switch fate := random.IntN(4); {
			case time.Now().After(end):
				return true, nil
			case fate == 0:
				return true, errors.New("no answer")
			case fate == 1:
				return false, errors.New("no answer")
			}
			return false, &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("connection refused")}
		}
		defer outboxtest.Work(box, phones)()
		const alerts = 20
		for i := range alerts {
			record(t, box, outboxtest.Event(fmt.Sprint("NO", i), strconv.Itoa(11200+i)))
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(12 * time.Minute) // twice the longest pause
		texts := make(map[string]int)
		for _, sms := range phones.Log() {
			texts[sms.Body]++
		}
		for text, n := range texts {
			if n > 1 {
				t.Errorf("%d times %q", n, text)
			}
		}
		if len(texts) != alerts || count(t, address, "sms WHERE status = 'sent'") != alerts {
			t.Errorf("%d of %d alerts were texted", len(texts), alerts)
		}
	})
}

// TestHour alerts at random for some hours: no hour has more SMS than
// SMS_PER_HOUR, and each alert is an SMS of its own or part of a summary.
func TestHour(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		options := outboxtest.Options(t, "* every 1")
		options.PerHour = 5
		box := open(t, address, options)
		phones := new(outboxtest.Phones)
		send := func() { // by a worker that rests most of the time, as does the test
			stop := outboxtest.Work(box, phones)
			time.Sleep(5 * time.Second)
			stop()
		}
		random := rand.New(rand.NewPCG(3, 4))
		const alerts = 100
		for i := range alerts {
			record(t, box, outboxtest.Event(fmt.Sprint("NO", i), "11200"))
			send()
			time.Sleep(time.Duration(random.ExpFloat64() * float64(4*time.Minute)))
		}
		time.Sleep(time.Hour)
		send()
		log := phones.Log()
		told := 0
		for i, sms := range log {
			if first := i - options.PerHour; first >= 0 && sms.At.Sub(log[first].At) < time.Hour {
				t.Errorf("%d SMS between %v and %v", options.PerHour+1, log[first].At, sms.At)
			}
			n := 1
			if held := regexp.MustCompile(`^(\d+) alerts? held back since`).FindStringSubmatch(sms.Body); held != nil {
				n, _ = strconv.Atoi(held[1])
			}
			told += n
		}
		if told != alerts {
			t.Errorf("the SMS tell of %d alerts, want %d", told, alerts)
		}
	})
}

// silent is a Sender that never gets an answer.
type silent struct{ waited chan time.Duration }

func (s silent) Send(ctx context.Context, sms alert.SMS) (string, error) {
	if strings.Contains(sms.Body, "11210") {
		return "SM1", nil
	}
	begin := time.Now()
	<-ctx.Done()
	s.waited <- time.Since(begin)
	return "", ctx.Err()
}

// TestSilence checks that a send which gets no answer ends before its lease,
// and holds up no other.
func TestSilence(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, outboxtest.Options(t, "* every 1"))
		sender := silent{make(chan time.Duration, 10)}
		stop := outboxtest.Work(box, sender)
		record(t, box, outboxtest.Event("NO1", "11200"))
		record(t, box, outboxtest.Event("NO2", "11210"))
		time.Sleep(time.Second)
		if count(t, address, "sms WHERE status = 'sent'") != 1 {
			t.Error("an SMS waits for another")
		}
		stop() // waits for what is in flight
		if waited := <-sender.waited; waited != 15*time.Second {
			t.Errorf("gave up after %v", waited)
		}
		if count(t, address, "sms WHERE status = 'sending' AND error = 'context deadline exceeded'") != 1 {
			t.Error("the SMS is not in doubt")
		}
	})
}

// TestLocked holds SQLite's lock, as another program could: each Record fails
// within 5 s, however many wait, and nothing is stored. Then all is well again.
func TestLocked(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, outboxtest.Options(t, "* every 1"))
		defer outboxtest.Work(box, new(outboxtest.Phones))()
		record(t, box, outboxtest.Event("NO before", "11200"))
		db, err := outboxtest.SQL(address)
		if err != nil {
			t.Fatal(err)
		}
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
				_, err := box.Record(context.Background(), []alert.Event{outboxtest.Event(fmt.Sprint("NO", i), "11200")})
				if took := time.Since(begin); err == nil || took > 5*time.Second {
					t.Errorf("got %v after %v", err, took)
				}
			})
			time.Sleep(150 * time.Millisecond)
		}
		clients.Wait()
		if got := box.Health(t.Context()); !strings.HasPrefix(got.Problem, "the outbox cannot be written") {
			t.Errorf("health is %+v", got)
		}
		if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if n := count(t, address, "events"); n != 1 {
			t.Errorf("%d events are stored, want that of before", n)
		}
		time.Sleep(5 * time.Second)
		record(t, box, outboxtest.Event("NO after", "11200"))
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
		box := open(t, address, outboxtest.Options(t, "* every 1"))
		db, err := outboxtest.SQL(address)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("UPDATE outbox_schema SET version = version"); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() { tx.Rollback() })
		record(t, box, outboxtest.Event("NO1", "11200"))
	})
}

// TestBadFiles opens what is no database.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(t *testing.T, file string)
		want    string
	}{
		"a folder in place of the file": {func(t *testing.T, file string) { os.Mkdir(file, 0o700) }, "is a directory"},
		"a file that is no database": {func(t *testing.T, file string) {
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
			box, err := outbox.Open(t.Context(), "sqlite:"+file, outboxtest.Options(t, "* every 1"))
			if err == nil {
				box.Close()
				t.Fatal("opened")
			}
			if got := err.Error(); !strings.HasPrefix(got, "opening the outbox: ") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestBadAddresses opens what is no address.
func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":                       "opening the outbox: DATABASE_URL must be sqlite:FILE or postgres://user@host/database",
		"alerts.db":              "opening the outbox: DATABASE_URL must be sqlite:FILE or postgres://user@host/database",
		"mysql://localhost/test": "opening the outbox: DATABASE_URL must be sqlite:FILE or postgres://user@host/database",
		"sqlite:":                "opening the outbox: DATABASE_URL has no file: use sqlite:alerts.db",
	} {
		if box, err := outbox.Open(t.Context(), address, outboxtest.Options(t, "* every 1")); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, %v, want %q", address, box, err, want)
		}
	}
	box, err := outbox.Open(t.Context(), "postgres://user:sesame@127.0.0.1:1/database", outboxtest.Options(t, "* every 1"))
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v, %v, want an error without the password", box, err)
	}
}

// filled writes a database of some hundred events.
func filled(t *testing.T, file string) {
	t.Helper()
	box, err := outbox.Open(t.Context(), "sqlite:"+file, outboxtest.Options(t, "* every 1"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		record(t, box, outboxtest.Event(fmt.Sprint("NO", i), "11200"))
	}
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCorrupt writes rubbish over the pages of events: whoever needs them gets
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
	box := open(t, "sqlite:"+file, outboxtest.Options(t, "* every 1"))
	if _, err := box.Record(t.Context(), []alert.Event{outboxtest.Event("NO100", "11200")}); err == nil || !strings.Contains(err.Error(), "malformed") {
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
	options := outboxtest.Options(t, "* every 1")
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
		if _, err := box.Record(t.Context(), []alert.Event{outboxtest.Event(id, "11200")}); err == nil {
			answered = append(answered, id)
		} else {
			failed = append(failed, id)
		}
	}
	if len(failed) < 20 || len(answered) == 0 {
		t.Fatalf("%d answered, %d failed", len(answered), len(failed))
	}
	health := box.Health(t.Context()) // its own write is small and finds room
	if !strings.HasPrefix(health.Problem, "the outbox cannot be written") {
		t.Errorf("health is %+v", health)
	}
	limit(1 << 30)
	for _, id := range answered {
		if got := record(t, box, outboxtest.Event(id, "11200")); got != "seen before" {
			t.Errorf("%s was answered and is lost: %s", id, got)
		}
	}
	for _, id := range failed {
		if got := record(t, box, outboxtest.Event(id, "11200")); got == "seen before" {
			t.Errorf("%s failed and is stored", id)
		}
	}
	if got := box.Health(t.Context()); got.Problem != "" {
		t.Errorf("health is %+v", got)
	}
}
