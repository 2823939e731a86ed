package sms

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"

	"twilio-error-sms/internal/alert"
)

// Console prints each SMS instead of sending it. It is what DRY_RUN uses.
type Console struct {
	mu  sync.Mutex
	out io.Writer
}

// NewConsole returns a Console that prints to out.
func NewConsole(out io.Writer) *Console { return &Console{out: out} }

// Send prints the SMS on a line of its own.
func (c *Console) Send(_ context.Context, sms alert.SMS) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := fmt.Fprintf(c.out, "SMS to %s: %s\n", sms.To, sms.Body); err != nil {
		return "", &alert.SendError{Outcome: alert.NotAccepted, Err: err}
	}
	return "DRYRUN" + rand.Text(), nil
}
