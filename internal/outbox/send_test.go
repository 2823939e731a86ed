package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestTwoWorkersNeverSendTheSameSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.options.PerHour = 1000
		s.openAlerting("* every 1")
		s.work()
		defer work(s.box, s.phones)()
		for i := range 10 {
			var batch []alert.Event
			for j := range 10 {
				batch = append(batch, event(fmt.Sprintf("NO%d.%d", i, j), "11200"))
			}
			for j := range batch {
				s.record(batch[j])
			}
		}
		s.stands(100, outbox.Sent)
		s.texted(100)
	})
}

func TestSMSRefusedForGoodHasFailed(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(int, alert.SMS) (bool, error) { return false, errRefused }
		s.work()
		s.record(event("NO1", "11200"))
		s.stands(1, outbox.Failed)
		s.elapse(time.Hour)
		if n := s.phones.Attempts(); n != 1 {
			s.Errorf("%d attempts, want 1", n)
		}
		if got := s.box.Health(s.Context()); got.Problem != "" || !slices.Equal(got.Notes, []string{"1 SMS failed in the last day: 21610"}) {
			s.Errorf("health is %+v", got)
		}
	})
}

func TestSMSNotAcceptedIsTriedAgain(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) { return n == 3, errorUnless(n == 3, errNotAccepted) }
		s.work()
		s.record(event("NO1", "11200"))
		s.eventually("the third attempt", func() bool { return len(s.phones.Log()) == 1 }) // after 3 s
		s.stands(1, outbox.Sent)
		if s.phones.Lookups() > 0 {
			s.Error("what was never in doubt was looked for")
		}
	})
}

func errorUnless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func TestGiveUpAfterEndsTheAttemptsAndHealthTells(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(int, alert.SMS) (bool, error) { return false, errNotAccepted }
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.rest()
		s.elapse(23 * time.Hour)
		before := s.phones.Attempts()
		s.work()
		s.eventually("another attempt", func() bool { return s.phones.Attempts() > before })
		s.rest()
		s.elapse(2 * time.Hour)
		s.work()
		s.stands(1, outbox.Failed)
		want := []string{"1 SMS failed in the last day: given up: not accepted within GIVE_UP_AFTER"}
		if got := s.box.Health(s.Context()); got.Problem != "" || !slices.Equal(got.Notes, want) {
			s.Errorf("health is %+v", got)
		}
		s.rest()
		s.elapse(25 * time.Hour)
		if got := s.box.Health(s.Context()); got.Problem != "" || got.Notes != nil {
			s.Errorf("two days later health is %+v", got)
		}
	})
}

func TestBrokenErrorTextOfASenderDoesNotPoisonAnSMS(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
			if n == 1 {
				return false, &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("a\x00b\xff" + strings.Repeat("ü", 200))}
			}
			return true, nil
		}
		s.work()
		s.record(event("NO1", "11200"))
		s.tried()
		s.stands(1, outbox.Sent)
		s.texted(1)
	})
}

// attempts notes when an SMS was tried, and answers as Answer says.
type attempts struct {
	Answer func(n int) error

	mu sync.Mutex
	at []time.Time
}

func (a *attempts) Send(context.Context, alert.SMS) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return "SM1", a.Answer(len(a.at))
}

// pauses returns the times between attempts.
func (a *attempts) pauses() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pauses []time.Duration
	for i := 1; i < len(a.at); i++ {
		pauses = append(pauses, a.at[i].Sub(a.at[i-1]))
	}
	return pauses
}

