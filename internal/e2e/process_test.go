package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// patience is how long a test waits for what must happen. Only a test that
// fails takes it, so it has room for a busy machine.
const patience = 5 * time.Minute

// starting bounds how many processes start at a time: all at once they would
// keep those that serve from the processor.
var starting = make(chan struct{}, 2)

// process is a server as a process of its own.
type process struct {
	*exec.Cmd
	URL string

	logFile string
}

// startProgram starts the program in dir, on a free port, and ends it with the
// test. Its database is in dir, unless env has another DATABASE_URL.
func startProgram(t testing.TB, dir string, env ...string) *process {
	t.Helper()
	return start(t, exec.Command("twilio-error-sms"), dir, env)
}

// startBare starts the bare server, as startProgram does.
func startBare(t testing.TB) *process {
	t.Helper()
	return start(t, exec.Command(os.Args[0]), t.TempDir(), []string{asBare + "=true"})
}

func start(t testing.TB, command *exec.Cmd, dir string, env []string) *process {
	t.Helper()
	p := &process{Cmd: command, logFile: filepath.Join(t.TempDir(), "log")}
	log, err := os.Create(p.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.Dir, p.Stderr = dir, log
	p.Env = append([]string{"ADDR=127.0.0.1:0", "PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}, env...)
	starting <- struct{}{}
	defer func() { <-starting }()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		for _, bad := range []string{"DATA RACE", "panic"} {
			if strings.Contains(p.log(), bad) {
				t.Errorf("%s:\n%s", bad, p.log())
			}
		}
	})
	p.URL = p.address(t, "listening")
	return p
}

// address waits for the line of the log with which a listener opens, and
// returns its URL.
func (p *process) address(t testing.TB, message string) string {
	t.Helper()
	return "http://" + p.waitForLines(t, message, 1)[0]["addr"].(string)
}

// log returns what the process logged so far.
func (p *process) log() string {
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lines returns the lines of the log with a message.
func (p *process) lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(p.log()) {
		if !strings.HasSuffix(line, "\n") {
			break // it is still being written
		}
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("a line of the log is not JSON: %q", line)
		}
		if entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// waitForLines waits until the log has n lines with a message, and returns
// them.
func (p *process) waitForLines(t testing.TB, message string, n int) []map[string]any {
	t.Helper()
	var found []map[string]any
	within(t, "a line of the log: "+message, func() bool {
		found = p.lines(t, message)
		return len(found) >= n
	})
	return found
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
		t.Errorf("the program ended with %v:\n%s", err, p.log())
	}
}

// sending returns the settings of a server that believes signatures only and
// sends through twilio, an SMS for each error unless more says otherwise.
func sending(twilio string, more ...string) []string {
	return append([]string{
		"TWILIO_BASE_URL=" + twilio, "TWILIO_ACCOUNT_SID=" + twiliotest.AccountSID, "TWILIO_AUTH_TOKEN=" + twiliotest.AuthToken,
		"ALERT_FROM=+15005550006", "ALERT_TO=+15005550009", "PUBLIC_URL=" + publicURL,
		"TRIGGERS=* every 1", "SMS_PER_HOUR=1000000",
	}, more...)
}

// within waits until ok. It asks less and less often: dozens of tests wait at
// the same time.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for pause := 10 * time.Millisecond; !ok(); pause = min(2*pause, 300*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(pause)
	}
}
