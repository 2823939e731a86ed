package catchup_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/outbox"
)

func TestFirstStartReadsTheLastHourOnly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.Add(newError("11200", 61*time.Minute), newError("12100", 59*time.Minute), newError("30003", time.Minute))
		w.serve()
		time.Sleep(time.Second)
		if got := w.query(`SELECT COUNT(*) FROM events`); got != 2 {
			w.Errorf("%d errors were recorded, want the 2 of the last hour", got)
		}
		want := []question{{noon, noon.Add(-time.Hour), noon}}
		if got := w.log.questions(); !slices.Equal(got, want) {
			w.Errorf("asked for %v, want %v", got, want)
		}
	})
}

func TestAnSMSSaysWhenAnErrorIsOld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.Add(newError("12100", 50*time.Minute), newError("30003", 9*time.Minute))
		w.serve()
		time.Sleep(time.Second)
		want := []string{"12100 2026-03-02 11:10 UTC", "30003 2026-03-02 11:51 UTC"}
		if got := w.phone.messages(); !slices.Equal(got, want) {
			w.Errorf("got SMS %q, want %q", got, want)
		}
	})
}

func TestErrorsCountInTheOrderInWhichTheyHappened(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.Add(newError("11200", 3*time.Minute), newError("11200", 9*time.Minute), newError("11200", 6*time.Minute))
		w.serve()
		time.Sleep(time.Second)
		if got, want := w.phone.messages(), []string{"11200 2026-03-02 11:51 UTC"}; !slices.Equal(got, want) {
			w.Errorf("got SMS %q, want %q", got, want)
		}
	})
}

func TestErrorsOlderThanGiveUpAfterNeverAlert(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.serve()
		time.Sleep(time.Second)
		s.stop()
		time.Sleep(48 * time.Hour)
		w.log.Add(newError("11200", 25*time.Hour), newError("12100", 23*time.Hour))
		w.serve()
		time.Sleep(time.Second)
		if got := w.query(`SELECT COUNT(*) FROM events WHERE decision LIKE 'too old%'`); got != 1 {
			w.Errorf("%d errors were recorded as too old, want 1", got)
		}
		want := []string{"12100 2026-03-03 13:00 UTC"}
		if got := w.phone.messages(); !slices.Equal(got, want) {
			w.Errorf("got SMS %q, want %q", got, want)
		}
	})
}

func TestReadsAtItsPaceAndBehindTheMark(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.serve()
		time.Sleep(10*time.Minute + time.Second)
		s.stop()
		time.Sleep(time.Hour)
		w.serve()
		time.Sleep(time.Second)
		minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
		restart := minute(70).Add(time.Second)
		want := []question{
			{minute(0), minute(-60), minute(0)}, {minute(5), minute(-15), minute(5)}, {minute(10), minute(-10), minute(10)},
			{restart, minute(-5), restart},
		}
		if got := w.log.questions(); !slices.Equal(got, want) {
			w.Errorf("asked for %v, want %v", got, want)
		}
	})
}

func TestEntriesThatEnterLateAreCountedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve()
		time.Sleep(time.Minute)
		late := newError("11200", 0)
		late.Created = late.Generated.Add(12 * time.Minute)
		w.log.Add(late)
		time.Sleep(25 * time.Minute)
		if got := w.query(`SELECT SUM(n) FROM counts WHERE period = 'daily'`); got != 1 {
			w.Errorf("counted %d times, want once", got)
		}
	})
}

func TestMoreErrorsThanTwilioGivesAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		const n = 1200
		w.log.limit = 1000
		for i := range n { // most of them in the first minutes of the hour
			w.log.Add(newError("11200", time.Hour-time.Duration(i)*time.Hour/(8*n)))
		}
		w.log.Add(newError("30003", time.Minute))
		w.serve()
		time.Sleep(time.Second)
		if got := w.query(`SELECT COUNT(*) FROM events`); got != n+1 {
			w.Errorf("%d errors were recorded, want %d", got, n+1)
		}
		end := noon.Add(-time.Hour)
		for _, q := range w.log.questions() {
			if q.from.After(end) {
				w.Errorf("skipped from %v to %v", end, q.from)
			}
			if len(w.log.Find(q.from, q.to)) < w.log.limit {
				end = q.to
			}
		}
		if !end.Equal(noon) || !w.mark().Equal(noon) {
			w.Errorf("read up to %v, marked %v, want %v", end, w.mark(), noon)
		}
	})
}

