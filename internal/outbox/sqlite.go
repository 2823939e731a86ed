package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite" // the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func openSQLite(ctx context.Context, rest string) (*database, error) {
	file, err := sqliteFile(rest)
	if err != nil {
		return nil, err
	}
	if there, err := os.Stat(file); err == nil && !there.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: use sqlite:alerts.db", file)
	}
	opened, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, withRemedy(err, file)
	}
	// A commit is on disk when it returns (synchronous=FULL), so that an
	// answered webhook survives a power cut.
	writes, writesErr := openFile(file, 1, "immediate", "page_size(1024)", "busy_timeout(4000)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)", "cache_size(-2000)")
	reads, readsErr := openFile(file, 2, "deferred", "busy_timeout(4000)", "cache_size(-2000)", "query_only(1)")
	if err := errors.Join(writesErr, readsErr); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	db := &database{writes: writes, reads: reads, file: opened}
	if err := db.migrate(ctx, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, withRemedy(err, file)), db.Close())
	}
	// The files hold phone numbers: only their owner may read them. Not every volume
	// knows modes.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Chmod(file+suffix, 0o600)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var checkpoints sync.WaitGroup
	checkpoints.Go(func() { db.checkpoint(running) })
	db.stop = func() {
		stop()
		checkpoints.Wait()
	}
	return db, nil
}

// withRemedy adds to an error of a file that is in no folder, that this user may not
// write, or beside which SQLite may not make its other files, what to do.
func withRemedy(err error, file string) error {
	folder, absErr := filepath.Abs(filepath.Dir(file))
	var code *sqlite.Error
	readOnly := errors.As(err, &code) && code.Code()&0xff == sqlite3.SQLITE_READONLY
	there, missing := os.Stat(file)
	switch {
	case absErr != nil:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make the folder %s first", err, folder)
	case !readOnly && !errors.Is(err, fs.ErrPermission):
		return err
	case missing == nil && there.Mode().Perm()&0o600 != 0o600:
		return fmt.Errorf("%w: let its owner run chmod 600 %s", err, file)
	}
	return fmt.Errorf("%w: this program runs as the user %d, who must be able to write in %s: let root run chown -R %[2]d %[3]s", err, os.Getuid(), folder)
}

// openFile opens a file of SQLite, for that many connections at most.
func openFile(file string, connections int, lock string, pragmas ...string) (*sql.DB, error) {
	settings := url.Values{"_txlock": {lock}, "_pragma": pragmas}
	location := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", location.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

// walPages is the length in pages from which SQLite's log starts again from its
// beginning.
const walPages = 1000

// checkpoint moves what SQLite has logged into its file, once a second until
// ctx ends. SQLite itself would do so in the middle of a commit, and webhooks
// would wait for it, 100 ms during a purge. A failure, for example on a full
// disk, is tried again; commits report it.
func (db *database) checkpoint(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var changed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wal, err := os.Stat(db.file.Name() + "-wal")
		if err != nil || wal.ModTime().Equal(changed) {
			continue
		}
		changed = wal.ModTime()
		db.move(ctx)
	}
}

// move moves what is in the log. If that is much, it starts the log again from
// its beginning.
func (db *database) move(ctx context.Context) {
	const passive = "PRAGMA wal_checkpoint(PASSIVE)"
	var busy, logged, moved int
	for range 3 { // each moves what was logged during the one before
		before := moved
		if err := db.reads.QueryRowContext(ctx, passive).Scan(&busy, &logged, &moved); err != nil || moved < walPages {
			return
		}
		if err := db.file.Sync(); err != nil {
			return
		}
		if moved-before < walPages {
			break
		}
	}
	// SQLite can start the log again only after all of it has moved. While commits
	// go on there is always a rest, which is small by now: they wait for it.
	db.writes.ExecContext(ctx, passive)
}
