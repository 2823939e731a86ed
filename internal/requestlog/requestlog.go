// Package requestlog writes one line in the log for each request, at its end.
// Strangers cannot fill the log: what they chose is cut, and refusals that are
// alike are summed up.
package requestlog

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// longest is how many bytes a refused request may have of each attribute.
	longest = 200
	// linesASecond is how many refusals of a kind have lines of their own in a
	// second.
	linesASecond = 5
)

// response is an answer on its way, and what the request's line says of it.
type response struct {
	http.ResponseWriter
	status int
	kind   string
	quiet  bool
	attrs  []slog.Attr
}

func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// lineOf returns the line of the request that w answers, or one that is not
// written if w is not of New.
func lineOf(w http.ResponseWriter) *response {
	if logged, ok := w.(*response); ok {
		return logged
	}
	return new(response)
}

// Add adds attributes to the line of the request that w answers.
func Add(w http.ResponseWriter, attrs ...slog.Attr) {
	logged := lineOf(w)
	logged.attrs = append(logged.attrs, attrs...)
}

// SetKind says what the webhook that w answers brings: an attribute of the line,
// and what New's observe is told.
func SetKind(w http.ResponseWriter, kind string) { lineOf(w).kind = kind }

// SetQuiet lowers the line of a successful request to level debug: probes ask
// every few seconds.
func SetQuiet(w http.ResponseWriter) { lineOf(w).quiet = true }

// New returns next with a line for each request: a warning if it was refused,
// an error if the server was at fault. A request whose kind was set is reported
// to observe, with the status of the answer.
func New(next http.Handler, observe func(kind string, status int), logger *slog.Logger) http.Handler {
	refused := &refusals{logger: logger, lately: make(map[alike]int)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		logged := &response{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(logged, r)
		if logged.kind != "" {
			observe(logged.kind, logged.status)
		}
		level := levelOf(logged.status, logged.quiet)
		if level > slog.LevelInfo && !refused.admit(alike{logged.kind, logged.status}) {
			return
		}
		attrs := []slog.Attr{
			slog.String("method", cut(r.Method)), slog.String("path", cut(r.URL.Path)),
			slog.Int("status", logged.status), slog.Float64("seconds", time.Since(begin).Seconds()),
		}
		if logged.kind != "" {
			attrs = append(attrs, slog.String("kind", logged.kind))
		}
		attrs = append(attrs, logged.attrs...)
		for i, attr := range attrs {
			if level > slog.LevelInfo && attr.Value.Kind() == slog.KindString {
				attrs[i].Value = slog.StringValue(cut(attr.Value.String()))
			}
		}
		logger.LogAttrs(r.Context(), level, "request", attrs...)
	})
}

func levelOf(status int, quiet bool) slog.Level {
	switch {
	case status >= 500:
		return slog.LevelError
	case status >= 400:
		return slog.LevelWarn
	case quiet:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// cut cuts what is too long for the log.
func cut(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

// alike is what refusals have in common that share lines.
type alike struct {
	kind   string
	status int
}

// refusals counts the refusals of the last second.
type refusals struct {
	logger *slog.Logger

	mu     sync.Mutex
	lately map[alike]int
}

// admit counts a refusal and reports whether it has a line of its own. The
// others are summed up at the end of the second.
func (r *refusals) admit(a alike) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lately[a]++
	if r.lately[a] == 1 {
		time.AfterFunc(time.Second, func() { r.sumUp(a) })
	}
	return r.lately[a] <= linesASecond
}

func (r *refusals) sumUp(a alike) {
	r.mu.Lock()
	more := r.lately[a] - linesASecond
	delete(r.lately, a)
	r.mu.Unlock()
	if more > 0 {
		r.logger.Log(context.Background(), levelOf(a.status, false), "more requests were refused alike within a second", "status", a.status, "kind", a.kind, "more", more)
	}
}
