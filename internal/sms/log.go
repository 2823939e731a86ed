package sms

import (
	"context"
	"errors"
	"fmt"
	"time"

	monitor "github.com/twilio/twilio-go/rest/monitor/v1"

	"twilio-error-sms/internal/alert"
)

const (
	// logLimit is the most entries that Twilio gives for one question. Source:
	// https://www.twilio.com/docs/usage/monitor-alert.
	logLimit = 10_000
	// logPage is how many of them come at a time, at most 1,000: few enough
	// for long entries to stay below maxAnswer.
	logPage = 500
)

// Log returns the entries of Twilio's own log of errors, the Monitor Alerts,
// from one time to another, both included and cut to whole seconds. They are
// in no particular order. More reports that Twilio gave as many as it ever
// does, so that some may be missing: ask for less time. Twilio knows nothing
// older than 30 days.
//
// Its errors are *alert.SendError. Refused means that only the operator can
// help, as with wrong credentials; any other outcome passes.
func (t *Twilio) Log(ctx context.Context, from, to time.Time) (entries []alert.LogEntry, more bool, err error) {
	handler, call := t.request(ctx)
	service := monitor.NewApiService(handler)
	params := new(monitor.ListAlertParams)
	params.SetStartDate(from.UTC())
	params.SetEndDate(to.UTC())
	params.SetPageSize(logPage)
	fail := func(err error) ([]alert.LogEntry, bool, error) {
		failure := call.failure(err)
		failure.Err = fmt.Errorf("reading Twilio's log: %w", failure.Err)
		return nil, false, failure
	}
	token, number := "", ""
	for got := 0; ; {
		page, err := service.PageAlert(params, token, number)
		if err != nil {
			return fail(err)
		}
		got += len(page.Alerts)
		for _, a := range page.Alerts {
			// Without its SID it would be news at each look.
			if a.Sid != nil && isSince(a, from) {
				entries = append(entries, logEntry(a))
			}
		}
		address := page.Meta.NextPageUrl
		if got >= logLimit || address == nil || *address == "" {
			return entries, got >= logLimit, nil
		}
		// Its query only: whom to ask is for us to know.
		next := nextPage(address)
		if next == nil {
			return fail(errors.New("the address of the next page has no PageToken"))
		}
		token, number = next.Get("PageToken"), next.Get("Page")
	}
}

// isSince reports whether a happened, or entered the log, no earlier than from.
// Twilio does not say which of the dates its filter looks at, nor that it is
// exact: an old entry is no news, one that is merely late is.
func isSince(a monitor.MonitorV1Alert, from time.Time) bool {
	from = from.Truncate(time.Second)
	before := func(t *time.Time) bool { return t != nil && t.Before(from) }
	return !before(a.DateGenerated) || !before(a.DateCreated)
}

func logEntry(a monitor.MonitorV1Alert) alert.LogEntry {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	entry := alert.LogEntry{
		SID: text(a.Sid), Account: text(a.AccountSid), Code: text(a.ErrorCode),
		Level: text(a.LogLevel), Text: text(a.AlertText), Resource: text(a.ResourceSid),
	}
	for _, date := range []*time.Time{a.DateCreated, a.DateGenerated} {
		if date != nil {
			entry.Generated = date.UTC().Format(time.RFC3339Nano)
		}
	}
	return entry
}