func TestMoreErrorsInASecondThanTwilioGives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.limit = 1000
		for range w.log.limit + 1 {
			w.log.Add(newError("11200", 30*time.Minute))
		}
		w.log.Add(newError("30003", time.Minute))
		w.serve()
		time.Sleep(time.Second)
		if got := w.query(`SELECT COUNT(*) FROM events`); int(got) != w.log.limit+1 {
			w.Errorf("%d errors were recorded, want what Twilio gave and the one after", got)
		}
		if got := w.lines.messages(); len(got) == 0 || got[0] != "ERROR more errors in a second than Twilio tells, some are not counted" {
			w.Errorf("logged %q, want it to say that errors are not counted", got)
		}
	})
}

func TestTrouble(t *testing.T) {
	const (
		notRead     = "WARN Twilio's error log not read, trying again"
		blocked     = "ERROR Twilio's error log not read"
		readAgain   = "INFO Twilio's error log is read again"
		second      = time.Second
		unavailable = "Twilio refuses, and errors are missed until this is fixed: reading: no"
	)
	fault := func(outcome alert.Outcome, retryAfter time.Duration) error {
		return &alert.SendError{Outcome: outcome, RetryAfter: retryAfter, Err: errors.New("reading: no")}
	}
	for name, test := range map[string]struct {
		faults  []error
		asked   []time.Duration // since noon
		problem string          // while it lasts
		logged  []string
	}{
		"none": {asked: []time.Duration{0}},
		"a server error or a time-out": {
			faults: []error{fault(alert.InDoubt, 0)},
			asked:  []time.Duration{0, second},
			logged: []string{notRead, readAgain},
		},
		"many: twice the pause each time, up to the pace": {
			faults: slices.Repeat([]error{fault(alert.InDoubt, 0)}, 8),
			asked:  []time.Duration{0, 1 * second, 3 * second, 7 * second, 15 * second, 31 * second, 63 * second, 123 * second, 183 * second},
			logged: []string{notRead, readAgain},
		},
		"429 that says how long to wait": {
			faults: []error{fault(alert.NotAccepted, 20*second), fault(alert.NotAccepted, 0)},
			asked:  []time.Duration{0, 20 * second, 22 * second},
			logged: []string{notRead, readAgain},
		},
		"401": {
			faults:  slices.Repeat([]error{fault(alert.Blocked, 0)}, 3),
			asked:   []time.Duration{0, 1 * second, 3 * second, 7 * second},
			problem: unavailable,
			logged:  []string{blocked, readAgain},
		},
		"first one, then the other": {
			faults:  []error{fault(alert.InDoubt, 0), fault(alert.Blocked, 0)},
			asked:   []time.Duration{0, 1 * second, 3 * second},
			problem: unavailable,
			logged:  []string{notRead, blocked, readAgain},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.every = time.Minute
				n := 0
				w.log.fault = func() error {
					if n++; n > len(test.faults) {
						return nil
					}
					return test.faults[n-1]
				}
				w.log.Add(newError("11200", 14*time.Minute))
				s := w.serve()
				last := test.asked[len(test.asked)-1]
				time.Sleep(last - time.Millisecond)
				if got := s.reader.Problem(); got != test.problem {
					w.Errorf("the problem is %q, want %q", got, test.problem)
				}
				time.Sleep(2 * time.Second)
				if got := w.log.minutes(); !slices.Equal(got, test.asked) {
					w.Errorf("asked at %v, want %v", got, test.asked)
				}
				if got := w.lines.messages(); !slices.Equal(got, test.logged) {
					w.Errorf("logged %q, want %q", got, test.logged)
				}
				if got := s.reader.Problem(); got != "" {
					w.Errorf("the problem is still %q", got)
				}
				if got := w.query(`SELECT COUNT(*) FROM events`); got != 1 {
					w.Errorf("%d errors were recorded, want 1", got)
				}
			})
		})
	}
}

// brokenDisk refuses to record while it is broken.
type brokenDisk struct {
	catchup.Recorder
	broken *atomic.Bool
}

func (d brokenDisk) Record(ctx context.Context, events []alert.Event) ([]outbox.Result, error) {
	if d.broken.Load() {
		return nil, errors.New("no space left on device")
	}
	return d.Recorder.Record(ctx, events)
}

func TestTheMarkMovesAfterTheCommitOnly(t *testing.T) {
	inWorld(t, func(w *world) {
		broken := new(atomic.Bool)
		w.wrapRecorder = func(r catchup.Recorder) catchup.Recorder { return brokenDisk{r, broken} }
		w.serve()
		time.Sleep(time.Minute)
		broken.Store(true)
		w.log.Add(newError("11200", 0))
		time.Sleep(20 * time.Minute)
		if !w.mark().Equal(noon) {
			w.Errorf("the mark moved to %v, want %v", w.mark(), noon)
		}
		broken.Store(false)
		time.Sleep(5 * time.Minute)
		if got := w.query(`SELECT COUNT(*) FROM events`); got != 1 || !w.mark().After(noon.Add(20*time.Minute)) {
			w.Errorf("%d errors recorded, the mark at %v, want 1 and the present", got, w.mark())
		}
		if got, want := w.lines.messages(), []string{"WARN Twilio's error log not read, trying again", "INFO Twilio's error log is read again"}; !slices.Equal(got, want) {
			w.Errorf("logged %q, want %q", got, want)
		}
	})
}

