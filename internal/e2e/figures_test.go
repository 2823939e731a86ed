package e2e

import (
	"database/sql"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/signature"
	"twilio-error-sms/internal/twiliotest"
)

var figures = flag.Duration("figures", 0, "measure the figures of README.md, each for this long in each round")

// load is what a load run saw.
type load struct {
	posts    int
	rate     float64 // posts a second
	p50, p99 time.Duration
	most     time.Duration
	cpu      time.Duration // of the server, for each post
}

// signedForm returns a Debugger webhook with its signature. n makes it unique.
func signedForm(n int64) (body, signed string) {
	form := url.Values{
		"Sid": {fmt.Sprintf("NO%032x", uint64(n)*0x9e3779b97f4a7c15)}, "AccountSid": {"AC0123456789abcdef0123456789abcdef"}, "ParentAccountSid": {""},
		"Timestamp": {time.Now().UTC().Format(time.RFC3339Nano)}, "Level": {"ERROR"}, "PayloadType": {"application/json"},
		"Payload": {`{"resource_sid":"CA66666666666666666666666666666666","service_sid":null,"error_code":"` + strconv.FormatInt(30000+n%200, 10) +
			`","more_info":{"Msg":"An attempt to retrieve content returned the HTTP status code 404","sourceComponent":"12000","httpResponse":"404","LogLevel":"ERROR"},"webhook":{"type":"application/json","request":{}}}`},
	}
	return form.Encode(), signature.Sign(twiliotest.AuthToken, publicURL+"/error_trigger", form)
}

