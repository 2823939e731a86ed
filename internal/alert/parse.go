package alert

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParseForm reads the fields of an App Monitor trigger, an Alarm or a
// Debugger webhook, which Twilio sends as a form or in the query string.
// The token is the I-Twilio-Idempotency-Token header, which identifies a
// redelivery when the fields do not; it may be empty.
func ParseForm(fields url.Values, token string) (Event, error) {
	if fields.Has("Payload") || fields.Get("Sid") != "" && fields.Get("Level") != "" {
		return parseDebugger(fields, token)
	}
	return parseAlarm(fields.Get, token)
}

// ParseQuery reads a query or an encoded form as far as it can be read, where
// url.ParseQuery gives up: a semicolon is text, and so is a percent sign
// without two hexadecimal digits behind it. It reads the first 1000 fields, where
// Twilio sends some 30.
func ParseQuery(s string) url.Values {
	fields := make(url.Values)
	n := 0
	for pair := range strings.SplitSeq(s, "&") {
		if name, value, _ := strings.Cut(pair, "="); pair != "" {
			if n++; n > maxFields {
				break
			}
			name = unescape(name)
			fields[name] = append(fields[name], unescape(value))
		}
	}
	return fields
}

// maxFields is how many fields of a query or form are read: strangers send
// a million.
const maxFields = 1000

// percents matches an encoded byte, or a percent sign that encodes nothing.
var percents = regexp.MustCompile(`%(?:[0-9a-fA-F]{2})?`)

// unescape decodes what is encoded in a query, and leaves the rest as it is.
func unescape(s string) string {
	decoded, err := url.QueryUnescape(s)
	if err != nil { // for a percent sign that encodes nothing
		s = percents.ReplaceAllStringFunc(s, func(sign string) string {
			if sign == "%" {
				return "%25"
			}
			return sign
		})
		decoded, _ = url.QueryUnescape(s)
	}
	return decoded
}

// ParseJSON reads an Alarm as a JSON object, or one CloudEvent of Event
// Streams, or an array of them. One bad event does not spoil the others: they
// are returned together with an error that names each bad one.
func ParseJSON(body []byte, token string) ([]Event, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		event, err := parseObject(body, token)
		if err != nil {
			return nil, err
		}
		return []Event{event}, nil
	}
	batch, err := readBatch(body)
	if err != nil {
		return nil, err
	}
	var events []Event
	var problems []error
	for i, raw := range batch {
		event, err := parseObject(raw, "")
		if err != nil {
			problems = append(problems, fmt.Errorf("event %d of %d: %w", i+1, len(batch), err))
			continue
		}
		events = append(events, event)
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Errorf("and %d more bad events", more))
	}
	return events, errors.Join(problems...)
}

const (
	// maxEvents is how many events a batch may have: more than 1 MiB holds of
	// Twilio's.
	maxEvents = 10_000
	// maxProblems is how many bad events of a batch are described.
	maxProblems = 5
)

// readBatch splits an array into its events, one by one: an array of a million
// numbers costs no more than its first.
func readBatch(body []byte) ([]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	_, err := decoder.Token() // its bracket
	var batch []json.RawMessage
	for err == nil && decoder.More() {
		if len(batch) == maxEvents {
			return nil, fmt.Errorf("more than the %d events of a batch", maxEvents)
		}
		var raw json.RawMessage
		err = decoder.Decode(&raw)
		batch = append(batch, raw)
	}
	if err == nil {
		_, err = decoder.Token() // the other bracket
	}
	if err != nil {
		return nil, fmt.Errorf("broken JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("broken JSON: it goes on after the array")
	}
	if len(batch) == 0 {
		return nil, errors.New("an empty array: expected CloudEvents")
	}
	return batch, nil
}

// parseObject reads one JSON object: a CloudEvent or an Alarm.
func parseObject(body []byte, token string) (Event, error) {
	var object map[string]text
	if err := json.Unmarshal(body, &object); err != nil {
		if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Event{}, fmt.Errorf("expected a JSON object, got %s", wrongType.Value)
		}
		return Event{}, fmt.Errorf("broken JSON: %w", err)
	}
	if object == nil {
		return Event{}, errors.New("expected a JSON object, got null")
	}
	if _, ok := object["specversion"]; ok {
		return parseCloudEvent(body)
	}
	return parseAlarm(func(key string) string { return string(object[key]) }, token)
}

