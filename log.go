package main

import (
	"log/slog"
	"net/http"
	"time"
)

// response is an answer on its way, and what the request's line in the log
// says of it.
type response struct {
	http.ResponseWriter
	status int
	kind   string // what the webhook brings, empty if it is none
	attrs  []slog.Attr
}

func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// note adds attributes to the request's line in the log.
func note(w http.ResponseWriter, attrs ...slog.Attr) {
	if logged, ok := w.(*response); ok {
		logged.attrs = append(logged.attrs, attrs...)
	}
}

// noteKind says what a webhook brings.
func noteKind(w http.ResponseWriter, kind string) {
	if logged, ok := w.(*response); ok {
		logged.kind = kind
	}
}

// logRequests writes one line for each request, at its end: a warning if it
// was refused, an error if the server was at fault. Health checks that pass
// are of no interest. It tells observer of webhooks.
func logRequests(next http.Handler, observer Observer, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		logged := &response{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(logged, r)
		level := slog.LevelInfo
		switch {
		case logged.status >= 500:
			level = slog.LevelError
		case logged.status >= 400:
			level = slog.LevelWarn
		case r.URL.Path == "/healthz":
			level = slog.LevelDebug
		}
		attrs := []slog.Attr{
			slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", logged.status), slog.Float64("seconds", time.Since(begin).Seconds()),
		}
		if logged.kind != "" {
			observer.Webhook(logged.kind, logged.status)
			attrs = append(attrs, slog.String("kind", logged.kind))
		}
		logger.LogAttrs(r.Context(), level, "request", append(attrs, logged.attrs...)...)
	})
}
