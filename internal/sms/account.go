package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"

	"twilio-error-sms/internal/alert"
)

const (
	apiURL       = "https://api.twilio.com/2010-04-01/Accounts/"
	messagingURL = "https://messaging.twilio.com/v1/Services/"

	// NotFound is Twilio's code of what does not exist.
	NotFound = "20404"
)

// read asks Twilio for a resource and decodes the answer. It does without
// twilio-go's products: they have a type for each list, all of pointers, and
// messaging is another package. Its errors, and those of the methods that read,
// are *alert.SendError.
func (t *Twilio) read(ctx context.Context, address string, query url.Values, into any) error {
	return t.do(ctx, func(handler *client.RequestHandler) error {
		answer, err := handler.Get(address, query, nil, "")
		if err != nil {
			return err
		}
		return json.NewDecoder(answer.Body).Decode(into)
	})
}

// during says in an error of read what was being done, and what the operator
// can do.
func during(what string, err error) error {
	if failure, ok := errors.AsType[*alert.SendError](err); ok {
		failure.Err = fmt.Errorf("%s: %w", what, failure.Err)
	}
	return advised(err)
}

// turnPage makes query ask for the next page of a list, and reports whether
// there is one. Only the token and the number are taken from the address that
// Twilio gives: which host to ask is our decision.
func turnPage(query url.Values, address string) bool {
	next, err := url.Parse(address)
	if err != nil || next.Query().Get("PageToken") == "" {
		return false
	}
	query.Set("PageToken", next.Query().Get("PageToken"))
	query.Set("Page", next.Query().Get("Page"))
	return true
}

// messagesURL is the address of the message log.
func (t *Twilio) messagesURL() string { return apiURL + t.account.SID + "/Messages.json" }

// AccountState is what Twilio says of the account.
type AccountState struct {
	Status string // active, suspended or closed
	Type   string // Trial or Full
}

// Trial reports whether the account is a trial, which can text verified phones
// only and puts alert.TrialPrefix before each text.
func (s AccountState) Trial() bool { return strings.EqualFold(s.Type, "Trial") }

// AccountState reads the account, which standard API keys may not read.
func (t *Twilio) AccountState(ctx context.Context) (AccountState, error) {
	var state AccountState
	err := t.read(ctx, apiURL+t.account.SID+".json", nil, &state)
	return state, err
}

// IsTrial reports whether the account is a trial. While Twilio cannot be reached
// it asks again, until ctx ends.
func (t *Twilio) IsTrial(ctx context.Context) (bool, error) {
	for pause := time.Second; ; pause = min(2*pause, 5*time.Minute) {
		state, err := t.AccountState(ctx)
		failure, ok := errors.AsType[*alert.SendError](err)
		if err == nil || ok && failure.Outcome == alert.Blocked {
			return state.Trial(), err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// ReadMessages reads one entry of the message log, as Send must be able to.
func (t *Twilio) ReadMessages(ctx context.Context) error {
	return t.read(ctx, t.messagesURL(), url.Values{"PageSize": {"1"}}, &struct{}{})
}

// inList reports whether one of Twilio's lists has a number, and whether the number
// can send SMS.
func (t *Twilio) inList(ctx context.Context, list, filter, number string) (found, texts bool, err error) {
	type record struct {
		PhoneNumber  string `json:"phone_number"`
		ShortCode    string `json:"short_code"`
		Capabilities struct{ SMS bool }
	}
	var page struct {
		Numbers   []record `json:"incoming_phone_numbers"`
		Codes     []record `json:"short_codes"`
		CallerIDs []record `json:"outgoing_caller_ids"`
	}
	err = t.read(ctx, apiURL+t.account.SID+"/"+list+".json", url.Values{filter: {number}}, &page)
	for _, r := range slices.Concat(page.Numbers, page.Codes, page.CallerIDs) {
		if number == r.PhoneNumber || number == r.ShortCode { // the filters also match a part of a number
			return true, r.ShortCode != "" || r.Capabilities.SMS, err
		}
	}
	return false, false, err
}

// Number reports whether the account owns a number, in E.164 or a short code, and
// whether the number can send SMS.
func (t *Twilio) Number(ctx context.Context, number string) (owned, texts bool, err error) {
	if strings.HasPrefix(number, "+") {
		return t.inList(ctx, "IncomingPhoneNumbers", "PhoneNumber", number)
	}
	return t.inList(ctx, "SMS/ShortCodes", "ShortCode", number)
}

// Verified reports whether a trial account may text a number.
func (t *Twilio) Verified(ctx context.Context, number string) (bool, error) {
	found, _, err := t.inList(ctx, "OutgoingCallerIds", "PhoneNumber", number)
	return found, err
}

// HasSenders reports whether a messaging service, MG…, has any sender.
func (t *Twilio) HasSenders(ctx context.Context, service string) (bool, error) {
	for _, list := range []string{"PhoneNumbers", "ShortCodes", "AlphaSenders", "ChannelSenders"} {
		var page struct {
			PhoneNumbers []any `json:"phone_numbers"`
			ShortCodes   []any `json:"short_codes"`
			AlphaSenders []any `json:"alpha_senders"`
			Senders      []any `json:"senders"` // of channels
		}
		err := t.read(ctx, messagingURL+service+"/"+list, url.Values{"PageSize": {"1"}}, &page)
		if all := slices.Concat(page.PhoneNumbers, page.ShortCodes, page.AlphaSenders, page.Senders); err != nil || len(all) > 0 {
			return len(all) > 0, err
		}
	}
	return false, nil
}

// Delivery asks what became of the SMS with a SID, in Twilio's words: queued,
// sent, delivered, undelivered, …, and with which error code, if any.
func (t *Twilio) Delivery(ctx context.Context, sid string) (status, code string, err error) {
	var m struct {
		Status string
		Code   json.Number `json:"error_code"`
	}
	err = t.read(ctx, apiURL+t.account.SID+"/Messages/"+sid+".json", nil, &m)
	return m.Status, alert.ParseCode(m.Code.String()), err
}
