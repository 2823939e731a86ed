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
	"time"
)

// leastWait is how long a new connection has to send its request, however many
// come after it.
const leastWait = 100 * time.Millisecond

// Most returns how many connections each of two servers should have at most: a
// third of the files that this process may open, because other files are open as
// well, and no more than 1000, because each may hold some 70 KB.
func Most() int { return min(1000, openFiles()/3) }

// limit makes room for new connections. A connection waits while the server
// waits for its client: for a request, its body, or the close.
type limit struct {
	most int

	mu      sync.Mutex
	all     map[net.Conn]*connection
	waiting list.List // of *connection, the longest wait first
}

type connection struct {
	net.Conn
	cancel context.CancelFunc // of what is done for it
	place  *list.Element      // among those that wait, nil while the server works for it
	since  time.Time          // when it took that place
}

// Limit lets server have that many connections at most. Before one more it closes
// the connection that has waited longest since its last step, and cancels its
// context: where a genuine request takes milliseconds, it is a stranger's. One that
// the server works for, as its handler told by Busy, is never closed.
func Limit(server *http.Server, most int) {
	l := &limit{most: most, all: make(map[net.Conn]*connection)}
	server.ConnState = l.changed
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		accepted := &connection{Conn: c, cancel: cancel}
		l.add(accepted)
		return context.WithValue(ctx, key{}, func() { l.busy(accepted) })
	}
}

// key finds, in a request's context, the function that makes its connection busy.
type key struct{}

// Busy tells that a request is believed and the server works for it, by the
// request's context.
func Busy(ctx context.Context) {
	if busy, ok := ctx.Value(key{}).(func()); ok {
		busy()
	}
}

// add adds c when there is room. Meanwhile the server accepts no other.
func (l *limit) add(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.all) >= l.most && l.waiting.Len() > 0 {
		oldest := l.waiting.Front().Value.(*connection)
		if rest := leastWait - time.Since(oldest.since); rest > 0 {
			l.mu.Unlock()
			time.Sleep(rest)
			l.mu.Lock()
			continue
		}
		l.remove(oldest)
		oldest.Close()
	}
	l.all[c.Conn] = c
}

func (l *limit) changed(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch changed := l.all[c]; {
	case changed == nil: // it made room
	case state == http.StateClosed || state == http.StateHijacked:
		l.remove(changed)
	default:
		l.work(changed)
		changed.place, changed.since = l.waiting.PushBack(changed), time.Now()
	}
}

func (l *limit) busy(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work(c)
}

// work takes c from those that wait.
func (l *limit) work(c *connection) {
	if c.place != nil {
		l.waiting.Remove(c.place)
		c.place = nil
	}
}

// remove forgets c.
func (l *limit) remove(c *connection) {
	l.work(c)
	delete(l.all, c.Conn)
	c.cancel()
}
