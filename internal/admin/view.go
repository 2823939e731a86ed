package admin

import (
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/outbox"
)

const (
	// The page shows the newest alerts and codes briefly, so that it needs two
	// screens at most, and more of them where it is asked for one kind.
	briefAlerts, briefCodes = 5, 6
	longAlerts, longEvents  = 50, 100
	// catchUpSlack is how late the catch-up reader may be.
	catchUpSlack = 5 * time.Minute
)

// pageView is what the template reads.
type pageView struct {
	Settings config.Config
	Now      time.Time
	Style    template.CSS
	Script   template.JS
	Health   outbox.Health
	Backlog  outbox.Backlog
	outbox.History
	Filter outbox.Filter
	query  url.Values

	State                    string             // healthy, degraded or problem
	Late                     bool               // Twilio's log is not read up to now
	Total, Most              int64              // errors of the last 24 hours, and of one of them
	Alerts                   [][]outbox.PastSMS // the SMS of each
	Groups                   []codeGroup
	OlderAlerts, OlderEvents outbox.Position

	ShowAlerts, ShowEvents bool
	ShowFront              bool // everything, the newest only
	Empty                  bool // nothing ever came
}

// newView returns an empty view of what a query asks for.
func newView(settings config.Config, query url.Values, now time.Time) *pageView {
	v := &pageView{Settings: settings, Now: now, Style: template.CSS(pageCSS), Script: template.JS(pageJS), query: query}
	v.Filter = outbox.Filter{
		Code: query.Get("code"), Status: outbox.Status(query.Get("status")),
		SMS: parsePosition(query.Get("alerts")), Events: parsePosition(query.Get("events")),
		Limit: max(longEvents, (longAlerts+1)*len(settings.Outbox.Recipients)),
	}
	v.ShowAlerts = v.Filter.Events == outbox.Position{}
	v.ShowEvents = v.Filter.SMS == outbox.Position{} && v.Filter.Status == ""
	v.ShowFront = v.ShowAlerts && v.ShowEvents && v.Filter.Code == ""
	return v
}

// arrange makes of the history what the page shows.
func (v *pageView) arrange() {
	noTest := func(e outbox.PastEvent) bool { return e.Kind != alert.Other }
	v.Empty = v.ShowFront && len(v.SMS) == 0 && !slices.ContainsFunc(v.Events, noTest)
	every := v.Settings.PollEvery
	v.Late = every > 0 && v.Now.Sub(v.Backlog.CaughtUp) > 2*every+catchUpSlack
	switch {
	case v.Health.Problem != "":
		v.State = "problem"
	case v.Late || len(v.Losses) > 0 || slices.ContainsFunc(v.Phones, outbox.Phone.GetsNothing):
		v.State = "degraded"
	default:
		v.State = "healthy"
	}
	alerts, codes := longAlerts, longEvents
	if v.ShowFront {
		alerts, codes = briefAlerts, briefCodes
	}
	v.Alerts, v.OlderAlerts = alertRows(v.SMS, alerts, v.Filter.Limit)
	v.Groups, v.OlderEvents = codeGroups(v.Events, codes, v.Older)
	for _, h := range v.Hours {
		v.Total += h.N
		v.Most = max(v.Most, h.N)
	}
}

// Statuses are what the page can be asked for.
func (v *pageView) Statuses() []outbox.Status {
	return []outbox.Status{outbox.Delivered, outbox.Sent, outbox.Undelivered, outbox.Failed, outbox.Held, outbox.Pending}
}

// Paused reports whether the page refreshes itself without a script.
func (v *pageView) Paused() bool { return v.query.Get("paused") != "" }

// Link returns the page with one part of its query changed, from the newest on.
func (v *pageView) Link(name, value string) string {
	query := maps.Clone(v.query)
	query.Del("alerts")
	query.Del("events")
	query.Set(name, value)
	return "?" + query.Encode()
}

// Position writes p as a link names it, and "" for none.
func (v *pageView) Position(p outbox.Position) string {
	if p.At.IsZero() {
		return ""
	}
	return fmt.Sprint(p.At.UnixMilli(), "~", p.ID)
}

