package e2e

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"twilio-error-sms/internal/pgtest"
	"twilio-error-sms/internal/twiliotest"
)

var stormSize = flag.Int("storm", 1000, "how many webhooks a storm has, redeliveries not counted")

const (
	stormConnections = 16
	otherAccount     = "ACffffffffffffffffffffffffffffffff"
)

// storm is the webhooks of two accounts in random order: errors of 50 codes,
// each code as often in one account as in the other, warnings among them, and
// one in ten of all that a second time.
type storm struct {
	webhooks []webhook
	errors   int // of each account
}

// newStorm returns a storm of about that many webhooks before redeliveries.
// The last error of a code never fires, so that the rule for all codes, which
// waits for the last of all, has an SMS of its own.
func newStorm(size int, random *rand.Rand) storm {
	now := time.Now()
	var codes []string
	times := make(map[string]int)
	add := func(code string) {
		codes = append(codes, code)
		times[code]++
	}
	for range size * 19 / 40 { // the rest of each half are warnings
		if code := 30000 + random.IntN(60); code < 30050 {
			add(fmt.Sprint(code))
		} else {
			add("30007")
		}
	}
	for _, code := range slices.Sorted(maps.Keys(times)) {
		for stormFires(code, times[code]) {
			add(code)
		}
	}
	var s storm
	s.errors = len(codes)
	for _, account := range []string{twiliotest.AccountSID, otherAccount} {
		for _, code := range codes {
			w := newWebhook(code, "storm")
			w.account, w.at = account, now
			s.webhooks = append(s.webhooks, w)
		}
		for range size/2 - size*19/40 {
			w := newWebhook("13226", "only a warning")
			w.account, w.at, w.level = account, now, "WARNING"
			s.webhooks = append(s.webhooks, w)
		}
	}
	for _, i := range random.Perm(len(s.webhooks))[:len(s.webhooks)/10] {
		s.webhooks = append(s.webhooks, s.webhooks[i])
	}
	random.Shuffle(len(s.webhooks), func(i, j int) { s.webhooks[i], s.webhooks[j] = s.webhooks[j], s.webhooks[i] })
	return s
}

// settings are the rules, and the text by which the storm's SMS are told
// apart.
func (s storm) settings() []string {
	return []string{
		fmt.Sprintf("TRIGGERS=* at 1,10,100 daily; 30007 every 50; any at %d daily", s.errors),
		"ALERT_TEXT={account} {code} {count} {link}",
	}
}

// stormFires says the rules again: whether the nth error of a code alerts.
func stormFires(code string, n int) bool {
	if code == "30007" {
		return n%50 == 0
	}
	return n == 1 || n == 10 || n == 100
}

// want counts the SMS by the rules, in a loop that knows nothing of the
// program's own: account, code and count of each.
func (s storm) want() map[string]int {
	want, seen, times := make(map[string]int), make(map[string]bool), make(map[string]int)
	for _, w := range s.webhooks {
		if seen[w.sid] || w.level == "WARNING" {
			continue
		}
		seen[w.sid] = true
		of, all := w.account+" "+w.code, w.account+" any"
		times[of]++
		times[all]++
		if stormFires(w.code, times[of]) {
			want[fmt.Sprint(of, " ", times[of])]++
		}
		if times[all] == s.errors {
			want[fmt.Sprint(all, " ", times[all])]++
		}
	}
	return want
}

// stormSMS is what an SMS of the storm says: account, code, count.
var stormSMS = regexp.MustCompile(`^(AC\w+) (\d+) (\d+)(?:st|nd|rd|th)( of all)? today `)

// stormText returns what an SMS says as want writes it. Which code the last of
// all errors has is chance.
func stormText(body string) string {
	found := stormSMS.FindStringSubmatch(body)
	if found == nil {
		return body
	}
	account, code, count, all := found[1], found[2], found[3], found[4]
	if all != "" {
		code = "any"
	}
	return account + " " + code + " " + count
}

// rage posts the storm over connections, each webhook until it is answered
// 200, and calls halfway, where set, when half of them are.
func (s storm) rage(t *testing.T, servers *replicas, halfway func()) {
	var next, answered atomic.Int64
	var clients sync.WaitGroup
	half := make(chan struct{})
	for range stormConnections {
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.webhooks) || !servers.deliver(t.Context(), client, s.webhooks[i]) {
					return
				}
				if answered.Add(1) == int64(len(s.webhooks)/2) {
					close(half)
				}
			}
		})
	}
	<-half
	if halfway != nil {
		halfway()
	}
	clients.Wait()
}

