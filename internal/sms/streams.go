package sms

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/twilio/twilio-go/client"
	events "github.com/twilio/twilio-go/rest/events/v1"

	"twilio-error-sms/internal/alert"
)

const (
	streamsURL = "https://events.twilio.com/v1/"
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
	query := url.Values{}
	for {
		page, err := t.streams(ctx, "Sinks", query)
		if err != nil {
			return nil, err
		}
		for _, found := range page.Sinks {
			if found.Configuration.Destination != destination {
				continue
			}
			sink := Sink{SID: found.SID, Status: found.Status}
			if err := t.addSubscriptions(ctx, &sink); err != nil {
				return nil, err
			}
			sinks = append(sinks, sink)
		}
		if !turnPage(query, page.Meta.Next) {
			return sinks, nil
		}
	}
}

// addSubscriptions reads the subscriptions of a sink, and whether one brings
// errors.
func (t *Twilio) addSubscriptions(ctx context.Context, sink *Sink) error {
	page, err := t.streams(ctx, "Subscriptions", url.Values{"SinkSid": {sink.SID}})
	if err != nil {
		return err
	}
	for _, subscription := range page.Subscriptions {
		sink.Subscriptions = append(sink.Subscriptions, subscription.SID)
		query := url.Values{}
		for more := true; more; {
			types, err := t.streams(ctx, "Subscriptions/"+subscription.SID+"/SubscribedEvents", query)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(types.Types, func(e subscribedEvent) bool { return e.Type == alert.ErrorLogged }) {
				sink.Errors = subscription.SID
			}
			more = turnPage(query, types.Meta.Next)
		}
	}
	return nil
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

func (t *Twilio) streams(ctx context.Context, list string, query url.Values) (page streamsPage, err error) {
	return page, t.read(ctx, streamsURL+list, query, &page)
}

// CreateSink makes a sink that posts batches of events to a destination, and
// returns its SID.
func (t *Twilio) CreateSink(ctx context.Context, destination string) (sid string, err error) {
	params := new(events.CreateSinkParams).SetDescription(streamsDescription).SetSinkType("webhook")
	params.SetSinkConfiguration(map[string]any{"destination": destination, "method": "POST", "batch_events": true})
	err = t.do(ctx, func(handler *client.RequestHandler) error {
		sink, err := events.NewApiService(handler).CreateSink(params)
		if err == nil {
			sid, err = told(sink.Sid)
		}
		return err
	})
	return sid, err
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
	err = t.do(ctx, func(handler *client.RequestHandler) error {
		service := events.NewApiService(handler)
		if len(sink.Subscriptions) > 0 {
			params := new(events.CreateSubscribedEventParams).SetType(alert.ErrorLogged).SetSchemaVersion(version)
			sid = sink.Subscriptions[0]
			_, err := service.CreateSubscribedEvent(sid, params)
			return err
		}
		params := new(events.CreateSubscriptionParams).SetDescription(streamsDescription).SetSinkSid(sink.SID)
		params.SetTypes([]any{subscribedEvent{alert.ErrorLogged, version}})
		subscription, err := service.CreateSubscription(params)
		if err == nil {
			sid, err = told(subscription.Sid)
		}
		return err
	})
	return sid, err
}

// TestSink asks Twilio to post a test event, alert.TestEvent, to a sink.
func (t *Twilio) TestSink(ctx context.Context, sid string) error {
	return t.do(ctx, func(handler *client.RequestHandler) error {
		_, err := events.NewApiService(handler).CreateSinkTest(sid)
		return err
	})
}

// RemoveSink deletes a sink and its subscriptions, those first, unless they are gone
// already.
func (t *Twilio) RemoveSink(ctx context.Context, sink Sink) error {
	for _, subscription := range sink.Subscriptions {
		if err := t.remove(ctx, func(s *events.ApiService) error { return s.DeleteSubscription(subscription) }); err != nil {
			return err
		}
	}
	return t.remove(ctx, func(s *events.ApiService) error { return s.DeleteSink(sink.SID) })
}

func (t *Twilio) remove(ctx context.Context, do func(*events.ApiService) error) error {
	err := t.do(ctx, func(handler *client.RequestHandler) error { return do(events.NewApiService(handler)) })
	if ErrorCode(err) == NotFound {
		return nil
	}
	return err
}
