package outbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twilio-error-sms/internal/outbox"
)

// TestBadAddresses opens addresses as people write them: each error says what to
// write, and none has anything of the password.
func TestBadAddresses(t *testing.T) {
	t.Parallel()
	const (
		scheme = "DATABASE_URL must be sqlite:FILE or postgres://user@host/database"
		plain  = "DATABASE_URL takes a file without // and parameters: write sqlite:"
		value  = " in DATABASE_URL: write one that Postgres knows, such as sslmode=require, or take the parameter out"
		other  = "pgx cannot read DATABASE_URL: write postgres://user:password@host:5432/database, with %2F for a / in user and password, and so on"
	)
	for address, want := range map[string]string{
		"":                                                   scheme,
		"alerts.db":                                          scheme,
		"/data/alerts.db":                                    scheme,
		"mysql://localhost/test":                             scheme,
		"sqlite:":                                            "DATABASE_URL has no file: use sqlite:alerts.db",
		"sqlite://":                                          "DATABASE_URL has no file: use sqlite:alerts.db",
		"sqlite::memory:":                                    "DATABASE_URL has no file, so a restart would lose what it holds: use sqlite:alerts.db",
		"sqlite://alerts.db":                                 plain + "alerts.db",
		"sqlite:file:alerts.db?cache=shared":                 plain + "alerts.db",
		"sqlite:~/alerts.db":                                 "DATABASE_URL has a ~, which means nothing here: write the folder in full, such as sqlite:/var/lib/alerts.db",
		"sqlite:///data/alerts.db":                           plain + "/data/alerts.db",
		"sqlite:////data/alerts.db":                          plain + "/data/alerts.db",
		"sqlite:./alerts.db?_journal_mode=WAL":               plain + "./alerts.db",
		"postgres://u:%sesame@127.0.0.1:1/d":                 "DATABASE_URL has a raw % in its user or password: write %25 for it",
		"postgres://u:sesame%@127.0.0.1:1/d":                 "DATABASE_URL has a raw % in its user or password: write %25 for it",
		"postgres://u:open@sesame@[::1]:1/d":                 "DATABASE_URL has a raw @ in its user or password: write %40 for it",
		"postgres://u:open/sesame@[::1]:1/d":                 other,
		"postgres://u:open sesame@[::1]:1/d":                 other,
		"postgres://u:sesame@[::1/d":                         other,
		"postgres://u:sesame@[::1]:1/d?sslmode=no-verify":    "pgx cannot use the value of sslmode" + value,
		"postgres://u:12?sesame@[::1]:1/d?sslmode=no-verify": "pgx cannot use the value of sslmode" + value,
		"postgres://u:sesame@[::1]:1/d?x=y&connect_timeout=sesame":    "pgx cannot use the value of connect_timeout" + value,
		"postgres://u:sesame@[::1]:1/d?target_session_attrs=primary1": "pgx cannot use the value of target_session_attrs" + value,
		"postgres://u:sesame@[::1]:1/d?pool_max_conns=many":           `pool_max_conns in DATABASE_URL is "many": write how many connections there may be, such as pool_max_conns=8`,
	} {
		box, err := outbox.Open(t.Context(), address, defaults(t, "* every 1"))
		if err == nil {
			box.Close()
			t.Errorf("%q was opened", address)
		} else if got := err.Error(); got != "opening the database (DATABASE_URL): "+want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
	box, err := outbox.Open(t.Context(), "postgres://user:sesame@127.0.0.1:1/database", defaults(t, "* every 1"))
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v, %v, want an error without the password", box, err)
	}
}

// TestParametersOfOthers are those of other libraries, which Postgres and PgBouncer
// do not know.
func TestParametersOfOthers(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	address := server.Database(t)
	for name, address := range map[string]string{"Postgres": address, "PgBouncer": server.Pooler(t, address)} {
		for _, parameter := range []string{"pgbouncer", "schema"} {
			box, err := outbox.Open(t.Context(), address+"&"+parameter+"=true", defaults(t, "* every 1"))
			if err == nil {
				box.Close()
				t.Errorf("%s took %s", name, parameter)
			} else if got := err.Error(); !strings.Contains(got, parameter) || !strings.HasSuffix(got, ": take that parameter out of DATABASE_URL") {
				t.Errorf("%s says %q of %s", name, got, parameter)
			}
		}
	}
}

// TestFilesBecomePrivate: they hold phone numbers, and a copy may have left them
// open to all.
func TestFilesBecomePrivate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "alerts.db")
	open(t, "sqlite:"+file, defaults(t, "* every 1")).Close()
	if err := os.WriteFile(file+"-wal", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, "sqlite:"+file, defaults(t, "* every 1"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(file + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("alerts.db%s is %v", suffix, info.Mode())
		}
	}
}