// The clock was nine hours ahead while the server read, and is right again.
func TestAfterAClockThatWasAheadNoErrorIsMissed(t *testing.T) {
	for name, fails := range map[string]int{"Twilio answers": 0, "Twilio fails at first": 3} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				s := w.serve()
				time.Sleep(time.Minute)
				s.stop()
				w.query(`UPDATE marks SET at = $1 RETURNING at`, noon.Add(9*time.Hour).UnixMilli())
				w.log.Add(newError("11200", 0)) // while the clock was ahead
				time.Sleep(3 * time.Hour)
				w.log.Add(newError("12100", 0))
				w.log.fault = func() error {
					if fails--; fails >= 0 {
						return errors.New("no answer")
					}
					return nil
				}
				w.serve()
				time.Sleep(time.Minute)
				if got := w.query(`SELECT COUNT(*) FROM events`); got != 2 {
					w.Errorf("%d errors were recorded, want 2", got)
				}
				if mark := w.mark(); mark.After(time.Now()) {
					w.Errorf("the mark stays in the future: %v", mark)
				}
				asked := len(w.log.questions())
				time.Sleep(10 * time.Minute)
				for _, q := range w.log.questions()[asked:] {
					if q.from.Before(q.at.Add(-time.Hour)) {
						w.Errorf("still reads from %v at %v", q.from, q.at)
					}
				}
				warned := 0
				for _, line := range w.lines.messages() {
					if strings.HasPrefix(line, "WARN the clock was ahead") {
						warned++
					}
				}
				if warned != 1 {
					w.Errorf("warned %d times, want once: %q", warned, w.lines.messages())
				}
			})
		})
	}
}

func TestReplicasTakeTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.serve()
		time.Sleep(2 * time.Minute)
		w.serve() // reads at its start as well
		time.Sleep(10*time.Minute + time.Second)
		want := []time.Duration{0, 2 * time.Minute, 7 * time.Minute, 12 * time.Minute}
		if got := w.log.minutes(); !slices.Equal(got, want) {
			w.Errorf("asked at %v, want %v", got, want)
		}
		a.stop()
		time.Sleep(10 * time.Minute)
		if got := len(w.log.questions()); got != len(want)+2 {
			w.Errorf("asked %d times after one replica stopped, want 2", got-len(want))
		}
	})
}

// hanging is a log that never answers its first question.
type hanging struct{ hung atomic.Bool }

func (h *hanging) ErrorLog(ctx context.Context, _, _ time.Time) ([]alert.ErrorLogEntry, bool, error) {
	h.hung.Store(true)
	<-ctx.Done()
	return nil, false, ctx.Err()
}

// dead is the mark of a process that is killed: it never ends its lease.
type dead struct{ catchup.Mark }

func (dead) Release(context.Context) error { return nil }

func TestAnotherReplicaTakesOverFromADeadOne(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.serve()
		time.Sleep(time.Second)
		s.stop()
		time.Sleep(time.Hour)
		asked := len(w.log.questions())

		w.wrapMark = func(m catchup.Mark) catchup.Mark { return dead{m} }
		hang := new(hanging)
		first := w.serveWith(hang)
		time.Sleep(time.Second)
		if !hang.hung.Load() {
			w.Fatal("the first replica does not read")
		}
		w.wrapMark = nil
		w.log.Add(newError("11200", 30*time.Minute))
		w.serve()
		time.Sleep(50 * time.Second)
		if got := len(w.log.questions()); got != asked {
			w.Errorf("the second replica asked %d times while the first one reads", got-asked)
		}
		first.stop()
		time.Sleep(30 * time.Second)
		if got := w.query(`SELECT COUNT(*) FROM events`); got != 1 {
			w.Errorf("%d errors were recorded after the first replica died, want 1", got)
		}
	})
}

func TestStopsAndStartsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.serve()
		synctest.Wait()
		s.stop()
		w.serve()
		synctest.Wait()
		if got, want := w.log.minutes(), []time.Duration{0, 0}; !slices.Equal(got, want) {
			w.Errorf("asked at %v, want %v", got, want)
		}
	})
}
