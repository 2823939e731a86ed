package outbox_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	ownSID   = "SM00000000000000000000000000000001"
	otherSID = "SMffffffffffffffffffffffffffffffff"
)

// slowTwilio accepts the first SMS as ownSID once it is let, and the others at
// once.
type slowTwilio struct {
	let chan struct{}

	mu    sync.Mutex
	texts []string
}

func (s *slowTwilio) Send(_ context.Context, sms alert.SMS) (string, error) {
	s.mu.Lock()
	s.texts = append(s.texts, sms.Body)
	first := len(s.texts) == 1
	s.mu.Unlock()
	if first {
		<-s.let
		return ownSID, nil
	}
	return "SM" + sms.ID, nil
}

// TestErrorBehindOurOwn: an error about an SMS of ours that comes before
// Twilio's answer counts until that is known. Whose alert it took gets it then.
func TestErrorBehindOurOwn(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* at 1,10 daily"))
		twilio := &slowTwilio{let: make(chan struct{})}
		stop := work(box, twilio)
		defer stop()
		record(t, box, event("NO1", "11200"))
		time.Sleep(time.Second)
		record(t, box, about("NO own", "30003", ownSID))
		time.Sleep(time.Second)
		if got := record(t, box, about("NO other", "30003", otherSID)); !strings.HasPrefix(got, "2nd 30003") {
			t.Errorf("got %q", got)
		}
		close(twilio.let)
		time.Sleep(time.Minute)
		if len(twilio.texts) != 2 || !strings.Contains(twilio.texts[1], "30003") || !strings.Contains(twilio.texts[1], "(1st today)") {
			t.Errorf("texted %q, want the alert of the other 30003", twilio.texts)
		}
		if got := record(t, box, about("NO next", "30003", otherSID)); !strings.HasPrefix(got, "2nd 30003") {
			t.Errorf("the next is %q", got)
		}
	})
}

// unreadable is a Twilio whose answer to the first SMS was lost, and whose log
// cannot be read.
type unreadable struct {
	mu    sync.Mutex
	texts []string
	begun bool
}

func (u *unreadable) Send(_ context.Context, sms alert.SMS) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case !sms.DoubtSince.IsZero():
		return "", &alert.SendError{Outcome: alert.NotAccepted, Err: context.DeadlineExceeded}
	case !u.begun:
		u.begun = true
		return "", &alert.SendError{Outcome: alert.InDoubt, Err: context.DeadlineExceeded}
	}
	u.texts = append(u.texts, sms.Body)
	return "SM" + sms.ID, nil
}

// TestDoubtThatStays: an SMS that stays in doubt does not keep alerts
// about messages from their phones.
func TestDoubtThatStays(t *testing.T) {
	t.Parallel()
	address := sqliteAddress(t)
	synctest.Test(t, func(t *testing.T) {
		box := open(t, address, defaults(t, "* every 1"))
		twilio := new(unreadable)
		stop := work(box, twilio)
		defer stop()
		record(t, box, event("NO1", "11200"))
		time.Sleep(time.Minute)
		record(t, box, about("NO2", "30007", otherSID))
		time.Sleep(30 * time.Minute)
		if len(twilio.texts) != 0 {
			t.Errorf("texted %q while it may be about our own", twilio.texts)
		}
		time.Sleep(time.Hour)
		if len(twilio.texts) != 1 || !strings.Contains(twilio.texts[0], "30007") {
			t.Errorf("texted %q, want the 30007", twilio.texts)
		}
	})
}