// parseAlarm reads the ten keys of App Monitor triggers and Alarms. Sources:
// https://www.twilio.com/docs/api/errors/app-monitor-triggers and
// https://www.twilio.com/docs/usage/troubleshooting/alarms.
func parseAlarm(get func(key string) string, token string) (Event, error) {
	if get("AppMonitorTriggerSid") == "" && get("ErrorCode") == "" && get("Description") == "" {
		return Event{}, errors.New("missing ErrorCode, Description or AppMonitorTriggerSid (or a Debugger webhook's Payload, or CloudEvents)")
	}
	e := Event{
		ID:          requestID(token),
		Kind:        Alarm,
		Account:     parseSID(get("AccountSid")),
		Code:        ParseCode(get("ErrorCode")),
		Level:       parseLevel(get("Log")),
		Description: cleanDescription(get("Description")),
		Time:        parseTime(get("DateFired")),
		Period:      clean(get("TimePeriod"), 20),
	}
	if n, err := strconv.ParseFloat(get("CurrentValue"), 64); err == nil && n >= 1 && n < 1e12 {
		e.Count = int64(n)
	}
	// The documentation calls the token unique, but its own sample is only account
	// and alarm, which repeats with each firing. So the date belongs to the ID.
	if fired, unique := get("DateFired"), get("IdempotencyToken"); fired != "" && unique != "" {
		e.ID = identity("alarm", unique, fired)
	}
	return e, nil
}

// requestID returns the ID of an event that only the request identifies, by its
// token.
func requestID(token string) string {
	if token == "" {
		return ""
	}
	return identity("request", token)
}

// text is a JSON string, number or boolean as text, without the spaces around
// it. Anything else is "": Twilio sends null, or nothing, or another type, where
// it has no text.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	s := string(data)
	switch s[0] {
	case '"':
		s = s[1 : len(s)-1]
		if !isPlain(s) { // or nothing is escaped, as in most
			json.Unmarshal(data, &s)
		}
	case '{', '[', 'n':
		return nil
	}
	if s = strings.TrimSpace(s); s != "" { // an empty msg must not wipe out the Msg before it
		*t = text(s)
	}
	return nil
}

// decode decodes a JSON object. A value of an unexpected type, such as null
// instead of an object, stays empty: Twilio's products differ.
func decode(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if other, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && other.Field != "" {
		return nil // the rest is decoded
	}
	return err
}

// details are the parts of a Debugger payload, of an error log's payload and
// of the error log's text that tell what happened. The rest of what Twilio sends
// there, phone numbers and message bodies among it, is never decoded.
type details struct {
	Resource text `json:"resource_sid"`
	Code     text `json:"error_code"`
	said
	MoreInfo said `json:"more_info"`
	Webhook  struct {
		Request  struct{ Parameters struct{ ErrorMessage text } } // of channels
		Response struct {
			Headers struct {
				Error text `json:"X-Twilio-WebhookError"`
			}
		}
	}
}

// said holds the keys under which Twilio's products say what happened. Both Msg
// and msg occur, sometimes together; encoding/json takes either.
type said struct {
	ErrorCode     text
	LogLevel      text
	Msg           text
	ParserMessage text // of TwiML: the line and the cause
	Message       text
	Description   text
	ErrorMessage  text // of channels
	AlertText     text `json:"alert_text"`
}

// first returns the first of them.
func (s said) first() text {
	return cmp.Or(s.Msg, s.ParserMessage, s.Message, s.Description, s.ErrorMessage, s.AlertText)
}

// code returns the error code, wherever Twilio put it: in its own field, as
// "32009,text" in more_info, or as "11203 text" in a header that it noted.
func (d details) code() string {
	return cmp.Or(ParseCode(string(d.Code)), ParseCode(leadingDigits(string(d.MoreInfo.ErrorCode))),
		ParseCode(leadingDigits(string(d.Webhook.Response.Headers.Error))))
}

func (d details) description() string {
	return cleanDescription(string(cmp.Or(d.MoreInfo.first(), d.first(), d.Webhook.Request.Parameters.ErrorMessage)))
}

// parseDetails reads a JSON object, or an encoded form (Msg=…&ErrorCode=…) as
// the error log has it.
func parseDetails(s string) (d details, ok bool) {
	if decode([]byte(s), &d) == nil {
		return d, true
	}
	fields := ParseQuery(s)
	get := func(key string) text { return text(strings.TrimSpace(fields.Get(key))) }
	d = details{MoreInfo: said{
		ErrorCode: get("ErrorCode"), LogLevel: get("LogLevel"),
		Msg: cmp.Or(get("Msg"), get("msg")), ParserMessage: get("parserMessage"), Message: get("message"),
		Description: get("description"), ErrorMessage: get("errorMessage"), AlertText: get("alert_text"),
	}}
	return d, slices.ContainsFunc([]string{"Msg", "msg", "parserMessage", "ErrorCode", "LogLevel"}, fields.Has)
}

