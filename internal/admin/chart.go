package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

const (
	chartHours = 24
	// chartCodes is how many codes have their own pattern; the others share the
	// last.
	chartCodes = 5
	// The chart's height in pixels, and the y of the bottom and the top of its
	// bars. It is as wide as the page, so all that is horizontal is in percent.
	chartHeight, chartFloor, chartTop = 210, 184, 22
)

// hourChart shows errors by hour and code.
type hourChart struct {
	Height, Floor int
	Total         int64
	Lines         []gridLine
	Bars          []hourBar
	Codes         []chartCode
}

// gridLine is a horizontal line at the height of N errors.
type gridLine struct {
	Y int
	N int64
}

// chartCode is a code in the chart. Style is the number of its pattern.
type chartCode struct {
	Style      int
	Code, Name string
	Total      int64
}

// hourBar is the bar of an hour.
type hourBar struct {
	Start               time.Time
	Left, Width, Middle string // in percent
	Top                 int
	Total               int64
	Parts               []codeShare
	Label               string // empty for hours without one
}

// codeShare is the part of an hour's bar that belongs to a code.
type codeShare struct {
	chartCode
	N         int64
	Y, Height float64
}

// newChart draws the 24 hours until now.
func newChart(hours []outbox.HourCount, now time.Time) hourChart {
	c := hourChart{Height: chartHeight, Floor: chartFloor, Codes: topCodes(hours)}
	for _, code := range c.Codes {
		c.Total += code.Total
	}
	counts := countsByHour(hours, c.Codes)
	most := int64(0)
	for _, n := range counts {
		most = max(most, sum(n))
	}
	top := ceiling(most)
	for _, n := range []int64{top, top / 2} {
		c.Lines = append(c.Lines, gridLine{chartFloor - int(pixels(n, top)), n})
	}
	first := alert.Hourly.Start(now).Add(-(chartHours - 1) * time.Hour)
	for i := range chartHours {
		start := first.Add(time.Duration(i) * time.Hour)
		c.Bars = append(c.Bars, newBar(i, start, counts[start], c.Codes, top))
	}
	return c
}

// countsByHour returns the counts of each hour in the order of codes. The last of
// them also counts for all other codes.
func countsByHour(hours []outbox.HourCount, codes []chartCode) map[time.Time][]int64 {
	style := make(map[string]int)
	for _, code := range codes {
		style[code.Code] = code.Style
	}
	counts := make(map[time.Time][]int64)
	for _, h := range hours {
		if counts[h.Start] == nil {
			counts[h.Start] = make([]int64, len(codes))
		}
		at, ok := style[h.Code]
		if !ok {
			at = chartCodes
		}
		counts[h.Start][at] += h.N
	}
	return counts
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
		name := alert.Event{Code: code}.Name()
		if code == "" {
			name = "events without a code"
		}
		all = append(all, chartCode{Code: code, Name: name, Total: total})
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
	for i := range all {
		all[i].Style = i
	}
	return all
}

// newBar stacks the counts of the ith hour, which may be nil.
func newBar(i int, start time.Time, counts []int64, codes []chartCode, top int64) hourBar {
	slot := 100.0 / chartHours
	b := hourBar{
		Start:  start,
		Left:   percent((float64(i) + .1) * slot),
		Width:  percent(.8 * slot),
		Middle: percent((float64(i) + .5) * slot),
		Total:  sum(counts),
	}
	if start.Hour()%3 == 0 {
		b.Label = start.Format("15:04")
	}
	y := float64(chartFloor)
	for style, n := range counts {
		height := pixels(n, top)
		y -= height
		b.Parts = append(b.Parts, codeShare{codes[style], n, y, height})
	}
	b.Top = int(y) - 5
	return b
}

// pixels returns the height of n where top fills the chart.
func pixels(n, top int64) float64 {
	return float64(n) / float64(top) * (chartFloor - chartTop)
}

// ceiling returns the least round number that is at least n and whose half is
// a whole number too.
func ceiling(n int64) int64 {
	for _, small := range []int64{2, 4, 6, 8} {
		if small >= n {
			return small
		}
	}
	for power := int64(1); ; power *= 10 {
		for _, step := range []int64{10, 12, 16, 20, 24, 32, 40, 60, 80} {
			if step*power >= n {
				return step * power
			}
		}
	}
}

func percent(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) + "%" }

func sum(counts []int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}