// parsePosition returns the position that a link names, and zero for none.
func parsePosition(s string) outbox.Position {
	at, id, _ := strings.Cut(s, "~")
	millis, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return outbox.Position{}
	}
	return outbox.Position{At: time.UnixMilli(millis), ID: id}
}

// reason is the error of an SMS: Twilio's code, or what went wrong.
type reason string

// Code returns Twilio's code, or "".
func (r reason) Code() string { return alert.ParseCode(string(r)) }

// Name returns the short name of the code.
func (r reason) Name() string { return alert.CodeName(r.Code()) }

// Remedy says what to do about the code.
func (r reason) Remedy() string {
	if remedy := alert.Remedy(r.Code()); !strings.HasPrefix(remedy, "see http") {
		return remedy
	}
	return "see its page"
}

// alertRows returns the SMS that all has of each alert, rows of them at most, and
// the position of older ones. Where all reaches its limit, the last may lack phones.
func alertRows(all []outbox.PastSMS, rows, limit int) ([][]outbox.PastSMS, outbox.Position) {
	var alerts [][]outbox.PastSMS
	for _, s := range all {
		last := len(alerts) - 1
		if last < 0 || alerts[last][0].Event.ID != s.Event.ID || !alerts[last][0].Created.Equal(s.Created) {
			alerts = append(alerts, nil)
			last++
		}
		alerts[last] = append(alerts[last], s)
	}
	if len(all) == limit {
		rows = min(rows, max(len(alerts)-1, 1))
	}
	if len(alerts) <= rows {
		return alerts, outbox.Position{}
	}
	last := alerts[rows-1][0]
	return alerts[:rows], outbox.Position{At: last.Created, ID: last.Event.ID}
}

// codeGroup is the events of a code, the newest first.
type codeGroup struct {
	Events  []outbox.PastEvent
	Alerted int // how many of them made phones ring
}

// codeGroups folds the newest events of the same code, the first codes of them,
// and returns the position from which to show more: of all, where codes are missing.
func codeGroups(all []outbox.PastEvent, codes int, older outbox.Position) ([]codeGroup, outbox.Position) {
	if len(all) > longEvents {
		all, older = all[:longEvents], outbox.Position{At: all[longEvents-1].Received, ID: all[longEvents-1].ID}
	}
	var groups []codeGroup
	for _, e := range all {
		at := slices.IndexFunc(groups, func(g codeGroup) bool { return g.Events[0].Code == e.Code })
		if at < 0 && len(groups) == codes {
			older = outbox.Position{At: all[0].Received.Add(time.Millisecond)}
			continue
		}
		if at < 0 {
			at = len(groups)
			groups = append(groups, codeGroup{})
		}
		groups[at].Events = append(groups[at].Events, e)
		if e.Alerted() {
			groups[at].Alerted++
		}
	}
	return groups, older
}

// pageTemplate is the template of the page.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"console": console,
	"phone":   phone,
	"short":   short,
	"reason":  func(s string) reason { return reason(s) },
}).Parse(pageHTML))

// short writes a time with its zone, and with its date if that was not today.
func short(t time.Time) string {
	if alert.Daily.Start(t).Equal(alert.Daily.Start(time.Now())) {
		return t.UTC().Format("15:04 UTC")
	}
	return t.UTC().Format("Jan 2 15:04 UTC")
}

// phone hides a phone number except its end.
func phone(number string) string {
	return strings.ReplaceAll(alert.Mask(number), "...", "…")
}

var loggedSID = regexp.MustCompile(`^(CA|SM|MM)[0-9a-f]{32}$`)

// console returns the address in Twilio's Console of what a SID names, or "".
func console(sid string) string {
	switch {
	case !loggedSID.MatchString(sid):
		return alert.Event{ID: sid}.ConsoleLink()
	case sid[:2] == "CA":
		return "https://www.twilio.com/console/voice/calls/logs/" + sid
	}
	return "https://www.twilio.com/console/sms/logs/" + sid
}
