package outbox_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

// witness observes.
type witness struct {
	mu               sync.Mutex
	committed        int
	recorded, ending []string
}

func (w *witness) Committed(events int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed += events
}

func (w *witness) Recorded(e alert.Event, r outbox.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recorded = append(w.recorded, e.ID+" "+r.Reason)
}

func (w *witness) Settled(status outbox.Status, code string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = append(w.ending, string(status)+" "+code)
}

func TestObserverIsToldOfCommitsEventsAndSettlement(t *testing.T) {
	eachEngine(t, func(s *store) {
		w := new(witness)
		s.options.Observer = w
		s.open()
		s.phones.Fault = func(n int, _ alert.SMS) (bool, error) {
			return n > 2, []error{nil, errNotAccepted, errRefused}[min(n, 3)%3]
		}
		s.record(event("NO1", "11200"), event("NO1", "11200"), event("NO2", "11200"), event("NO3", "11210"), event("NO4", "11220"))
		s.work()
		s.stands(1, outbox.Failed)
		s.stands(2, outbox.Sent)
		s.rest()
		w.mu.Lock()
		defer w.mu.Unlock()
		slices.Sort(w.recorded)
		slices.Sort(w.ending)
		if want := []string{"NO1 ", "NO2 2nd 11200 today, next alert at the 10th", "NO3 ", "NO4 "}; w.committed != 4 || !slices.Equal(w.recorded, want) {
			s.Errorf("%d committed, recorded %q, want %q", w.committed, w.recorded, want)
		}
		if want := []string{"failed 21610", "pending ", "sent ", "sent "}; !slices.Equal(w.ending, want) {
			s.Errorf("settled %q, want %q", w.ending, want)
		}
	})
}
