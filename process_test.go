package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"twilio-error-sms/internal/twiliotest"
)

// asProgram makes this test binary the program itself, or the bare server
// that its figures are compared with, when a test started it as such.
const asProgram = "TWILIO_ERROR_SMS_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		// These tests wait for time-outs and leases more than they work.
		flag.Set("test.parallel", "16")
		testscript.Main(m, map[string]func(){"twilio-error-sms": main})
	case "program":
		limitFiles()
		main()
	case "bare":
		bare()
	}
}

// fileLimit is the size in bytes that files of the program cannot pass until
// it gets SIGUSR1: to a database that is what a full disk is.
const fileLimit = "TWILIO_ERROR_SMS_TEST_FILE_LIMIT"

func limitFiles() {
	size, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64)
	if err != nil {
		return
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	lifted := limit
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	lift := make(chan os.Signal, 1)
	signal.Notify(lift, syscall.SIGUSR1)
	go func() {
		<-lift
		syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lifted)
	}()
}

// bare is the ceiling: a net/http server that parses the form and answers 200.
func bare() {
	listener, err := net.Listen("tcp", os.Getenv("ADDR"))
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "{\"msg\":\"listening\",\"addr\":%q}\n", listener.Addr())
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.ParseForm() }))
}

// process is the program as a process of its own.
type process struct {
	*exec.Cmd
	URL string
}

