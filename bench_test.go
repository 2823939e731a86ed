package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"twilio-error-sms/internal/outbox"
)

// BenchmarkWebhook posts signed Debugger webhooks of 200 codes over 64
// connections, each of them committed to disk, and beside it, as the ceiling,
// to a bare net/http server that parses the same form and answers 200. Compare
// the figures of one run.
func BenchmarkWebhook(b *testing.B) {
	b.Run("ceiling", func(b *testing.B) {
		post(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.ParseForm() }))
	})
	b.Run("sqlite", func(b *testing.B) {
		post(b, benchmarkHandler(b, "sqlite:"+filepath.Join(b.TempDir(), "alerts.db")))
	})
}

const benchmarkURL = "https://alerts.example.com"

func benchmarkHandler(b *testing.B, database string) http.Handler {
	config := testConfig(b, map[string]string{"DRY_RUN": "true", "PUBLIC_URL": benchmarkURL, "TWILIO_AUTH_TOKEN": "12345"})
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil))
	box, err := outbox.Open(b.Context(), database, outboxOptions(config, logger))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { box.Close() })
	return NewHandler(config, box, logger)
}

// post posts b.N webhooks over 64 connections and reports the 50th and 99th
// percentile of the time that each took.
func post(b *testing.B, handler http.Handler) {
	const connections = 64
	server := httptest.NewServer(handler)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	var n atomic.Int64
	took := make([]time.Duration, b.N)
	cpu := cpuTime()
	b.SetParallelism(connections / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for pb.Next() {
			i := n.Add(1)
			request := debuggerRequest(int(i))
			begin := time.Now()
			if _, err := io.WriteString(conn, request); err != nil {
				b.Error(err)
				return
			}
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, answer.Body)
			if answer.StatusCode != http.StatusOK {
				b.Error(answer.Status)
				return
			}
			took[i-1] = time.Since(begin)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
	report(b, took)
}

// debuggerRequest is the nth signed webhook, as bytes: the client should cost
// little beside the server.
func debuggerRequest(n int) string {
	form := url.Values{
		"Sid": {fmt.Sprintf("NO%032x", uint64(n)*0x9e3779b97f4a7c15)}, "AccountSid": {"AC0123456789abcdef0123456789abcdef"}, "ParentAccountSid": {""},
		"Timestamp": {time.Now().UTC().Format(time.RFC3339Nano)}, "Level": {"ERROR"}, "PayloadType": {"application/json"},
		"Payload": {`{"resource_sid":"CA66666666666666666666666666666666","service_sid":null,"error_code":"` + strconv.Itoa(30000+n%200) +
			`","more_info":{"Msg":"An attempt to retrieve content returned the HTTP status code 404","sourceComponent":"12000","httpResponse":"404","LogLevel":"ERROR"},"webhook":{"type":"application/json","request":{}}}`},
	}
	body := form.Encode()
	return fmt.Sprintf("POST /error_trigger HTTP/1.1\r\nHost: alerts.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nX-Twilio-Signature: %s\r\n\r\n%s",
		len(body), sign("12345", benchmarkURL+"/error_trigger", form), body)
}

// cpuTime returns the processor time of this process so far, client and server
// together.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// report reports percentiles.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "posts/s")
}
