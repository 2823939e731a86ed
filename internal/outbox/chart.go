package outbox

import (
	"context"
	"database/sql"
	"maps"
	"time"

	"twilio-error-sms/internal/alert"
)

// chartPeriod is the period of the counters behind the operator's chart: all
// errors of an hour, alarms and uncounted warnings included.
const chartPeriod alert.Period = "chart"

// chartTimeout bounds the storing of the chart, for which webhooks wait.
const chartTimeout = 500 * time.Millisecond

// maxChart is about how many counters the chart has for an hour.
const maxChart = 10_000

// addToChart adds what was decided to the chart.
func (o *Outbox) addToChart(r *recording, chart map[alert.Counter]int64) {
	for _, e := range r.entries {
		if e.event.Level == alert.Info || e.decision == ownSMS || e.decision == waits {
			continue
		}
		at := e.event.Time
		if e.event.Kind == alert.Alarm {
			at = r.now // it tells of a count, and of when it fired
		}
		c := alert.Counter{Account: e.event.Account, Code: e.event.Code, Period: chartPeriod, Start: alert.Hourly.Start(at)}
		if _, known := chart[c]; !known && len(chart) >= maxChart {
			c.Code = "" // a stranger may make up codes
		}
		chart[c]++
	}
}

// storeChart adds to the chart's counters, and sets those in chart back to zero.
// The chart is a picture, not a record: it is written once a second, so that
// webhooks do not pay for it, and a crash loses a second of it.
func (o *Outbox) storeChart(chart map[alert.Counter]int64) {
	added := maps.Clone(chart)
	maps.DeleteFunc(added, func(_ alert.Counter, n int64) bool { return n == 0 })
	if len(added) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), chartTimeout)
	defer cancel()
	err := o.db.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := addCounts(ctx, tx, &o.db.bulk, added)
		return err
	})
	if err != nil {
		return
	}
	for c := range added {
		chart[c] = 0
	}
	hour := alert.Hourly.Start(time.Now())
	maps.DeleteFunc(chart, func(c alert.Counter, _ int64) bool { return c.Start.Before(hour) })
}