// load posts signed Debugger webhooks over connections for a while.
func (p *process) load(t testing.TB, connections int, d time.Duration) load {
	var next atomic.Int64
	next.Store(time.Now().UnixNano())
	end := time.Now().Add(d)
	took := make([][]time.Duration, connections)
	var clients sync.WaitGroup
	cpu, begin := p.cpu(t), time.Now()
	for i := range connections {
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for time.Now().Before(end) {
				body, signed := signedForm(next.Add(1))
				begin := time.Now()
				answer, text, err := post(client, p.URL+"/error_trigger", "application/x-www-form-urlencoded", body, signed)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Error(answer, text, err)
					return
				}
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	clients.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	l := load{posts: len(all), rate: float64(len(all)) / time.Since(begin).Seconds()}
	l.p50, l.p99 = all[len(all)/2], all[len(all)*99/100]
	l.most = all[len(all)-1]
	l.cpu = (p.cpu(t) - cpu) / time.Duration(len(all))
	return l
}

// TestFigures measures the figures of README.md, side by side in rounds, and
// prints the medians. With -program it measures another build.
func TestFigures(t *testing.T) {
	if *figures == 0 {
		t.Skip("measures only when asked: go test ./internal/e2e -run TestFigures -figures 5s -v")
	}
	env := []string{"DRY_RUN=true", "PUBLIC_URL=" + publicURL, "TWILIO_AUTH_TOKEN=" + twiliotest.AuthToken}
	postgres := pgtest.Start(t)
	sqlite, old := t.TempDir(), t.TempDir()
	seed(t, old, env)
	servers := []*process{
		startBare(t),
		startProgram(t, sqlite, append(env, "ADMIN_ADDR=127.0.0.1:0")...),
		startProgram(t, old, env...),
		startProgram(t, t.TempDir(), append(env, "DATABASE_URL="+postgres.Database(t))...),
	}
	time.Sleep(time.Second)
	t.Logf("idle: %.0f MB", servers[1].memory(t, "VmRSS"))
	const rounds = 5
	loads := make([][]load, len(servers))
	for range rounds {
		for i, server := range servers {
			loads[i] = append(loads[i], server.load(t, 64, *figures))
		}
	}
	ceiling := median(loads[0], func(l load) float64 { return l.rate })
	for i, name := range []string{"bare server", "SQLite", "SQLite, 1,000,000 events in the history", "Postgres"} {
		rate := median(loads[i], func(l load) float64 { return l.rate })
		t.Logf("%s: %.0f webhooks/s, %.2f of the bare server, p50 %.1f ms, p99 %.1f ms, %.0f µs CPU each, %.0f MB", name, rate, rate/ceiling,
			median(loads[i], func(l load) float64 { return l.p50.Seconds() * 1e3 }), median(loads[i], func(l load) float64 { return l.p99.Seconds() * 1e3 }),
			median(loads[i], func(l load) float64 { return l.cpu.Seconds() * 1e6 }), servers[i].memory(t, "VmHWM"))
	}
	lone := servers[1].load(t, 1, *figures)
	t.Logf("a lone webhook: p50 %v, %.1f times a write with fdatasync", lone.p50, lone.p50.Seconds()/syncTime(t, sqlite).Seconds())
	syncs(t, servers[1])
	servers[2].stop(t)
	purging := startProgram(t, old, append(env, "GIVE_UP_AFTER=1h", "KEEP_FOR=30h")...).load(t, 1, *figures)
	t.Logf("while history is purged: p50 %v, p99 %v, at most %v; %d events are left to purge", purging.p50, purging.p99, purging.most, rows(databaseIn(old), "events"))
	delays(t, "SQLite", "sqlite:alerts.db")
	delays(t, "Postgres", postgres.Database(t))
	backlog(t)
}

// syncs counts, by strace, what a server does for durability under load.
func syncs(t *testing.T, server *process) {
	summary := filepath.Join(server.Dir, "strace")
	strace := exec.Command("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", summary, "-p", strconv.Itoa(server.Process.Pid))
	if err := strace.Start(); err != nil {
		t.Logf("fsyncs: not counted, install strace: %v", err)
		return
	}
	time.Sleep(time.Second) // it attaches to each thread
	before := commits(t, server)
	posts := server.load(t, 64, *figures).posts
	commits := commits(t, server) - before
	strace.Process.Signal(os.Interrupt)
	strace.Wait()
	text, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, line := range regexp.MustCompile(`(?m)^ *\S+ +\S+ +\S+ +([0-9]+) .*sync$`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(line[1])
		calls += n
	}
	if calls == 0 {
		t.Error("fsyncs: not counted, strace may not attach")
	}
	t.Logf("fsyncs: %d for %d commits of %d webhooks", calls, commits, posts)
}

// commits asks a server's metrics how many commits it made.
func commits(t *testing.T, server *process) int {
	_, text := get(t, server.address(t, "operator's page")+"/metrics")
	_, count, _ := strings.Cut(text, "commit_seconds_count ")
	count, _, _ = strings.Cut(count, "\n")
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// median returns the median of a figure over the rounds.
func median(loads []load, figure func(load) float64) float64 {
	var all []float64
	for _, l := range loads {
		all = append(all, figure(l))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// seed makes a database in dir, with a million events of forty hours ago.
func seed(t *testing.T, dir string, env []string) {
	startProgram(t, dir, env...).stop(t)
	db, err := sql.Open("sqlite", filepath.Join(dir, "alerts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
		INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision) SELECT 'NO' || lower(hex(randomblob(16))), $1 + i, $1 + i, 'debugger', $2, 30000 + i % 200, 'error',
			'An attempt to retrieve content returned the HTTP status code 404', 'CA66666666666666666666666666666666', '3rd 30003 today, next alert at the 10th' FROM n`,
		time.Now().Add(-40*time.Hour).UnixMilli(), twiliotest.AccountSID); err != nil {
		t.Fatal(err)
	}
}

// syncTime returns the median time of a write of 4 KB with fdatasync in dir.
func syncTime(t *testing.T, dir string) time.Duration {
	file, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var took []time.Duration
	for range 500 {
		begin := time.Now()
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		if err := syncData(file); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// delays measures the time from the answer to Twilio's receipt of the SMS,
// with nothing else going on.
func delays(t *testing.T, name, database string) {
	twilio := twiliotest.New(t)
	arrived := make(chan time.Time, 1)
	twilio.Accepted = func(twiliotest.Message) { arrived <- time.Now() }
	server := startProgram(t, t.TempDir(), sending(twilio.URL, "DATABASE_URL="+database)...)
	var took []time.Duration
	for range 300 {
		report(t, server.URL, newWebhook("11200", "alone"))
		answered := time.Now()
		took = append(took, max((<-arrived).Sub(answered), 0))
	}
	slices.Sort(took)
	t.Logf("%s: from the 200 to Twilio p50 %v, p99 %v", name, took[len(took)/2], took[len(took)*99/100])
}

// backlog measures how fast 1,000 SMS go out to a Twilio that takes 200 ms,
// and what webhooks notice of it.
func backlog(t *testing.T) {
	twilio := twiliotest.New(t)
	twilio.Latency = 200 * time.Millisecond
	server := startProgram(t, t.TempDir(), sending(twilio.URL, "TRIGGERS=11200 every 1; * never")...)
	quiet := server.load(t, 1, *figures)
	for range 1000 {
		report(t, server.URL, newWebhook("11200", "one of many"))
	}
	begin, first := time.Now(), len(twilio.Messages())
	busy := server.load(t, 1, min(*figures, 5*time.Second)) // all the while SMS are sent
	within(t, "900 SMS are sent", func() bool { return len(twilio.Messages()) >= 900 })
	rate := float64(len(twilio.Messages())-first) / time.Since(begin).Seconds()
	t.Logf("1,000 SMS waiting, Twilio takes 200 ms: %.0f SMS/s, %.2f of what 16 at a time allow; a lone webhook: p50 %v, p99 %v, without them %v, %v",
		rate, rate*0.2/16, busy.p50, busy.p99, quiet.p50, quiet.p99)
}
