package requestlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestOneLineForEachRequest(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var observed []string
	handler := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/webhook":
			SetKind(w, "debugger")
			Add(w, slog.Int("events", 2))
		case "/probe":
			SetQuiet(w)
		case "/broken-probe":
			SetQuiet(w)
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/stranger":
			SetKind(w, "unread")
			w.WriteHeader(http.StatusForbidden)
		}
	}), func(kind string, status int) { observed = append(observed, kind+" "+http.StatusText(status)) },
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, path := range []string{"/webhook?To=secret", "/probe", "/broken-probe", "/stranger"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, nil))
	}
	got := regexp.MustCompile(`time=\S+ | seconds=\S+`).ReplaceAllString(log.String(), "")
	want := `level=INFO msg=request method=POST path=/webhook status=200 kind=debugger events=2
level=DEBUG msg=request method=POST path=/probe status=200
level=ERROR msg=request method=POST path=/broken-probe status=503
level=WARN msg=request method=POST path=/stranger status=403 kind=unread
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(observed) != 2 || observed[0] != "debugger OK" || observed[1] != "unread Forbidden" {
		t.Errorf("observed %q", observed)
	}
}

// TestWithoutALine: the helpers accept an answer that has no line.
func TestWithoutALine(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	Add(w, slog.Int("events", 1))
	SetKind(w, "alarm")
	SetQuiet(w)
}

// run serves requests in a bubble and returns what is logged until some time
// after the last.
func run(t *testing.T, handler http.HandlerFunc, requests func(http.Handler)) (log string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var buffer bytes.Buffer
		requests(New(handler, func(string, int) {}, slog.New(slog.NewTextHandler(&buffer, nil))))
		time.Sleep(2 * time.Second)
		synctest.Wait() // for what logs meanwhile
		log = buffer.String()
	})
	return log
}

// TestManyRefusalsAreSummedUp: each kind has some lines a second, and nothing is
// lost in the sum.
func TestManyRefusalsAreSummedUp(t *testing.T) {
	t.Parallel()
	log := run(t, func(w http.ResponseWriter, r *http.Request) {
		SetKind(w, "unread")
		w.WriteHeader(http.StatusForbidden)
		if r.URL.Path == "/missing" {
			SetKind(w, "")
		}
	}, func(h http.Handler) {
		for i := range 3000 { // in 3 s
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", fmt.Sprint("/", i), nil))
			if i%300 == 0 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/missing", nil))
			}
			time.Sleep(time.Millisecond)
		}
	})
	if n := strings.Count(log, "msg=request "); n > 30 || strings.Count(log, "path=/missing") != 10 {
		t.Errorf("%d lines:\n%s", n, log)
	}
	total := strings.Count(log, "kind=unread") - strings.Count(log, "more=")
	for _, more := range regexp.MustCompile(`level=WARN .* status=403 kind=unread more=(\d+)`).FindAllStringSubmatch(log, -1) {
		n, _ := strconv.Atoi(more[1])
		total += n
	}
	if total != 3000 {
		t.Errorf("the log tells of %d refusals, want 3000:\n%s", total, log)
	}
}

// TestGenuineRequestsAllHaveTheirLine, however many.
func TestGenuineRequestsAllHaveTheirLine(t *testing.T) {
	t.Parallel()
	log := run(t, func(w http.ResponseWriter, r *http.Request) {}, func(h http.Handler) {
		for range 100 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/webhook", nil))
		}
	})
	if n := strings.Count(log, "msg=request"); n != 100 {
		t.Errorf("%d lines, want 100", n)
	}
}

// TestLinesOfStrangersAreShort, whatever they send.
func TestLinesOfStrangersAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 30_000)
	log := run(t, func(w http.ResponseWriter, r *http.Request) {
		Add(w, slog.String("refused", long), slog.String("checked_url", long))
		w.WriteHeader(http.StatusForbidden)
	}, func(h http.Handler) {
		r := httptest.NewRequest("POST", "/error_trigger", nil)
		r.Method, r.URL.Path = long, "/"+long
		h.ServeHTTP(httptest.NewRecorder(), r)
	})
	if len(log) > 1200 || !utf8.ValidString(log) || strings.Contains(log, "\uFFFD") {
		t.Errorf("%d bytes: %s", len(log), log)
	}
}
