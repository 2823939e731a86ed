// Package pgtest starts private Postgres servers for tests, from the postgres
// and initdb that the machine has. They listen on a free port of the loopback
// address, keep their data in a folder of their own, and end with the test.
package pgtest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

const (
	startTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// Server is a private Postgres server.
type Server struct {
	bin        string // the folder of postgres and initdb
	dir        string
	port       int
	credential *syscall.Credential // nil: ours
	process    *exec.Cmd
	exited     chan error
	databases  atomic.Int64
}

// Start starts a server that ends with the test. Where the machine has no
// Postgres it skips the test.
func Start(t testing.TB) *Server {
	t.Helper()
	bin := find()
	if bin == "" {
		t.Skip("no postgres and initdb on this machine, in PATH or /usr/lib/postgresql/*/bin: install the package postgresql")
	}
	// Not t.TempDir, whose parent is closed to the server's user.
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{bin: bin, dir: dir}
	if err := s.dropRoot(); err != nil {
		t.Fatalf("Postgres refuses to run as root: %v", err)
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(func() { s.end(syscall.SIGINT) })
	// Another process may take a free port before the server does.
	for try := 1; ; try++ {
		if s.port, err = freePort(); err != nil {
			t.Fatal(err)
		}
		if err = s.start(); err == nil {
			return s
		}
		if try == 3 {
			log, _ := os.ReadFile(s.logFile())
			t.Fatalf("starting Postgres: %v\n%s", err, log)
		}
	}
}

// find returns the folder of postgres and initdb, or "".
func find() string {
	if postgres, err := exec.LookPath("postgres"); err == nil {
		if _, err := exec.LookPath(filepath.Join(filepath.Dir(postgres), "initdb")); err == nil {
			return filepath.Dir(postgres)
		}
	}
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(folders) == 0 {
		return ""
	}
	version := func(path string) float64 {
		v, _ := strconv.ParseFloat(strings.Split(path, "/")[4], 64)
		return v
	}
	return filepath.Dir(slices.MaxFunc(folders, func(a, b string) int { return cmp.Compare(version(a), version(b)) }))
}

// dropRoot chooses an unprivileged user for the server and gives it the
// folder.
func (s *Server) dropRoot() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

// command returns a program of Postgres, to be run by the server's user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir}
	c.SysProcAttr = attributes(s.credential)
	return c
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// freePort returns a port that nobody listens on, below those that systems
// give to connections: one of them could take it while the server is stopped.
func freePort() (int, error) {
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(10000)))
		if err == nil {
			return l.Addr().(*net.TCPAddr).Port, l.Close()
		}
		if try == 100 {
			return 0, err
		}
	}
}

// start starts the server on its port and waits until it answers.
func (s *Server) start() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+s.data(), "-c", "fsync=on", "-c", "shared_buffers=16MB")
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	process, exited := s.process, make(chan error, 1)
	s.exited = exited
	go func() { exited <- process.Wait() }()
	db, err := sql.Open("pgx", s.Address("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		refused := db.PingContext(ctx)
		if refused == nil {
			return nil
		}
		select {
		case err := <-exited:
			exited <- err // for end
			return fmt.Errorf("postgres ended: %w", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), refused)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the server with sig, and with SIGKILL if that takes too long.
func (s *Server) end(sig syscall.Signal) {
	if s.process == nil {
		return
	}
	s.process.Process.Signal(sig)
	s.signalAll(syscall.SIGCONT)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		s.signalAll(syscall.SIGKILL)
		<-s.exited
	}
	s.process = nil
}

// Address returns the address of a database of the server.
func (s *Server) Address(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Database creates an empty database and returns its address.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", s.Address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.Address(name)
}

// Stop ends the server as an operator does who is in a hurry: connections are
// cut.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Crash ends the server as a crash does: nothing is written any more.
func (s *Server) Crash() { s.end(syscall.SIGQUIT) }

// Restart starts a server that was stopped or crashed, with its data and on
// its port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		log, _ := os.ReadFile(s.logFile())
		t.Fatalf("restarting Postgres: %v\n%s", err, log)
	}
}

// Pause makes the server fall silent until Resume or the end of the test:
// connections stay open, nobody answers.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("pausing a server needs /proc, to find its processes")
	}
	t.Cleanup(s.Resume)
	s.signalAll(syscall.SIGSTOP)
}

// Resume ends a pause.
func (s *Server) Resume() { s.signalAll(syscall.SIGCONT) }

// signalAll sends sig to the server and to its processes, one for each
// connection, which are sessions of their own.
func (s *Server) signalAll(sig syscall.Signal) {
	if s.process == nil {
		return
	}
	parent := s.process.Process.Pid
	s.process.Process.Signal(sig)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var pid, ppid int
		var state string
		fmt.Sscan(string(stat), &pid)
		fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &ppid)
		if ppid == parent {
			syscall.Kill(pid, sig)
		}
	}
}
