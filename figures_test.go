package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var figures = flag.Duration("figures", 0, "measure the figures of docs/performance.md, each for this long in each round")

// load is what a load run saw.
type load struct {
	posts    int
	rate     float64 // posts a second
	p50, p99 time.Duration
	cpu      time.Duration // of the server, for each post
}

const (
	loadURL   = "https://alerts.example.com"
	loadToken = "12345"
)

// signedForm returns a Debugger webhook with its signature. n makes it unique.
func signedForm(n int64) (body, signature string) {
	form := url.Values{
		"Sid": {fmt.Sprintf("NO%032x", uint64(n)*0x9e3779b97f4a7c15)}, "AccountSid": {"AC0123456789abcdef0123456789abcdef"}, "ParentAccountSid": {""},
		"Timestamp": {time.Now().UTC().Format(time.RFC3339Nano)}, "Level": {"ERROR"}, "PayloadType": {"application/json"},
		"Payload": {`{"resource_sid":"CA66666666666666666666666666666666","service_sid":null,"error_code":"` + strconv.FormatInt(30000+n%200, 10) +
			`","more_info":{"Msg":"An attempt to retrieve content returned the HTTP status code 404","sourceComponent":"12000","httpResponse":"404","LogLevel":"ERROR"},"webhook":{"type":"application/json","request":{}}}`},
	}
	return form.Encode(), sign(loadToken, loadURL+"/error_trigger", form)
}

// postNth posts the nth webhook and returns how long its answer took.
func postNth(client *http.Client, server string, n int64) (time.Duration, error) {
	body, signature := signedForm(n)
	begin := time.Now()
	answer, text, err := postSigned(client, server, "/error_trigger", "application/x-www-form-urlencoded", body, signature)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return 0, errors.New(text)
	}
	return time.Since(begin), nil
}

// post posts signed Debugger webhooks over connections for a while.
func (p *process) post(t testing.TB, connections int, d time.Duration) load {
	var n, end = time.Now().UnixNano(), time.Now().Add(d)
	var next atomic.Int64
	next.Store(n)
	took := make([][]time.Duration, connections)
	var clients sync.WaitGroup
	cpu, begin := p.cpu(t), time.Now()
	for i := range connections {
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for time.Now().Before(end) {
				d, err := postNth(client, p.URL, next.Add(1))
				if err != nil {
					t.Error(err)
					return
				}
				took[i] = append(took[i], d)
			}
		})
	}
	clients.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	l := load{posts: len(all), rate: float64(len(all)) / time.Since(begin).Seconds()}
	l.p50, l.p99 = all[len(all)/2], all[len(all)*99/100]
	l.cpu = (p.cpu(t) - cpu) / time.Duration(len(all))
	return l
}

func TestFigures(t *testing.T) {
	if *figures == 0 {
		t.Skip("measures only with -figures 5s")
	}
	bare := startProcess(t, "bare", t.TempDir())
	server := startProcess(t, "program", t.TempDir(), "DRY_RUN=true", "PUBLIC_URL="+loadURL, "TWILIO_AUTH_TOKEN="+loadToken)
	for range 3 {
		for _, p := range []*process{bare, server} {
			l := p.post(t, 64, *figures)
			fmt.Printf("%.0f/s p50 %v p99 %v cpu %v  rss %.1f\n", l.rate, l.p50, l.p99, l.cpu, p.memory(t, "VmHWM"))
		}
	}
	l := server.post(t, 1, *figures)
	fmt.Printf("lone %.0f/s p50 %v p99 %v cpu %v\n", l.rate, l.p50, l.p99, l.cpu)
}
