package main

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/twiliotest"
)

var figures = flag.Duration("figures", 0, "measure the figures of docs/performance.md, each for this long in each round")

// load is what a load run saw.
type load struct {
	posts    int
	rate     float64 // posts a second
	p50, p99 time.Duration
	cpu      time.Duration // of the server, for each post
}

const (
	loadURL   = "https://alerts.example.com"
	loadToken = "12345"
)

// signedForm returns a Debugger webhook with its signature. n makes it unique.
func signedForm(n int64) (body, signature string) {
	form := url.Values{
		"Sid": {fmt.Sprintf("NO%032x", uint64(n)*0x9e3779b97f4a7c15)}, "AccountSid": {"AC0123456789abcdef0123456789abcdef"}, "ParentAccountSid": {""},
		"Timestamp": {time.Now().UTC().Format(time.RFC3339Nano)}, "Level": {"ERROR"}, "PayloadType": {"application/json"},
		"Payload": {`{"resource_sid":"CA66666666666666666666666666666666","service_sid":null,"error_code":"` + strconv.FormatInt(30000+n%200, 10) +
			`","more_info":{"Msg":"An attempt to retrieve content returned the HTTP status code 404","sourceComponent":"12000","httpResponse":"404","LogLevel":"ERROR"},"webhook":{"type":"application/json","request":{}}}`},
	}
	return form.Encode(), sign(loadToken, loadURL+"/error_trigger", form)
}

// postNth posts the nth webhook and returns how long its answer took.
func postNth(client *http.Client, server string, n int64) (time.Duration, error) {
	body, signature := signedForm(n)
	begin := time.Now()
	answer, text, err := postSigned(client, server, "/error_trigger", "application/x-www-form-urlencoded", body, signature)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return 0, errors.New(text)
	}
	return time.Since(begin), nil
}

// post posts signed Debugger webhooks over connections for a while.
func (p *process) post(t testing.TB, connections int, d time.Duration) load {
	var n, end = time.Now().UnixNano(), time.Now().Add(d)
	var next atomic.Int64
	next.Store(n)
	took := make([][]time.Duration, connections)
	var clients sync.WaitGroup
	cpu, begin := p.cpu(t), time.Now()
	for i := range connections {
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for time.Now().Before(end) {
				d, err := postNth(client, p.URL, next.Add(1))
				if err != nil {
					t.Error(err)
					return
				}
				took[i] = append(took[i], d)
			}
		})
	}
	clients.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	l := load{posts: len(all), rate: float64(len(all)) / time.Since(begin).Seconds()}
	l.p50, l.p99 = all[len(all)/2], all[len(all)*99/100]
	l.cpu = (p.cpu(t) - cpu) / time.Duration(len(all))
	return l
}

// TestFigures measures the figures of docs/performance.md, side by side in
// rounds, and prints the medians.
func TestFigures(t *testing.T) {
	if *figures == 0 {
		t.Skip("measures only when asked: go test -run TestFigures -figures 5s -v .")
	}
	env := []string{"DRY_RUN=true", "PUBLIC_URL=" + loadURL, "TWILIO_AUTH_TOKEN=" + loadToken}
	sqlite, old := t.TempDir(), t.TempDir()
	seed(t, old, env)
	servers := []*process{
		startProcess(t, "bare", t.TempDir()),
		startProcess(t, "program", sqlite, env...),
		startProcess(t, "program", old, env...),
		startProcess(t, "program", t.TempDir(), append(env, "DATABASE_URL="+pgtest.Start(t).Database(t))...),
	}
	t.Logf("idle: %.0f MB", servers[1].memory(t, "VmRSS"))
	const rounds = 5
	loads := make([][]load, len(servers))
	for range rounds {
		for i, server := range servers {
			loads[i] = append(loads[i], server.post(t, 64, *figures))
		}
	}
	ceiling := median(loads[0], func(l load) float64 { return l.rate })
	for i, name := range []string{"bare server", "SQLite", "SQLite, 1,000,000 events in the history", "Postgres"} {
		rate := median(loads[i], func(l load) float64 { return l.rate })
		t.Logf("%s: %.0f webhooks/s, %.2f of the bare server, p50 %.1f ms, p99 %.1f ms, %.0f µs CPU each, %.0f MB", name, rate, rate/ceiling,
			median(loads[i], func(l load) float64 { return l.p50.Seconds() * 1e3 }), median(loads[i], func(l load) float64 { return l.p99.Seconds() * 1e3 }),
			median(loads[i], func(l load) float64 { return l.cpu.Seconds() * 1e6 }), servers[i].memory(t, "VmHWM"))
	}
	lone := servers[1].post(t, 1, *figures)
	t.Logf("a lone webhook: p50 %v, %.1f times a write with fdatasync", lone.p50, lone.p50.Seconds()/syncTime(t, sqlite).Seconds())
	delays(t)
	backlog(t)
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

// seed makes a database with a million events in dir.
func seed(t *testing.T, dir string, env []string) {
	startProcess(t, "program", dir, env...).stop(t)
	db, err := sql.Open("sqlite", filepath.Join(dir, "alerts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
		INSERT INTO events SELECT 'NO' || lower(hex(randomblob(16))), $1 + i, $1 + i, 'debugger', $2, 30000 + i % 200, 'error',
			'An attempt to retrieve content returned the HTTP status code 404', 'CA66666666666666666666666666666666', '3rd 30003 today, next alert at the 10th' FROM n`,
		time.Now().Add(-20*time.Minute).UnixMilli(), twiliotest.AccountSID); err != nil {
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
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// delays measures the time from the answer to Twilio's receipt of the SMS,
// with nothing else going on.
func delays(t *testing.T) {
	twilio := twiliotest.New(t)
	arrived := make(chan time.Time, 1)
	twilio.Accepted = func(twiliotest.Message) { arrived <- time.Now() }
	server := startProcess(t, "program", t.TempDir(), sending(twilio.URL, "TWILIO_AUTH_TOKEN="+twiliotest.AuthToken)...)
	var took []time.Duration
	for i := range 300 {
		form := url.Values{"ErrorCode": {strconv.Itoa(10000 + i)}}
		if _, _, err := postFields(http.DefaultClient, server.URL, "/error_trigger", form); err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		took = append(took, max((<-arrived).Sub(answered), 0))
	}
	slices.Sort(took)
	t.Logf("from the 200 to Twilio: p50 %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
}

// backlog measures how fast 1,000 SMS go out to a Twilio that takes 200 ms,
// and what webhooks notice of it.
func backlog(t *testing.T) {
	twilio := twiliotest.New(t)
	twilio.Latency = 200 * time.Millisecond
	server := startProcess(t, "program", t.TempDir(), sending(twilio.URL)...)
	for i := range 1000 {
		if _, _, err := postFields(http.DefaultClient, server.URL, "/error_trigger", url.Values{"ErrorCode": {strconv.Itoa(10000 + i)}}); err != nil {
			t.Fatal(err)
		}
	}
	begin, first := time.Now(), len(twilio.Messages())
	for len(twilio.Messages()) < 900 {
		time.Sleep(time.Millisecond)
	}
	rate := float64(900-first) / time.Since(begin).Seconds()
	t.Logf("1,000 SMS waiting, Twilio takes 200 ms: %.0f SMS/s, %.2f of what 16 at a time allow", rate, rate*0.2/16)
}
