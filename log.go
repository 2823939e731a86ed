package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// notes collects, while a request is served, what its line in the log says.
type notes struct {
	kind  string // what the webhook brings, empty if it is none
	attrs []slog.Attr
}

type notesKey struct{}

// note adds attributes to the request's line in the log.
func note(r *http.Request, attrs ...slog.Attr) {
	if n, ok := r.Context().Value(notesKey{}).(*notes); ok {
		n.attrs = append(n.attrs, attrs...)
	}
}

// noteKind says what a webhook brings.
func noteKind(r *http.Request, kind string) {
	if n, ok := r.Context().Value(notesKey{}).(*notes); ok {
		n.kind = kind
	}
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// logRequests writes one line for each request, at its end: a warning if it
// was refused, an error if the server was at fault. Health checks that pass
// are of no interest. It tells observer of webhooks.
func logRequests(next http.Handler, observer Observer, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		n := new(notes)
		answer := &statusWriter{w, http.StatusOK}
		next.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), notesKey{}, n)))
		level := slog.LevelInfo
		switch {
		case answer.status >= 500:
			level = slog.LevelError
		case answer.status >= 400:
			level = slog.LevelWarn
		case r.URL.Path == "/healthz":
			level = slog.LevelDebug
		}
		attrs := []slog.Attr{
			slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", answer.status), slog.Float64("seconds", time.Since(begin).Seconds()),
		}
		if n.kind != "" {
			observer.Webhook(n.kind, answer.status)
			attrs = append(attrs, slog.String("kind", n.kind))
		}
		logger.LogAttrs(r.Context(), level, "request", append(attrs, n.attrs...)...)
	})
}
