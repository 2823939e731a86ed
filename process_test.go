package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asProgram makes this test binary the program itself, or the bare server
// that its figures are compared with, when a test started it as such.
const asProgram = "TWILIO_ERROR_SMS_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		testscript.Main(m, map[string]func(){"twilio-error-sms": main})
	case "program":
		main()
	case "bare":
		bare()
	}
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

// startProcess starts the program (or the bare server) on a free port, and
// ends it with the test. Its log is the file alerts.log in dir.
func startProcess(t testing.TB, as, dir string, env ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
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
