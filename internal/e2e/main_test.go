// Package e2e holds tests only. They run the program as it ships: built once,
// started as a process, and judged by what it answers, logs, stores and sends.
//
// The stand-in for Twilio runs in the tests; Postgres, Chromium and strace are
// those of the machine, and a test that lacks one says so and skips.
package e2e

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

var programPath = flag.String("program", "", "test, or measure, the program at this absolute `path` instead of building it")

// asBare makes this test binary the bare server of TestFigures.
const asBare = "TWILIO_ERROR_SMS_BARE"

func TestMain(m *testing.M) {
	if os.Getenv(asBare) != "" {
		bare()
		return
	}
	flag.Parse()
	// Nearly all tests wait for time-outs and leases: they must wait at the
	// same time. With the race detector they work more than they wait.
	flag.Set("test.parallel", "100")
	if hasRaceDetector() {
		flag.Set("test.parallel", "8")
	}
	// A POST on a connection that the server closes at that moment, after 30 s of
	// rest, is not sent again.
	http.DefaultTransport.(*http.Transport).IdleConnTimeout = 10 * time.Second
	code, err := testProgram(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testProgram puts the program first in PATH and runs the tests.
func testProgram(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "twilio-error-sms")
	if *programPath == "" {
		err = build(program)
	} else {
		err = os.Symlink(*programPath, program)
	}
	if err != nil {
		return 0, err
	}
	os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	os.Setenv("GORACE", "atexit_sleep_ms=10") // of a second, each time the program ends
	return m.Run(), nil
}

// build builds the program as a user would, but with the race detector where
// the tests have it.
func build(path string) error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if hasRaceDetector() {
		build.Args = append(build.Args, "-race")
		build.Env = append(build.Env, "CGO_ENABLED=1")
	}
	build.Args = append(build.Args, "twilio-error-sms")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}

// hasRaceDetector reports whether this test binary was built with -race.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
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
