package alert

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// SMS is a text on its way to a phone.
type SMS struct {
	// ID is the outbox's own, no SID of Twilio's.
	ID string
	// To is the recipient, a number in E.164 or a channel address.
	To string
	// Body is the text.
	Body string
	// DoubtSince is when the first attempt began that Twilio may have accepted,
	// zero when there was none.
	DoubtSince time.Time
	// Other is another wording that an earlier attempt may have had, or empty.
	Other string
	// Known are the SIDs of other SMS to the same phone: not this one, should
	// they be found in Twilio's message log.
	Known []string
	// LookOnly asks whether Twilio has the SMS, and not to send it if not.
	LookOnly bool
}

// Outcome is what a failed attempt to send an SMS means for the next.
type Outcome string

// The outcomes of a failed attempt.
const (
	NotAccepted Outcome = "not accepted" // refused before Twilio could act: try again
	InDoubt     Outcome = "in doubt"     // perhaps accepted: look before trying again
	Blocked     Outcome = "blocked"      // only the operator can help: try again, nothing is lost
	Refused     Outcome = "refused"      // this recipient or this text, for good: trying again cannot help
)

// SendError says why an SMS was not, or perhaps not, accepted.
type SendError struct {
	Outcome    Outcome
	Code       string        // Twilio's error code, or empty
	RetryAfter time.Duration // how long Twilio asks to wait, or 0
	Err        error
}

func (e *SendError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: %v", e.Outcome, e.Err)
	}
	return fmt.Sprintf("%s: error %s: %v", e.Outcome, e.Code, e.Err)
}

func (e *SendError) Unwrap() error { return e.Err }

// Mask returns a phone number with all but its last four digits hidden, for
// logs and pages.
func Mask(number string) string { return "..." + number[max(len(number)-4, 0):] }

// Report is what a status callback of Twilio says of an SMS.
type Report struct {
	ID     string // of the SMS, by the callback's address; may be empty
	SID    string // Twilio's
	Status string // in Twilio's words: delivered, undelivered, …
	Code   string // Twilio's error code, or empty
}

// ParseReport reads the form of a status callback. Source:
// https://www.twilio.com/docs/messaging/guides/track-outbound-message-status.
func ParseReport(id string, form url.Values) (Report, error) {
	report := Report{
		ID:     clean(id, 40),
		SID:    parseSID(form.Get("MessageSid")),
		Status: clean(form.Get("MessageStatus"), 40),
		Code:   ParseCode(form.Get("ErrorCode")),
	}
	if report.SID == "" || report.Status == "" {
		return Report{}, errors.New("missing MessageSid or MessageStatus")
	}
	return report, nil
}
