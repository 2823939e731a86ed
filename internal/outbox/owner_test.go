package outbox

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestFileThatThisUserMayNotWrite: the error names the folder, the user and the
// command that helps, as for a volume that belongs to root.
func TestFileThatThisUserMayNotWrite(t *testing.T) {
	t.Parallel()
	err := withOwner(&os.PathError{Op: "open", Path: "/data/alerts.db", Err: syscall.EACCES}, "/data/alerts.db")
	want := fmt.Sprintf("open /data/alerts.db: permission denied: this program runs as the user %d, who must be able to write in /data: let root run chown -R %[1]d /data", os.Getuid())
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	full := errors.New("disk full")
	if got := withOwner(full, "/data/alerts.db"); got != full || strings.Contains(got.Error(), "chown") {
		t.Errorf("got %q of a full disk", got)
	}
}
