// Package connections bounds how many connections a server has, so that
// strangers who hold thousands keep nobody out. A server that only stops to
// accept would let them.
package connections

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// Most returns how many connections a server should have at most: half as many
// as this process may open files, because other files are open as well, and no
// more than 1000, because each may hold some 70 KB.
func Most() int { return min(1000, openFiles()/2) }

// limit makes room for new connections. A connection waits while the server
// waits for its client: for a request, its body, or the close.
type limit struct {
	most int

	mu      sync.Mutex
	all     map[net.Conn]*list.Element // nil while the server works for it
	waiting list.List                  // of net.Conn, the longest wait first
}

// Limit lets server have that many connections at most. One more closes the
// connection that has waited longest since its last step: where a genuine request takes
// milliseconds, it is a stranger's. One that the server works for, as its
// handler told by Busy, is never closed.
func Limit(server *http.Server, most int) {
	l := &limit{most: most, all: make(map[net.Conn]*list.Element)}
	server.ConnState = l.changed
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, key{}, func() { l.busy(c) })
	}
}

// key is that of the function that makes a request's connection busy.
type key struct{}

// Busy tells that all of a request has been read and is believed, by the
// request's context.
func Busy(ctx context.Context) {
	if busy, ok := ctx.Value(key{}).(func()); ok {
		busy()
	}
}

func (l *limit) changed(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
	if state == http.StateClosed || state == http.StateHijacked {
		delete(l.all, c)
		return
	}
	l.all[c] = l.waiting.PushBack(c)
	if len(l.all) > l.most {
		oldest := l.waiting.Front().Value.(net.Conn)
		l.remove(oldest)
		delete(l.all, oldest)
		oldest.Close()
	}
}

func (l *limit) busy(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
}

// remove takes c from those that wait.
func (l *limit) remove(c net.Conn) {
	if waiting := l.all[c]; waiting != nil {
		l.waiting.Remove(waiting)
		l.all[c] = nil
	}
}
