package sms

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"twilio-error-sms/internal/alert"
)

const (
	errorLogURL = "https://monitor.twilio.com/v1/Alerts"
	// errorLogLimit is the most entries that Twilio gives for one question.
	// Source: https://www.twilio.com/docs/usage/monitor-alert.
	errorLogLimit = 10_000
	// errorLogPage is how many of them come in one page, at most 1,000: few
	// enough to stay below maxAnswer with long entries.
	errorLogPage = 500
)

// ErrorLog returns the entries of Twilio's error log, the Monitor Alerts, from
// one time to another, both included and cut to whole seconds. They are in no
// particular order. More reports that Twilio gave as many as it ever gives, so
// that some may be missing: ask for less time. Twilio keeps 30 days.
//
// Its errors are *alert.SendError. Blocked means that only the operator can
// help, for example with wrong credentials; the other outcomes pass.
func (t *Twilio) ErrorLog(ctx context.Context, from, to time.Time) (entries []alert.ErrorLogEntry, more bool, err error) {
	query := url.Values{
		"StartDate": {from.UTC().Format(time.RFC3339)}, "EndDate": {to.UTC().Format(time.RFC3339)},
		"PageSize": {strconv.Itoa(errorLogPage)},
	}
	for got := 0; ; {
		var page struct {
			Alerts []alert.ErrorLogEntry
			Meta   struct {
				Next string `json:"next_page_url"`
			}
		}
		if err := t.read(ctx, errorLogURL, query, &page); err != nil {
			return nil, false, during("reading Twilio's error log", err)
		}
		got += len(page.Alerts)
		for _, entry := range page.Alerts {
			// An entry without SID would be new in each read.
			if entry.SID != "" && isSince(entry, from) {
				entries = append(entries, entry)
			}
		}
		if got >= errorLogLimit || page.Meta.Next == "" {
			return entries, got >= errorLogLimit, nil
		}
		if !turnPage(query, page.Meta.Next) {
			err := errors.New("reading Twilio's error log: the address of the next page has no PageToken")
			return nil, false, &alert.SendError{Outcome: alert.InDoubt, Err: err}
		}
	}
}

// isSince reports whether an entry happened, or entered the error log, no
// earlier than from. Twilio does not say which of the two dates it filters by,
// nor how exactly. An entry that entered late is news, an old one is not.
func isSince(entry alert.ErrorLogEntry, from time.Time) bool {
	from = from.Truncate(time.Second)
	before := func(date string) bool {
		t, err := time.Parse(time.RFC3339, date)
		return err == nil && t.Before(from)
	}
	return !before(entry.Generated) || !before(entry.Created)
}
