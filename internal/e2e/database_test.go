package e2e

import (
	"database/sql"
	"path/filepath"
	"strings"
)

// databaseIn returns the DATABASE_URL of the database of a process in dir.
func databaseIn(dir string) string { return "sqlite:" + filepath.Join(dir, "alerts.db") }

// rows counts rows of the database at address, such as "sms WHERE status =
// 'held'". It returns -1 for a database that cannot be read.
func rows(address, of string) int {
	driver, source := "pgx", address
	if file, found := strings.CutPrefix(address, "sqlite:"); found {
		driver, source = "sqlite", "file:"+file+"?_pragma=query_only(1)&_pragma=busy_timeout(4000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return -1
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM " + of).Scan(&n); err != nil {
		return -1
	}
	return n
}

// settled reports whether nothing is left to decide or to send in the database
// at address.
func settled(address string) bool {
	return rows(address, "waiting") == 0 && rows(address, "sms WHERE status IN ('pending', 'sending')") == 0
}
