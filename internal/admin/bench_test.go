package admin

import (
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
)

// fill writes a history of n events of 200 codes over the last 30 days into the
// database at path, with their counters and two SMS for each hundredth, as the
// outbox would have left it.
func fill(b *testing.B, path string, n int) {
	b.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	past := fmt.Sprintf(`WITH RECURSIVE past (i, at) AS (
		SELECT 1, %[1]d UNION ALL SELECT i + 1, %[1]d - i * 2592000000 / %[2]d FROM past WHERE i < %[2]d) `, time.Now().UnixMilli(), n)
	for insert, query := range map[string]string{
		`INSERT INTO events (id, received, happened, kind, account, code, level, description, resource, decision) `: `SELECT 'NO' || i, at, at, 'debugger', 'AC1',
			CAST(30000 + i * 7919 % 200 AS TEXT), 'error', 'Something of the usual length went wrong, number ' || i, 'CA' || i, '2nd today' FROM past`,
		`INSERT INTO counts (account, code, period, start, n) `: `SELECT 'AC1', CAST(30000 + i * 7919 % 200 AS TEXT), 'chart', at / 3600000 * 3600000, COUNT(*) FROM past GROUP BY 2, 4
			UNION ALL SELECT 'AC1', CAST(30000 + i * 7919 % 200 AS TEXT), 'daily', at / 86400000 * 86400000, COUNT(*) FROM past GROUP BY 2, 4`,
		`INSERT INTO sms (id, event, code, recipient, body, status, created, next_at, sent_at, sid) `: `SELECT phone || i, 'NO' || i, CAST(30000 + i * 7919 % 200 AS TEXT), phone,
			'An error on your Twilio app occurred! number ' || i, 'delivered', at, at, at, 'SM' || phone || i
			FROM past CROSS JOIN (SELECT '+15551230001' AS phone UNION SELECT '+15551230002') WHERE i % 100 = 0`,
	} {
		if _, err := db.Exec(insert + past + query); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPage serves the page beside a million past events, which must take
// less than 50 ms, and where it is filtered.
func BenchmarkPage(b *testing.B) {
	settings := adminConfig(b, nil)
	settings.Outbox.Logger = slog.New(slog.DiscardHandler)
	path := filepath.Join(b.TempDir(), "alerts.db")
	box, err := outbox.Open(b.Context(), "sqlite:"+path, settings.Outbox)
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	fill(b, path, 1_000_000)
	page := newPage(settings, box, metrics.New())
	for name, query := range map[string]string{"all": "/", "code": "/?code=30001", "rare": "/?code=12345", "failed": "/?status=failed", "delivered": "/?status=delivered"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				answer := ask(page, query, nil)
				if answer.Code != http.StatusOK {
					b.Fatal(answer.Code)
				}
				n, _ := io.Copy(io.Discard, answer.Body)
				b.ReportMetric(float64(n)/1024, "KiB")
			}
		})
	}
}
