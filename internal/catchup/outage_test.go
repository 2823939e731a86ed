package catchup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// witness notes what is recorded, delivery by delivery, in the order of the
// commits.
type witness struct {
	mu         sync.Mutex
	deliveries [][]alert.Event
}

// watch returns a recorder that reports everything to w.
func (w *witness) watch(r catchup.Recorder) catchup.Recorder { return watchedRecorder{r, w} }

type watchedRecorder struct {
	catchup.Recorder
	witness *witness
}

func (r watchedRecorder) Record(ctx context.Context, events []alert.Event) ([]outbox.Result, error) {
	r.witness.mu.Lock()
	defer r.witness.mu.Unlock()
	results, err := r.Recorder.Record(ctx, events)
	if err == nil {
		r.witness.deliveries = append(r.witness.deliveries, slices.Clone(events))
	}
	return results, err
}

// alerts returns what the rule "each code at 1, 10 and 100 a day" makes of the
// deliveries: where one reaches several of these counts, the last of them.
func (w *witness) alerts() []string {
	seen, count := make(map[string]bool), make(map[string]int)
	var alerts []string
	for _, delivery := range w.deliveries {
		reached := make(map[string]string)
		for _, e := range delivery {
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			count[e.Code]++
			switch count[e.Code] {
			case 1:
				reached[e.Code] = "1st"
			case 10, 100:
				reached[e.Code] = fmt.Sprintf("%dth", count[e.Code])
			}
		}
		for code, nth := range reached {
			alerts = append(alerts, code+" "+nth)
		}
	}
	slices.Sort(alerts)
	return alerts
}

// webhook returns the event of a Debugger webhook about e.
func webhook(e twiliotest.Entry) (alert.Event, error) {
	return alert.ParseForm(url.Values{
		"Sid": {e.SID}, "AccountSid": {twiliotest.AccountSID}, "Level": {"ERROR"}, "Timestamp": {e.Generated.UTC().Format(time.RFC3339)},
		"Payload": {fmt.Sprintf(`{"resource_sid":"CA0123456789abcdef0123456789abcdef","error_code":%q}`, e.Code)},
	}, "")
}

// hour returns a thousand errors of the next hour, in order; some of them
// enter Twilio's log minutes later.
func hour(random *rand.Rand) []twiliotest.Entry {
	codes := []string{"11200", "11200", "11200", "11200", "12100", "30003", "30007", "13227", "21610", "82002"}
	entries := make([]twiliotest.Entry, 1000)
	for i := range entries {
		at := time.Now().Add(time.Duration(random.Int64N(int64(time.Hour))))
		entries[i] = twiliotest.Entry{SID: twiliotest.NewSID("NO"), Code: codes[random.IntN(len(codes))], Level: "error", Generated: at, Created: at.Add(time.Second)}
		if random.IntN(4) == 0 {
			entries[i].Created = at.Add(time.Duration(random.Int64N(int64(10 * time.Minute))))
		}
		if i < 3 { // codes that happen once
			entries[i].Code = fmt.Sprint(90001 + i)
		}
	}
	slices.SortFunc(entries, func(a, b twiliotest.Entry) int { return a.Generated.Compare(b.Generated) })
	return entries
}

func TestOutage(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.text = "{code} {count} {time}"
				random := rand.New(rand.NewPCG(seed, 0))
				errors := hour(random)
				w.log.Add(errors...)
				seen := new(witness)
				w.wrapRecorder = seen.watch
				down := random.Perm(60)[:20] // minutes
				running, delivered := w.serve(), 0
				for minute, rest := 0, errors; minute < 60; minute++ {
					end := noon.Add(time.Duration(minute+1) * time.Minute)
					switch isDown := slices.Contains(down, minute); {
					case isDown && running != nil:
						running.stop()
						running = nil
					case !isDown && running == nil:
						running = w.serve()
					}
					for ; len(rest) > 0 && rest[0].Generated.Before(end); rest = rest[1:] {
						time.Sleep(time.Until(rest[0].Generated))
						if running == nil {
							continue
						}
						event, err := webhook(rest[0])
						if err != nil {
							w.Fatal(err)
						}
						if _, err := running.recorder.Record(w.Context(), []alert.Event{event}); err != nil {
							w.Fatal(err)
						}
						delivered++
					}
					time.Sleep(time.Until(end))
				}
				if running == nil {
					w.serve()
				}
				time.Sleep(16 * time.Minute) // the last entry and the pace
				w.Logf("%d of %d webhooks were delivered", delivered, len(errors))
				w.checkCounts(errors)
				var got []string
				for _, sms := range w.phone.messages() {
					words := strings.Fields(sms)
					got = append(got, words[0]+" "+words[1])
				}
				if want := seen.alerts(); !slices.Equal(got, want) {
					w.Errorf("got SMS %q, want %q", got, want)
				}
			})
		})
	}
}

// checkCounts checks that each error was counted once.
func (w *world) checkCounts(errors []twiliotest.Entry) {
	happened := make(map[string]int64)
	for _, e := range errors {
		happened[e.Code]++
	}
	if got := w.query(`SELECT COUNT(*) FROM events`); int(got) != len(errors) {
		w.Errorf("%d errors were recorded, want %d", got, len(errors))
	}
	for code, want := range happened {
		if got := w.query(`SELECT SUM(n) FROM counts WHERE period = 'daily' AND code = $1`, code); got != want {
			w.Errorf("%s was counted %d times, want %d", code, got, want)
		}
	}
}
