package outbox_test

import (
	"path/filepath"
	"testing"

	"twilio-error-sms/internal/outbox/outboxtest"
)

// sqliteAddress returns the address of a new database.
func sqliteAddress(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "alerts.db")
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	outboxtest.Test(t, sqliteAddress)
}
