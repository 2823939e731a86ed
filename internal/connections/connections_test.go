package connections

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// serve serves handler over that many connections at most.
func serve(t *testing.T, most int, handler http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	Limit(server.Config, most)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// dial opens a connection and sends text.
func dial(t *testing.T, address, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStrangersMakeRoom: whatever they hold their connections with, another
// request is answered at once.
func TestStrangersMakeRoom(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":         "",
		"half a header":   "POST / HTTP/1.1\r\nHost:",
		"half a body":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
		"a whole request": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 20
			address := serve(t, most, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err == nil {
					Busy(r.Context())
				}
			})
			var first net.Conn
			for i := range 5 * most {
				c := dial(t, address, text)
				if i == 0 {
					first = c
				}
			}
			answer, err := http.Get("http://" + address)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("got %v, %v", answer, err)
			}
			answer.Body.Close()
			first.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadAll(first); err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					t.Error("the first of the strangers still has its connection")
				}
			}
		})
	}
}

// TestWorkIsNotCutShort: a connection that the server works for stays.
func TestWorkIsNotCutShort(t *testing.T) {
	t.Parallel()
	working, work := make(chan bool), make(chan bool)
	address := serve(t, 5, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" {
			Busy(r.Context())
			working <- true
			<-work
		}
	})
	answered := make(chan error)
	go func() {
		answer, err := http.Get("http://" + address + "/work")
		if err == nil {
			answer.Body.Close()
		}
		answered <- err
	}()
	<-working
	for range 50 {
		dial(t, address, "")
	}
	if answer, err := http.Get("http://" + address); err != nil {
		t.Error(err)
	} else {
		answer.Body.Close()
	}
	close(work)
	if err := <-answered; err != nil {
		t.Errorf("the request that the server worked for: %v", err)
	}
}

// TestWithoutALimit: a handler need not know.
func TestWithoutALimit(t *testing.T) {
	t.Parallel()
	Busy(t.Context())
	if Most() < 1 {
		t.Error(Most())
	}
}

// TestMakingRoomEndsTheWait: a handler that waits for something else learns that
// its connection made room.
func TestMakingRoomEndsTheWait(t *testing.T) {
	t.Parallel()
	const most = 5
	told := make(chan struct{})
	address := serve(t, most, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			defer close(told)
			select { // its body is not read
			case <-r.Context().Done():
			case <-time.After(time.Minute):
				t.Error("the handler waits on")
			}
		}
	})
	dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
	for range 3 * most {
		dial(t, address, "")
	}
	<-told
}
