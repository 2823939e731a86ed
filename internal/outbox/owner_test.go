package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFileThatThisUserMayNotWrite: the error names the folder, the user and the
// command that helps, as for a volume that belongs to root.
func TestFileThatThisUserMayNotWrite(t *testing.T) {
	t.Parallel()
	err := withRemedy(&os.PathError{Op: "open", Path: "/data/alerts.db", Err: syscall.EACCES}, "/data/alerts.db")
	want := fmt.Sprintf("open /data/alerts.db: permission denied: this program runs as the user %d, who must be able to write in /data: let root run chown -R %[1]d /data", os.Getuid())
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	full := errors.New("disk full")
	if got := withRemedy(full, "/data/alerts.db"); got != full || strings.Contains(got.Error(), "chown") {
		t.Errorf("got %q of a full disk", got)
	}
}

// TestFilesThatAreNoDatabase: the error says what to do, and nothing is changed.
func TestFilesThatAreNoDatabase(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	notes := filepath.Join(folder, "notes.txt")
	if err := os.WriteFile(notes, []byte("These are notes, and longer than the header of a database: 0123456789 0123456789 0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		notes: "file is not a database", folder: "is no file: use sqlite:alerts.db",
		filepath.Join(folder, "none", "alerts.db"): "make the folder " + filepath.Join(folder, "none") + " first",
	} {
		if _, err := Open(t.Context(), "sqlite:"+file, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	if now, err := os.Stat(notes); err != nil || now.Mode().Perm() != 0o644 {
		t.Errorf("the notes have become %v, %v", now.Mode(), err)
	}
	closed := filepath.Join(folder, "closed.db")
	if err := os.WriteFile(closed, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := withRemedy(&os.PathError{Op: "open", Path: closed, Err: syscall.EACCES}, closed); !strings.Contains(err.Error(), "chmod 600 "+closed) {
		t.Errorf("a file of mode 0400: %v", err)
	}
}
