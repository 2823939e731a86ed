package admin

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/metrics"
)

// TestWrongPasswordsWait: a hundred at a time are answered twice a second or
// after ten seconds, with a line in the log each second, while the operator's
// password opens at once.
func TestWrongPasswordsWait(t *testing.T) {
	t.Parallel()
	settings := adminConfig(t, map[string]string{"ADMIN_PASSWORD": "correct horse"})
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		handler := New(settings, openOutbox(t, settings.Outbox), healthy, metrics.New(), slog.New(slog.NewTextHandler(&log, nil)))
		as := func(password string) int {
			return ask(handler, "/", func(r *http.Request) { r.SetBasicAuth("operator", password) }).Code
		}
		begin := time.Now()
		if code := as("wrong"); code != http.StatusUnauthorized || time.Since(begin) > time.Second {
			t.Errorf("one slip of the fingers: answer %d after %s", code, time.Since(begin))
		}
		guesses, stop := 0, time.Now().Add(time.Minute)
		var mu sync.Mutex
		var guessers sync.WaitGroup
		for range 100 {
			guessers.Go(func() {
				for time.Now().Before(stop) {
					as("wrong")
					mu.Lock()
					guesses++
					mu.Unlock()
				}
			})
		}
		time.Sleep(30*time.Second + time.Millisecond)
		begin = time.Now()
		if code := as("correct horse"); code != http.StatusOK || time.Since(begin) > 0 {
			t.Errorf("the operator among guessers: answer %d after %s", code, time.Since(begin))
		}
		guessers.Wait()
		if guesses > 800 {
			t.Errorf("%d guesses in a minute", guesses)
		}
		if lines := bytes.Count(log.Bytes(), []byte("\n")); lines < 2 || lines > 75 {
			t.Errorf("%d lines in the log", lines)
		}
	})
}