// parseDebugger reads the form of a Debugger webhook, whose Payload is JSON.
// Source: https://www.twilio.com/docs/usage/troubleshooting/debugging-event-webhooks.
func parseDebugger(fields url.Values, token string) (Event, error) {
	level, sid := fields.Get("Level"), fields.Get("Sid")
	payload, ok := parseDetails(fields.Get("Payload"))
	if !ok && (level == "" || sid == "") { // with both it is an event all the same
		return Event{}, errors.New("the field Payload is not a JSON object")
	}
	return Event{
		ID:          cmp.Or(identity(sid), requestID(token)),
		Kind:        Debugger,
		Account:     parseSID(fields.Get("AccountSid")),
		Code:        payload.code(),
		Level:       parseLevel(cmp.Or(level, string(payload.MoreInfo.LogLevel))),
		Description: payload.description(),
		Resource:    parseSID(string(payload.Resource)),
		Time:        parseTime(fields.Get("Timestamp")),
	}, nil
}

// cloudEvent is the envelope of Event Streams with the data of an error log.
// Source: https://www.twilio.com/docs/events/event-types/errors/error-logs.
type cloudEvent struct {
	ID   text `json:"id"`
	Type text `json:"type"`
	Time text `json:"time"`
	Data struct {
		SID     text            `json:"sid"`
		Account text            `json:"account_sid"`
		Created text            `json:"date_created"`
		Level   text            `json:"level"`
		Code    text            `json:"error_code"`
		Payload json.RawMessage `json:"payload"` // JSON in a string, or as it is
	} `json:"data"`
}

func parseCloudEvent(body []byte) (Event, error) {
	var c cloudEvent
	if err := decode(body, &c); err != nil {
		return Event{}, fmt.Errorf("broken CloudEvent: %w", err)
	}
	if c.Type == "" {
		return Event{}, errors.New("the CloudEvent has no type")
	}
	if c.Type != ErrorLogged {
		// A test event's id is the account's, the same each time: always news.
		return Event{Kind: Other, Level: Info, Description: cleanDescription(string(c.Type))}, nil
	}
	data := c.Data
	id := cmp.Or(data.SID, c.ID)
	if id == "" {
		return Event{}, errors.New("the CloudEvent has neither data.sid nor id")
	}
	var inner text
	json.Unmarshal(data.Payload, &inner) // fails where there is none
	payload, ok := parseDetails(string(cmp.Or(inner, text(data.Payload))))
	if !ok {
		payload = details{} // the text of a log line: the code's name says more
	}
	return Event{
		ID:          identity(string(id)),
		Kind:        Stream,
		Account:     parseSID(string(data.Account)),
		Code:        cmp.Or(ParseCode(string(data.Code)), payload.code()),
		Level:       parseLevel(string(data.Level)),
		Description: payload.description(),
		Resource:    parseSID(string(payload.Resource)),
		Time:        cmp.Or(parseTime(string(data.Created)), parseTime(string(c.Time))),
	}, nil
}

// ErrorLogEntry is an entry of Twilio's error log as the Monitor Alerts API
// writes it. Source: https://www.twilio.com/docs/usage/monitor-alert.
type ErrorLogEntry struct {
	SID       string `json:"sid"`
	Account   string `json:"account_sid"`
	Code      string `json:"error_code"`
	Level     string `json:"log_level"`
	Text      string `json:"alert_text"`
	Resource  string `json:"resource_sid"`
	Generated string `json:"date_generated"` // when the error happened, RFC 3339
	Created   string `json:"date_created"`   // when it entered the log, RFC 3339
}

// ParseErrorLogEntry makes an Event of an entry of Twilio's error log, by the
// rules of a Debugger webhook. Its text is an encoded form
// (Msg=…&ErrorCode=…), JSON, or plain words.
func ParseErrorLogEntry(entry ErrorLogEntry) Event {
	d, ok := parseDetails(entry.Text)
	if !ok {
		d = details{said: said{Msg: text(entry.Text)}}
	}
	return Event{
		ID:          identity(entry.SID),
		Kind:        ErrorLog,
		Account:     parseSID(entry.Account),
		Code:        cmp.Or(ParseCode(entry.Code), d.code()),
		Level:       parseLevel(entry.Level),
		Description: d.description(),
		Resource:    parseSID(entry.Resource),
		Time:        parseTime(cmp.Or(entry.Generated, entry.Created)),
	}
}
