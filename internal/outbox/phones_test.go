package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"twilio-error-sms/internal/alert"
)

// phones is a Sender that stands for Twilio: it accepts SMS, finds those in
// doubt in its message log, and fails as it is told.
type phones struct {
	// Fault, where set, says whether the nth attempt, from 1, is accepted and
	// what the sender gets to know of it.
	Fault func(n int, sms alert.SMS) (accepted bool, err error)
	// Accepted, where set, is called with each accepted SMS before the sender
	// knows of it.
	Accepted func(sid string, sms alert.SMS)
	// Lag is how long an SMS stays out of the message log.
	Lag time.Duration

	mu       sync.Mutex
	attempts int
	lookups  int
	log      []acceptedSMS
}

// acceptedSMS is an SMS that phones accepted.
type acceptedSMS struct {
	SID string
	alert.SMS
	At time.Time
}

// Send accepts an SMS unless a fault prevents it.
func (p *phones) Send(_ context.Context, sms alert.SMS) (string, error) {
	if sid := p.find(sms); sid != "" {
		return sid, nil
	}
	if sms.LookOnly {
		return "", &alert.SendError{Outcome: alert.Refused, Err: errors.New("given up: Twilio does not have it")}
	}
	p.mu.Lock()
	p.attempts++
	n := p.attempts
	p.mu.Unlock()
	accepted, err := true, error(nil)
	if p.Fault != nil {
		accepted, err = p.Fault(n, sms)
	}
	if !accepted {
		return "", err
	}
	sid := p.accept(sms)
	if p.Accepted != nil {
		p.Accepted(sid, sms)
	}
	if err != nil {
		return "", err
	}
	return sid, nil
}

// find looks for an SMS in doubt in the message log.
func (p *phones) find(sms alert.SMS) string {
	if sms.DoubtSince.IsZero() {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookups++
	for _, a := range p.log {
		if a.To == sms.To && (a.Body == sms.Body || a.Body == sms.Other) && !a.At.Before(sms.DoubtSince) && time.Since(a.At) >= p.Lag && !slices.Contains(sms.Known, a.SID) {
			return a.SID
		}
	}
	return ""
}

func (p *phones) accept(sms alert.SMS) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	sid := fmt.Sprintf("SM%032x", len(p.log)+1)
	p.log = append(p.log, acceptedSMS{sid, sms, time.Now()})
	return sid
}

// Log returns the accepted SMS so far.
func (p *phones) Log() []acceptedSMS {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// Bodies returns the texts of the accepted SMS that contain part.
func (p *phones) Bodies(part string) []string {
	var bodies []string
	for _, a := range p.Log() {
		if strings.Contains(a.Body, part) {
			bodies = append(bodies, a.Body)
		}
	}
	return bodies
}

// Attempts returns how often an SMS was to be sent, looks into the message log
// not included.
func (p *phones) Attempts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attempts
}

// Lookups returns how often the message log was asked.
func (p *phones) Lookups() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lookups
}

// elapse makes the message log older.
func (p *phones) elapse(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.log {
		p.log[i].At = p.log[i].At.Add(-d)
	}
}

// What a sender gets to know of an attempt that went wrong.
var (
	errRefused     = &alert.SendError{Outcome: alert.Refused, Code: "21610", Err: errors.New("unsubscribed recipient")}
	errNotAccepted = &alert.SendError{Outcome: alert.NotAccepted, Err: errors.New("connection refused")}
	errInDoubt     = &alert.SendError{Outcome: alert.InDoubt, Err: errors.New("no answer")}
)