// The limits of a storm: none to speak of, and the default.
const (
	noLimit = "SMS_PER_HOUR=1000000"
	oneHour = "SMS_PER_HOUR=20"
)

// TestStorm sends a storm and counts the SMS, also with the program killed in
// the middle of it.
func TestStorm(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]string{"all are sent": noLimit, "20 an hour": oneHour} {
		for ending, killed := range map[string]bool{"": false, ", killed": true} {
			t.Run(name+ending, func(t *testing.T) {
				t.Parallel()
				testStorm(t, *stormSize, limit, killed)
			})
		}
	}
}

func testStorm(t *testing.T, size int, limit string, killed bool) {
	seed := rand.Uint64()
	s := newStorm(size, rand.New(rand.NewPCG(seed, 0)))
	twilio := twiliotest.New(t)
	twilio.Latency = 200 * time.Millisecond // so that the kill finds SMS in flight
	dir := t.TempDir()
	settings := append(append(sending(twilio.URL), s.settings()...), limit)
	start := func() *process { return startProgram(t, dir, settings...) }
	servers := &replicas{running: []*process{start()}}
	var halfway func()
	if killed {
		halfway = func() {
			servers.running[0].kill()
			servers.set(0, start())
		}
	}
	begin := time.Now()
	s.rage(t, servers, halfway)
	took := time.Since(begin)
	within(t, "nothing is left to send", func() bool { return settled(databaseIn(dir)) })
	servers.running[0].stop(t)

	want, got := s.want(), make(map[string]int)
	for _, m := range twilio.Messages() {
		got[stormText(m.Form.Get("Body"))]++
	}
	sent, held := len(twilio.Messages()), rows(databaseIn(dir), "sms WHERE status = 'held' AND event <> ''")
	t.Logf("seed %d: %d webhooks in %s, %d SMS by the rules, %d sent, %d held", seed, len(s.webhooks), took.Round(time.Millisecond), len(want), sent, held)
	for text, n := range got {
		if want[text] != n {
			t.Errorf("sent %d times, want %d: %s", n, want[text], text)
		}
	}
	wantSent := len(want)
	if limit == oneHour {
		wantSent = 20
	}
	if sent != wantSent || held != len(want)-wantSent {
		t.Errorf("%d SMS sent and %d held, want %d and %d", sent, held, wantSent, len(want)-wantSent)
	}
	if n := rows(databaseIn(dir), "events"); n != 2*s.errors+2*(size/2-size*19/40) {
		t.Errorf("%d events stored", n)
	}
}

// TestStormOfOurOwnSMS reports each SMS of ours as a new error, before or after
// the answer to our send: there are as many SMS as real errors.
func TestStormOfOurOwnSMS(t *testing.T) {
	t.Parallel()
	for name, replicated := range map[string]bool{"SQLite": false, "Postgres behind PgBouncer, two processes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dirs := []string{t.TempDir()}
			database := databaseIn(dirs[0])
			served := database
			if replicated {
				dirs = append(dirs, t.TempDir())
				postgres := pgtest.Start(t)
				database = postgres.Database(t)
				served = postgres.Pooler(t, database)
			}
			twilio := twiliotest.New(t)
			servers := &replicas{running: make([]*process, len(dirs))}
			var reports sync.WaitGroup
			var n atomic.Int64
			twilio.Accepted = func(m twiliotest.Message) {
				if n.Add(1)%2 == 0 {
					servers.reportFailure(t.Context(), m.SID) // before the answer to our send
				} else {
					reports.Go(func() {
						time.Sleep(rand.N(200 * time.Millisecond))
						servers.reportFailure(t.Context(), m.SID)
					})
				}
			}
			for i, dir := range dirs {
				servers.set(i, startProgram(t, dir, sending(twilio.URL, "DATABASE_URL="+served)...))
			}
			const errors = 60
			for i := range errors {
				w := newWebhook("11200", fmt.Sprint("real error ", i))
				if i%3 == 0 {
					w.code, w.resource = "30003", twiliotest.NewSID("SM")
				}
				servers.deliver(t.Context(), http.DefaultClient, w)
			}
			within(t, "all is told", func() bool { return len(twilio.Messages()) >= errors && settled(database) })
			reports.Wait()
			within(t, "all is decided", func() bool { return settled(database) })
			if got := len(twilio.Messages()); got != errors {
				t.Errorf("%d SMS for %d errors", got, errors)
			}
			if got := rows(database, "events WHERE decision = 'an SMS of our own'"); got != errors {
				t.Errorf("%d events are about our own SMS, want %d", got, errors)
			}
		})
	}
}
