package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"twilio-error-sms/internal/connections"
)

const (
	// guessPause is the time between two answers to wrong passwords, from all
	// addresses together.
	guessPause = 500 * time.Millisecond
	// longestPause bounds how long an answer waits: the server closes a connection
	// after 15 s.
	longestPause = 10 * time.Second
	// logPause is the least time between two lines in the log.
	logPause = time.Second
)

// login asks for the password of the operator's page; any user name will do.
// Wrong passwords wait in one line for their answer, a right one does not.
type login struct {
	next     http.Handler
	password [sha256.Size]byte // its hash: hashes have one length, passwords do not
	logger   *slog.Logger

	mu       sync.Mutex
	answered time.Time // when the last wrong password in the line gets its answer
	logged   time.Time
	unlogged int // wrong passwords since then
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, typed, ok := r.BasicAuth()
	got := sha256.Sum256([]byte(typed))
	if subtle.ConstantTimeCompare(got[:], l.password[:]) == 1 {
		connections.Busy(r.Context()) // those of wrong passwords make room
		l.next.ServeHTTP(w, r)
		return
	}
	if ok {
		select {
		case <-time.After(l.wrong(r.RemoteAddr)):
		case <-r.Context().Done():
		}
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="twilio-error-sms", charset="UTF-8"`)
	http.Error(w, "the password is the setting ADMIN_PASSWORD", http.StatusUnauthorized)
}

// wrong notes a wrong password, and returns how long its answer must wait.
func (l *login) wrong(from string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.unlogged++
	if now.Sub(l.logged) >= logPause {
		l.logger.Warn("wrong password for the operator's page", "from", from, "attempts", l.unlogged)
		l.logged, l.unlogged = now, 0
	}
	wait := min(max(l.answered.Sub(now), 0)+guessPause, longestPause)
	l.answered = now.Add(wait)
	return wait
}

// localOnly serves requests for localhost or an IP address. A stranger's web
// page can point its own name at 127.0.0.1 and then read, in the operator's
// browser, what is served there (DNS rebinding); but the browser sends that name.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "ask for localhost or an IP address, or set ADMIN_PASSWORD to use other names", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
