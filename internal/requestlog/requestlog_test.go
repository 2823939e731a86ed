package requestlog

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
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
