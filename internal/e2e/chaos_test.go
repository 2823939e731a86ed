package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/twiliotest"
)

var chaosFor = flag.Duration("chaos", 5*time.Second, "how long the chaos lasts at least, before everything may settle")

// TestChaos kills processes at random moments while webhooks arrive and Twilio
// fails at random. At the end every webhook that was answered is one SMS.
func TestChaos(t *testing.T) {
	t.Parallel()
	t.Run("SQLite, one process", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		chaos(t, databaseIn(dir), []string{dir})
	})
	t.Run("Postgres, three processes", func(t *testing.T) {
		t.Parallel()
		chaos(t, pgtest.Start(t).Database(t), []string{t.TempDir(), t.TempDir(), t.TempDir()})
	})
}

// chaosFaults are what goes wrong with an SMS in chaos. Silence lasts longest,
// and is rare.
var chaosFaults = []twiliotest.Fault{
	twiliotest.TooManyRequests, twiliotest.ServerError, twiliotest.ServerErrorAfter, twiliotest.BadGateway, twiliotest.BadGatewayAfter,
	twiliotest.Reset, twiliotest.ResetAfter,
}

// chaosDescription finds what tells a webhook of the chaos from all others.
var chaosDescription = regexp.MustCompile(`chaos [0-9]+ of client [0-9]+\.`)

// chaosFault returns a fault for one attempt in four.
func chaosFault() twiliotest.Fault {
	switch n := rand.N(400); {
	case n == 0:
		return twiliotest.Silence
	case n == 1:
		return twiliotest.SilenceAfter
	case n < 100:
		return chaosFaults[n%len(chaosFaults)]
	}
	return ""
}

// chaos runs a process in each of dirs over one database, and shows that
// nothing is lost and nothing doubled.
func chaos(t *testing.T, database string, dirs []string) {
	twilio := twiliotest.New(t)
	twilio.Lag, twilio.Latency = 3*time.Second, 50*time.Millisecond
	var calm atomic.Bool
	twilio.Fault = func(int, url.Values) twiliotest.Fault {
		if calm.Load() {
			return ""
		}
		return chaosFault()
	}
	start := func(i int) *process {
		return startProgram(t, dirs[i], sending(twilio.URL, "DATABASE_URL="+database)...)
	}
	servers := &replicas{running: make([]*process, len(dirs))}
	for i := range dirs {
		servers.set(i, start(i))
	}

	// Twilio reports each SMS of ours as a new error, at any moment.
	var reports sync.WaitGroup
	twilio.Accepted = func(m twiliotest.Message) {
		reports.Go(func() {
			time.Sleep(rand.N(3 * time.Second))
			servers.reportFailure(t.Context(), m.SID)
		})
	}

	ctx, end := context.WithCancel(t.Context())
	defer end()
	var mu sync.Mutex
	answered := make(map[string]bool) // by description
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport), Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				description := fmt.Sprintf("chaos %d of client %d.", n, i)
				w := newWebhook("11200", description)
				if n%2 == 0 { // about a message, which may be ours
					w.resource = twiliotest.NewSID("SM")
				}
				if servers.deliver(ctx, client, w) {
					mu.Lock()
					answered[description] = true
					mu.Unlock()
				}
				time.Sleep(rand.N(600 * time.Millisecond))
			}
		})
	}
	// A busy machine takes longer to make a chaos: a few kills among many
	// webhooks.
	kills := 0
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return kills > 1 && len(answered) > 50
	}
	pause := min(*chaosFor/4, 10*time.Second)
	for begin := time.Now(); time.Since(begin) < *chaosFor || !enough(); {
		time.Sleep(pause/2 + rand.N(pause))
		i := rand.N(len(dirs))
		servers.set(i, nil).kill()
		kills++
		time.Sleep(rand.N(time.Second))
		servers.set(i, start(i))
	}
	end()
	clients.Wait()
	calm.Store(true)
	// An attempt in doubt is looked up 30 s after its process was killed, and
	// later if it has failed often.
	within(t, "nothing is left to send", func() bool { return settled(database) })
	reports.Wait()
	within(t, "nothing is left to decide", func() bool { return settled(database) })
	for _, p := range servers.running {
		p.stop(t)
	}

	times := make(map[string]int)
	for _, m := range twilio.Messages() {
		times[chaosDescription.FindString(m.Form.Get("Body"))]++
	}
	lost, doubled := 0, 0
	for description, n := range times {
		if n > 1 {
			doubled++
			t.Errorf("sent %d times: %s", n, description)
		}
	}
	for description := range answered {
		if times[description] == 0 {
			lost++
			t.Errorf("answered, but never sent: %s", description)
		}
	}
	t.Logf("%d kills, %d webhooks answered, %d SMS in %d attempts with %d looks into Twilio's log, %d lost, %d doubled",
		kills, len(answered), len(twilio.Messages()), twilio.Attempts(), twilio.Lists(), lost, doubled)
}
