package sms

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"

	"twilio-error-sms/internal/alert"
)

const (
	streamsURL = "https://events.twilio.com/v1/"
	// errorType is the type of the events that tell of errors. Source:
	// https://www.twilio.com/docs/events/event-types/errors/error-logs.
	errorType = "com.twilio.error-logs.error.logged"
	// streamsDescription describes our sink and subscription to Twilio's users.
	streamsDescription = "twilio-error-sms"
)

// Sink is a webhook sink of Event Streams and what it gets.
type Sink struct {
	SID    string // DG…
	Status string // in Twilio's words: initialized, validating, active or failed
	// Subscriptions are the SIDs, DF…, of the sink's subscriptions: one at most,
	// as of 2026.
	Subscriptions []string
	// Errors is the SID of the one that brings errors, or empty.
	Errors string
}

// Failed reports whether Twilio has given up on the sink.
func (s Sink) Failed() bool { return s.Status == "failed" }

// Sinks returns the sinks whose destination is exactly the one given. Its
// errors, and those of the other methods about Event Streams, are
// *alert.SendError; InDoubt means that a change may have been made.
func (t *Twilio) Sinks(ctx context.Context, destination string) ([]Sink, error) {
	var sinks []Sink
	err := t.streams(ctx, "Sinks", url.Values{}, func(page streamsPage) {
		for _, found := range page.Sinks {
			if found.Configuration.Destination == destination {
				sinks = append(sinks, Sink{SID: found.SID, Status: found.Status})
			}
		}
	})
	for i := range sinks {
		if err == nil {
			err = t.addSubscriptions(ctx, &sinks[i])
		}
	}
	return sinks, err
}

// addSubscriptions reads the subscriptions of a sink, and whether one brings
// errors.
func (t *Twilio) addSubscriptions(ctx context.Context, sink *Sink) error {
	err := t.streams(ctx, "Subscriptions", url.Values{"SinkSid": {sink.SID}}, func(page streamsPage) {
		for _, subscription := range page.Subscriptions {
			sink.Subscriptions = append(sink.Subscriptions, subscription.SID)
		}
	})
	for _, subscription := range sink.Subscriptions {
		if err != nil {
			break
		}
		err = t.streams(ctx, "Subscriptions/"+subscription+"/SubscribedEvents", url.Values{}, func(page streamsPage) {
			if slices.ContainsFunc(page.Types, func(e subscribedEvent) bool { return e.Type == errorType }) {
				sink.Errors = subscription
			}
		})
	}
	return err
}

// streamsPage is a page of a list of Event Streams.
type streamsPage struct {
	Sinks []struct {
		SID, Status   string
		Configuration struct{ Destination string } `json:"sink_configuration"`
	}
	Subscriptions []struct{ SID string }
	Types         []subscribedEvent
	Meta          struct {
		Next string `json:"next_page_url"`
	}
}

// subscribedEvent is a type of events of a subscription.
type subscribedEvent struct {
	Type          string `json:"type"`
	SchemaVersion int    `json:"schema_version"`
}

// streams reads a list, page by page.
func (t *Twilio) streams(ctx context.Context, list string, query url.Values, each func(streamsPage)) error {
	for {
		var page streamsPage
		if err := t.read(ctx, streamsURL+list, query, &page); err != nil {
			return err
		}
		each(page)
		if !turnPage(query, page.Meta.Next) {
			return nil
		}
	}
}

// CreateSink makes a sink that posts batches of events to a destination, and
// returns its SID.
func (t *Twilio) CreateSink(ctx context.Context, destination string) (sid string, err error) {
	return t.change(ctx, "Sinks", url.Values{
		"Description": {streamsDescription}, "SinkType": {"webhook"},
		"SinkConfiguration": {encode(map[string]any{"destination": destination, "method": "POST", "batch_events": true})},
	})
}

// Subscribe makes a sink get errors, and returns the SID of the subscription: a
// new one, or the one that the sink has. Where Twilio does not know version 2 of
// the events' schema for the account, it takes version 1.
func (t *Twilio) Subscribe(ctx context.Context, sink Sink) (sid string, err error) {
	sid, err = t.subscribe(ctx, sink, 2)
	if failure, ok := errors.AsType[*alert.SendError](err); ok && failure.Outcome != alert.InDoubt && failure.Code != "" {
		return t.subscribe(ctx, sink, 1)
	}
	return sid, err
}

func (t *Twilio) subscribe(ctx context.Context, sink Sink, version int) (sid string, err error) {
	if len(sink.Subscriptions) > 0 {
		sid = sink.Subscriptions[0]
		_, err = t.change(ctx, "Subscriptions/"+sid+"/SubscribedEvents", url.Values{"Type": {errorType}, "SchemaVersion": {strconv.Itoa(version)}})
		return sid, err
	}
	return t.change(ctx, "Subscriptions", url.Values{
		"Description": {streamsDescription}, "SinkSid": {sink.SID}, "Types": {encode(subscribedEvent{errorType, version})},
	})
}

// TestSink asks Twilio to post a test event, alert.TestEvent, to a sink.
func (t *Twilio) TestSink(ctx context.Context, sid string) error {
	_, err := t.change(ctx, "Sinks/"+sid+"/Test", url.Values{})
	return err
}

// change posts a form to Event Streams, and returns the SID in the answer where
// there is one. Like read it does without twilio-go's products.
func (t *Twilio) change(ctx context.Context, path string, form url.Values) (sid string, err error) {
	handler, call := t.request(ctx)
	answer, err := handler.Post(streamsURL+path, form, map[string]any{"Content-Type": "application/x-www-form-urlencoded"}, "")
	var made struct{ SID string }
	if err == nil {
		err = json.NewDecoder(answer.Body).Decode(&made)
	}
	if err != nil {
		return "", call.failure(err)
	}
	return made.SID, nil
}

// encode returns the JSON of what JSON can always hold.
func encode(value any) string {
	encoded, _ := json.Marshal(value)
	return string(encoded)
}

// RemoveSink deletes a sink and its subscriptions, those first.
func (t *Twilio) RemoveSink(ctx context.Context, sink Sink) error {
	handler, call := t.request(ctx)
	var paths []string
	for _, subscription := range sink.Subscriptions {
		paths = append(paths, "Subscriptions/"+subscription)
	}
	for _, path := range append(paths, "Sinks/"+sink.SID) {
		if _, err := handler.Delete(streamsURL+path, nil, nil, ""); err != nil {
			return call.failure(err)
		}
	}
	return nil
}