// startProcess starts a server on a free port, and ends it with the test: as
// is program, bare, or the path of a program that was built. Its log is the
// file alerts.log in dir.
func startProcess(t testing.TB, as, dir string, env ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if filepath.IsAbs(as) {
		executable = as
	}
	log, err := os.OpenFile(filepath.Join(dir, "alerts.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(executable)}
	p.Dir = dir
	p.Env = append([]string{asProgram + "=" + as, "ADDR=127.0.0.1:0", "PATH=" + os.Getenv("PATH")}, env...)
	p.Stderr = log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	for begin := time.Now(); p.URL == ""; time.Sleep(5 * time.Millisecond) {
		text, err := io.ReadAll(io.NewSectionReader(log, before, 1<<20))
		if err != nil || time.Since(begin) > 20*time.Second {
			t.Fatalf("the program did not start (%v): %s", err, text)
		}
		if _, rest, found := strings.Cut(string(text), `"addr":"`); found {
			p.URL = "http://" + rest[:strings.IndexByte(rest, '"')]
		}
	}
	return p
}

// kill ends the process at once, as a power cut would.
func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// stop ends the process as an operator would.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

// cpu returns the processor time of the process so far.
func (p *process) cpu(t testing.TB) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory returns a figure such as VmHWM of the process in MB.
func (p *process) memory(t testing.TB, name string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return float64(kb) / 1024
}

// sending returns the settings of a server that believes signatures only and
// sends through twilio, an SMS for each error unless more says otherwise.
func sending(twilio string, more ...string) []string {
	return append([]string{
		"TWILIO_BASE_URL=" + twilio, "TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID, "TWILIO_AUTH_TOKEN=" + twiliotest.AuthToken,
		"ALERT_FROM=+15005550006", "ALERT_TO=+15005550009", "PUBLIC_URL=" + loadURL,
		"TRIGGERS=* every 1", "SMS_PER_HOUR=1000000",
	}, more...)
}

// program is the program inside the test's own process.
type program struct {
	URL   string
	log   logText
	stop  context.CancelFunc // as a signal would
	ended chan error         // what run returned
}

// startProgram starts the program on a free port with its database in dir, and
// stops it with the test.
func startProgram(t testing.TB, dir string, env ...string) *program {
	t.Helper()
	p := &program{ended: make(chan error, 1)}
	env = append([]string{"ADDR=127.0.0.1:0", "DATABASE_URL=" + databaseIn(dir)}, env...)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		p.ended <- run(ctx, nil, func(name string) string { return lookUp(env, name) }, io.Discard, &p.log)
		close(p.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-p.ended
	})
	within(t, time.Minute, "the program listens", func() bool {
		_, rest, found := strings.Cut(p.log.String(), `"addr":"`)
		if found {
			p.URL = "http://" + rest[:strings.IndexByte(rest, '"')]
		}
		return found
	})
	return p
}

// lookUp returns the setting that the last of env gives it.
func lookUp(env []string, name string) string {
	for _, setting := range slices.Backward(env) {
		if value, found := strings.CutPrefix(setting, name+"="); found {
			return value
		}
	}
	return ""
}

// databaseIn returns the DATABASE_URL of a database in dir: that of a process
// without another.
func databaseIn(dir string) string { return "sqlite:" + filepath.Join(dir, "alerts.db") }

// rows counts rows of the database at address, such as "sms WHERE status =
// 'held'". A database that cannot be read has -1.
func rows(address, of string) int {
	driver, source := "pgx", address
	if file, found := strings.CutPrefix(address, "sqlite:"); found {
		driver, source = "sqlite", "file:"+file+"?_pragma=query_only(1)&_pragma=busy_timeout(4000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return -1
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM " + of).Scan(&n); err != nil {
		return -1
	}
	return n
}

// settled reports whether nothing is left to send in the database at address.
func settled(address string) bool {
	return rows(address, "sms WHERE status IN ('pending', 'sending')") == 0
}

// logText is a log as it grows.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// within waits until ok, and fails the test if that takes longer than it may.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// webhook is what Twilio's Debugger says of an error.
type webhook struct {
	sid, account, code, level, description, resource string
	at                                               time.Time
}

// newWebhook returns an error of its own.
func newWebhook(code, description string) webhook {
	return webhook{
		sid: twiliotest.NewSID("NO"), account: twiliotest.AccountSID, code: code, level: "ERROR",
		description: description, resource: twiliotest.NewSID("CA"), at: time.Now(),
	}
}

func (w webhook) form() url.Values {
	payload, _ := json.Marshal(map[string]any{
		"resource_sid": w.resource, "service_sid": nil, "error_code": w.code,
		"more_info": map[string]string{"Msg": w.description, "LogLevel": w.level},
	})
	return url.Values{
		"Sid": {w.sid}, "AccountSid": {w.account}, "ParentAccountSid": {""}, "Level": {w.level},
		"Timestamp": {w.at.UTC().Format(time.RFC3339Nano)}, "PayloadType": {"application/json"}, "Payload": {string(payload)},
	}
}

// postFields posts a form as Twilio does, signed, to the server at base, and
// returns the answer and its body.
func postFields(client *http.Client, base, path string, form url.Values) (*http.Response, string, error) {
	return postSigned(client, base, path, "application/x-www-form-urlencoded", form.Encode(), sign(twiliotest.AuthToken, loadURL+path, form))
}

// postJSON posts JSON as Twilio does, signed with its hash.
func postJSON(client *http.Client, base, path, body string) (*http.Response, string, error) {
	hash := sha256.Sum256([]byte(body))
	path += "?bodySHA256=" + hex.EncodeToString(hash[:])
	return postSigned(client, base, path, "application/json", body, sign(twiliotest.AuthToken, loadURL+path, nil))
}

func postSigned(client *http.Client, base, path, contentType, body, signature string) (*http.Response, string, error) {
	request, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Twilio-Signature", signature)
	answer, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}

// report posts an error that the program must take, and returns the answer.
func report(t testing.TB, base string, w webhook) string {
	t.Helper()
	answer, text, err := postFields(http.DefaultClient, base, "/error_trigger", w.form())
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", answer.Status, text)
	}
	return text
}

// replicas are processes behind a load balancer, some of them dead at times.
type replicas struct {
	mu      sync.Mutex
	running []*process // nil: dead
	turn    int
}

// url returns the address of the replica whose turn it is, empty when all are
// dead.
func (r *replicas) url() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range r.running {
		r.turn++
		if p := r.running[r.turn%len(r.running)]; p != nil {
			return p.URL
		}
	}
	return ""
}

// set puts p, or nil, in the place of the ith, and returns who was there.
func (r *replicas) set(i int, p *process) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.running[i]
	r.running[i] = p
	return before
}

// deliver posts w until a replica answers 200, as Twilio would if it were
// patient, and reports whether that happened before ctx ended.
func (r *replicas) deliver(ctx context.Context, client *http.Client, w webhook) bool {
	form := w.form()
	for ctx.Err() == nil {
		answer, _, err := postFields(client, r.url(), "/error_trigger", form)
		if err == nil && answer.StatusCode == http.StatusOK {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
