package e2e

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// TestOperatorAmongGuessers: a thousand connections that guess the password, and
// hang up or wait, neither keep the operator out nor fill the log.
func TestOperatorAmongGuessers(t *testing.T) {
	t.Parallel()
	p := startProgram(t, t.TempDir(), sending(twiliotest.New(t).URL, "ADMIN_ADDR=127.0.0.1:0", "ADMIN_PASSWORD=correct horse")...)
	page, begin := p.page(t), time.Now()
	ask := func(ctx context.Context, client *http.Client, password string) int {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		request.SetBasicAuth("operator", password)
		answer, err := client.Do(request)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	ctx, stop := context.WithCancel(t.Context())
	var answered, gotIn atomic.Int64
	var guessers sync.WaitGroup
	for i := range 1100 {
		guessers.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: time.Duration(1+i%2*60) * time.Second}
			for ctx.Err() == nil {
				switch ask(ctx, client, "wrong") {
				case http.StatusUnauthorized:
					answered.Add(1)
				case http.StatusOK:
					gotIn.Add(1)
				default: // other tests need the processor too
					time.Sleep(300 * time.Millisecond)
				}
			}
		})
	}
	for range 5 {
		time.Sleep(time.Second)
		within(t, "the operator gets in", func() bool {
			return ask(t.Context(), &http.Client{Timeout: 10 * time.Second}, "correct horse") == http.StatusOK
		})
	}
	stop()
	guessers.Wait()
	seconds := int(time.Since(begin).Seconds())
	if gotIn.Load() > 0 || answered.Load() > int64(100+200*seconds) {
		t.Errorf("in %d s %d guesses were answered, %d got in", seconds, answered.Load(), gotIn.Load())
	}
	if lines := len(p.lines(t, "wrong password for the operator's page")); lines == 0 || lines > seconds+2 {
		t.Errorf("%d lines in the log in %d s", lines, seconds)
	}
	t.Logf("%d guesses answered in %d s", answered.Load(), seconds)
}
