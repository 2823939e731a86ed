// Package requestlog writes one line in the log for each request, at its end.
package requestlog

import (
	"log/slog"
	"net/http"
	"time"
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

// Add adds attributes to the line of the request that w answers.
func Add(w http.ResponseWriter, attrs ...slog.Attr) {
	if logged, ok := w.(*response); ok {
		logged.attrs = append(logged.attrs, attrs...)
	}
}

// SetKind says what the webhook that w answers brings: an attribute of the line,
// and what New's observe is told.
func SetKind(w http.ResponseWriter, kind string) {
	if logged, ok := w.(*response); ok {
		logged.kind = kind
	}
}

// SetQuiet lowers the line of a successful request to level debug: probes ask
// every few seconds.
func SetQuiet(w http.ResponseWriter) {
	if logged, ok := w.(*response); ok {
		logged.quiet = true
	}
}

// New returns next with a line for each request: a warning if it was refused,
// an error if the server was at fault. A request whose kind was set is reported
// to observe, with the status of the answer.
func New(next http.Handler, observe func(kind string, status int), logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		logged := &response{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(logged, r)
		attrs := []slog.Attr{
			slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", logged.status), slog.Float64("seconds", time.Since(begin).Seconds()),
		}
		if logged.kind != "" {
			observe(logged.kind, logged.status)
			attrs = append(attrs, slog.String("kind", logged.kind))
		}
		logger.LogAttrs(r.Context(), logged.level(), "request", append(attrs, logged.attrs...)...)
	})
}

func (w *response) level() slog.Level {
	switch {
	case w.status >= 500:
		return slog.LevelError
	case w.status >= 400:
		return slog.LevelWarn
	case w.quiet:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
