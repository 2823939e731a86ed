// Package pgtest is for tests: it starts private Postgres servers, by the
// programs postgres and initdb of the machine.
//
// A server keeps its data in a folder of its own and listens on a Unix socket
// there: there is no port that another program could take. A test that needs
// TCP gets a port by Server.TCP.
package pgtest

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

const (
	startTimeout = time.Minute
	stopTimeout  = 10 * time.Second
	// port is part of the name of each server's socket.
	port = "5432"
)

// Server is a private Postgres server.
type Server struct {
	bin        string // the folder of postgres and initdb
	dir        string
	settings   []string
	credential *syscall.Credential // nil: ours
	process    *exec.Cmd
	exited     chan error
	names      atomic.Int64 // of databases and schemas so far
}

// Start starts a server that ends with the test, with settings such as
// "fsync=off". Where the machine has no Postgres it skips the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := started(t, func() (*Server, error) { return newServer(settings) })
	t.Cleanup(s.Close)
	return s
}

// Shared is a server for several tests. The first that asks for it starts it;
// TestMain closes it.
type Shared struct {
	Settings []string // as of Start

	once   sync.Once
	server *Server
	err    error
}

// Start returns the server. Where the machine has no Postgres it skips the
// test.
func (s *Shared) Start(t testing.TB) *Server {
	t.Helper()
	return started(t, func() (*Server, error) {
		s.once.Do(func() { s.server, s.err = newServer(s.Settings) })
		return s.server, s.err
	})
}

// Close ends the server, if a test started it.
func (s *Shared) Close() {
	if s.server != nil {
		s.server.Close()
	}
}

// started returns the server that start starts.
func started(t testing.TB, start func() (*Server, error)) *Server {
	t.Helper()
	s, err := start()
	if errors.Is(err, errMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var errMissing = errors.New("no postgres and initdb on this machine, in PATH or /usr/lib/postgresql/*/bin: install the package postgresql")

func newServer(settings []string) (*Server, error) {
	bin := find()
	if bin == "" {
		return nil, errMissing
	}
	// Not a folder of the test: its parent is closed to the server's user.
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, settings: settings}
	if err := s.create(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// create creates the server's data and starts it.
func (s *Server) create() error {
	if err := s.dropRoot(); err != nil {
		return fmt.Errorf("starting Postgres as another user than root: %w", err)
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.start()
}

// Close ends the server and deletes its data.
func (s *Server) Close() {
	s.Crash() // to stop would write what nobody reads any more
	os.RemoveAll(s.dir)
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

// command returns a program, by its path or one of Postgres, to be run by the
// server's user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.bin, name)
	}
	c := exec.Command(name, args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir}
	c.SysProcAttr = attributes(s.credential)
	return c
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// start starts the server and waits until it answers.
func (s *Server) start() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", s.data(), "-p", port}
	for _, setting := range append([]string{"listen_addresses=", "unix_socket_directories=" + s.dir, "shared_buffers=16MB"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	s.process = s.command("postgres", args...)
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
			s.process = nil
			log, _ := os.ReadFile(s.logFile())
			return fmt.Errorf("postgres ended: %w\n%s", err, log)
		case <-ctx.Done():
			s.end(syscall.SIGQUIT)
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
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%s&sslmode=disable", database, url.QueryEscape(s.dir), port)
}

// TCP returns the address of a database by a port of the loopback address,
// as a Switch has it.
func (s *Server) TCP(t testing.TB, database string) string {
	t.Helper()
	return NewSwitch(t, s).Address(database)
}

// socket returns the path of the server's socket.
func (s *Server) socket() string { return filepath.Join(s.dir, ".s.PGSQL."+port) }

// Switch is a port of the loopback address that stands for a server, as a name
// does that means another server after a fail-over. It stays open until the test
// ends, whether the server runs or not: connections are passed on to its socket,
// or closed where nobody listens.
type Switch struct {
	address net.Addr
	server  atomic.Pointer[Server]
	lose    atomic.Bool
}

// NewSwitch returns a Switch that stands for server.
func NewSwitch(t testing.TB, server *Server) *Switch {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &Switch{address: l.Addr()}
	s.To(server)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go s.pass(client)
		}
	}()
	return s
}

// To makes the port stand for another server from the next connection on.
func (s *Switch) To(server *Server) { s.server.Store(server) }

// LoseCommit cuts the connection of the next commit: the server gets it, its
// client never hears what became of it.
func (s *Switch) LoseCommit() { s.lose.Store(true) }

// Address returns the address of a database by the port.
func (s *Switch) Address(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", s.address, database)
}

// Host returns the host and the port.
func (s *Switch) Host() string { return s.address.String() }

// pass passes a connection on to the server's socket until one of both ends.
func (s *Switch) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", s.server.Load().socket())
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer client.Close()
		io.Copy(client, server)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		lost := bytes.Contains(buffer[:n], []byte("commit\x00")) && s.lose.CompareAndSwap(true, false)
		if lost {
			client.Close()
		}
		if _, err := server.Write(buffer[:n]); err != nil || lost {
			return
		}
	}
}

// Database creates an empty database and returns its address.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.Address(s.make(t, "DATABASE"))
}

// Schema creates an empty schema in a database that tests share, and returns an
// address whose sessions see that schema only. It takes a fiftieth of a
// database's time. A PgBouncer refuses it.
func (s *Server) Schema(t testing.TB) string {
	t.Helper()
	return s.Address("postgres") + "&search_path=" + s.make(t, "SCHEMA")
}

// make creates a database or a schema and returns its name.
func (s *Server) make(t testing.TB, kind string) string {
	t.Helper()
	db, err := sql.Open("pgx", s.Address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("test%d", s.names.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE "+kind+" "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Pooler starts a PgBouncer before the server that ends with the test, with
// four connections for each database, each lent for a transaction. It returns
// the address, by way of it, of the database at address. Where the machine has
// no PgBouncer it skips the test.
func (s *Server) Pooler(t testing.TB, address string) string {
	t.Helper()
	path := "/usr/sbin/pgbouncer" // often not in PATH
	if found, err := exec.LookPath("pgbouncer"); err == nil {
		path = found
	} else if _, err := os.Stat(path); err != nil {
		t.Skip("no pgbouncer on this machine, in PATH or /usr/sbin: install the package pgbouncer")
	}
	dir, err := os.MkdirTemp(s.dir, "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	config, log := filepath.Join(dir, "config"), filepath.Join(dir, "log")
	settings := fmt.Sprintf("[databases]\n* = host=%s port=%s user=postgres\n[pgbouncer]\nunix_socket_dir=%s\nlisten_port=%s\nauth_type=any\npool_mode=transaction\ndefault_pool_size=4\nlogfile=%s\n",
		s.dir, port, dir, port, log)
	if err := os.WriteFile(config, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := s.credential; c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	pooler := s.command(path, "-q", config)
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pooler.Process.Kill()
		pooler.Wait()
	})
	pooled := strings.Replace(address, url.QueryEscape(s.dir), url.QueryEscape(dir), 1)
	db, err := sql.Open("pgx", pooled+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := db.PingContext(t.Context())
		if err == nil {
			return pooled
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(log)
			t.Fatalf("starting PgBouncer: %v\n%s", err, log)
		}
	}
}

// Stop ends the server as an operator does who is in a hurry: connections are
// cut.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Crash ends the server as a crash does: nothing is written any more.
func (s *Server) Crash() { s.end(syscall.SIGQUIT) }

// Restart starts a server that was stopped or crashed, with its data.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("restarting Postgres: %v", err)
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
