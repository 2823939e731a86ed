package admin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

const (
	chartHours = 24
	// chartCodes is how many codes have their own pattern; the others share the
	// last.
	chartCodes = 5
	// The y of the bottom and the top of the chart's bars, in pixels. It is as
	// wide as the page, so all that is horizontal is in percent.
	chartFloor, chartTop = 122, 18
)

// hourChart shows errors by hour and code.
type hourChart struct {
	Total int64
	Bars  []hourBar
	Codes []chartCode
}

// chartCode is a code in the chart. Its place is the number of its pattern.
type chartCode struct {
	Code, Name string
	Total      int64
}

// hourBar is the bar of an hour. Its parts belong to the codes of the chart.
type hourBar struct {
	Start               time.Time
	Left, Width, Middle string // in percent
	Top                 int
	Total               int64
	Parts               []codeShare
}

// Labelled reports whether the hour stands below the bar.
func (b hourBar) Labelled() bool { return b.Start.Hour()%3 == 0 }

// codeShare is the part of an hour's bar that belongs to a code.
type codeShare struct {
	N         int64
	Y, Height float64
}

// newChart draws the 24 hours until now.
func newChart(hours []outbox.HourCount, now time.Time) hourChart {
	c := hourChart{Codes: topCodes(hours)}
	first := alert.Hourly.Start(now).Add(-(chartHours - 1) * time.Hour)
	percent := func(hours float64) string { return fmt.Sprintf("%.2f%%", hours*100/chartHours) }
	for i := range chartHours {
		start, left := first.Add(time.Duration(i)*time.Hour), float64(i)
		c.Bars = append(c.Bars, hourBar{Start: start, Left: percent(left + .1), Width: percent(.8), Middle: percent(left + .5), Parts: make([]codeShare, len(c.Codes))})
	}
	most := int64(1)
	for _, h := range hours {
		i := int(h.Start.Sub(first) / time.Hour)
		if i < 0 || i >= chartHours {
			continue // of a clock that is ahead
		}
		style := slices.IndexFunc(c.Codes, func(code chartCode) bool { return code.Code == h.Code })
		if style < 0 {
			style = chartCodes
		}
		bar := &c.Bars[i]
		bar.Parts[style].N += h.N
		bar.Total += h.N
		c.Total += h.N
		most = max(most, bar.Total)
	}
	for i := range c.Bars {
		c.Bars[i].stack(most)
	}
	return c
}

// stack puts the parts of a bar one above the other, where most fills the chart.
func (b *hourBar) stack(most int64) {
	y := float64(chartFloor)
	for i := range b.Parts {
		p := &b.Parts[i]
		p.Height = float64(p.N) / float64(most) * (chartFloor - chartTop)
		y -= p.Height
		p.Y = y
	}
	b.Top = int(y) - 5
}

// topCodes returns the most frequent codes and, where there are more, one that
// stands for the rest.
func topCodes(hours []outbox.HourCount) []chartCode {
	totals := make(map[string]int64)
	for _, h := range hours {
		totals[h.Code] += h.N
	}
	var all []chartCode
	for code, total := range totals {
		all = append(all, chartCode{Code: code, Name: alert.Event{Code: code}.Name(), Total: total})
	}
	slices.SortFunc(all, func(a, b chartCode) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Code, b.Code))
	})
	if len(all) > chartCodes {
		rest := chartCode{Code: "other", Name: fmt.Sprintf("%d further codes", len(all)-chartCodes)}
		for _, code := range all[chartCodes:] {
			rest.Total += code.Total
		}
		all = append(all[:chartCodes], rest)
	}
	return all
}