// TestRetryTable checks the pauses between attempts: 1 s doubling to 5 min,
// less up to a half, and no shorter than Twilio asks.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	failure := func(outcome alert.Outcome, retryAfter time.Duration) error {
		return &alert.SendError{Outcome: outcome, RetryAfter: retryAfter, Err: errors.New("a fault")}
	}
	const s = time.Second
	for _, test := range []struct {
		name  string
		err   error
		most  []time.Duration
		least time.Duration // of each pause, 0: half of the most
	}{
		{"not accepted", failure(alert.NotAccepted, 0), []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 300 * s}, 0},
		{"Retry-After is longer", failure(alert.NotAccepted, 90*s), []time.Duration{90 * s, 90 * s, 90 * s}, 90 * s},
		{"Retry-After is shorter", failure(alert.NotAccepted, s/10), []time.Duration{s, 2 * s, 4 * s}, 0},
		{"in doubt, while the message log lags", failure(alert.InDoubt, 0), []time.Duration{10 * s, 10 * s, 10 * s, 10 * s}, 10 * s},
		{"an error of unknown kind is a doubt", errors.New("a fault"), []time.Duration{10 * s, 10 * s}, 10 * s},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := sqliteAddress(t)
			synctest.Test(t, func(t *testing.T) {
				box := open(t, address, defaults(t, "* every 1"))
				sender := &attempts{Answer: func(n int) error {
					if n <= len(test.most) {
						return test.err
					}
					return nil
				}}
				defer work(box, sender)()
				record(t, box, event("NO1", "11200"))
				for _, pause := range test.most {
					time.Sleep(pause + time.Second)
				}
				time.Sleep(15 * time.Second) // for one too many
				pauses := sender.pauses()
				if len(pauses) != len(test.most) {
					t.Fatalf("the pauses are %v", pauses)
				}
				for i, pause := range pauses {
					const slack = 10 * time.Millisecond
					least := test.least
					if least == 0 {
						least = test.most[i] / 2
					}
					if pause < least-slack || pause > test.most[i]+slack {
						t.Errorf("pause %d is %v, want %v to %v", i+1, pause, least, test.most[i])
					}
				}
			})
		})
	}
}

// TestJitter checks that what failed together does not return together.
func TestJitter(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* every 1"))
		for i := range 10 {
			record(t, box, event(fmt.Sprint("NO", i), "11200"))
		}
		sender := &attempts{Answer: func(n int) error {
			if n <= 10 {
				return &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("a fault")}
			}
			return nil
		}}
		stop := work(box, sender)
		time.Sleep(time.Minute)
		stop()
		returned := make(map[time.Time]bool)
		for _, at := range sender.at[10:] {
			returned[at] = true
		}
		if len(returned) < 5 {
			t.Errorf("10 SMS returned at %d moments", len(returned))
		}
	})
}

// TestOutage is ten minutes without Twilio, in all its ways at random: every
// alert is texted, none twice.
func TestOutage(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		options := defaults(t, "* every 1")
		options.PerHour = 1000
		box := open(t, address, options)
		end := time.Now().Add(10 * time.Minute)
		random := rand.New(rand.NewPCG(1, 2))
		twilio := &phones{Lag: 3 * time.Second}
		var mu sync.Mutex
		twilio.Fault = func(int, alert.SMS) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			switch fate := random.IntN(4); {
			case time.Now().After(end):
				return true, nil
			case fate == 0:
				return true, errors.New("no answer")
			case fate == 1:
				return false, errors.New("no answer")
			}
			return false, &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("connection refused")}
		}
		stop := work(box, twilio)
		const alerts = 20
		for i := range alerts {
			record(t, box, event(fmt.Sprint("NO", i), strconv.Itoa(11200+i)))
			time.Sleep(30 * time.Second)
		}
		for range 3 {
			stop()
			time.Sleep(5 * time.Minute) // the longest pause
			stop = work(box, twilio)
			time.Sleep(15 * time.Second)
		}
		stop()
		texts := make(map[string]int)
		for _, sms := range twilio.Log() {
			texts[sms.Body]++
		}
		for text, n := range texts {
			if n > 1 {
				t.Errorf("%d times %q", n, text)
			}
		}
		if len(texts) != alerts || count(t, address, "sms WHERE status = 'sent'") != alerts {
			t.Errorf("%d of %d alerts were texted", len(texts), alerts)
		}
	})
}

// silent is a Sender that never gets an answer.
type silent struct{ waited chan time.Duration }

func (s silent) Send(ctx context.Context, sms alert.SMS) (string, error) {
	if strings.Contains(sms.Body, "11210") {
		return "SM1", nil
	}
	begin := time.Now()
	<-ctx.Done()
	s.waited <- time.Since(begin)
	return "", ctx.Err()
}

// TestSilence checks that a send which gets no answer ends before its lease,
// and holds up no other.
func TestSilence(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* every 1"))
		sender := silent{make(chan time.Duration, 10)}
		stop := work(box, sender)
		record(t, box, event("NO1", "11200"))
		record(t, box, event("NO2", "11210"))
		time.Sleep(time.Second)
		if count(t, address, "sms WHERE status = 'sent'") != 1 {
			t.Error("an SMS waits for another")
		}
		stop() // waits for what is in flight
		if waited := <-sender.waited; waited != 15*time.Second {
			t.Errorf("gave up after %v", waited)
		}
		if count(t, address, "sms WHERE status = 'sending' AND error = 'context deadline exceeded'") != 1 {
			t.Error("the SMS is not in doubt")
		}
	})
}
