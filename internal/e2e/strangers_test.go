package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/twiliotest"
)

// strangers post from many connections at once what Twilio did not sign.
type strangers struct {
	name        string
	connections int
	// request is what each of them sends. Then it waits until the server closes
	// the connection, and comes again after a pause.
	request string
	pause   time.Duration
	// settings trust them, or not; files is how many the server may open.
	settings []string
	files    int
	most     float64 // memory of the server in MB
}

// TestStrangers: a storm of strangers costs little memory, and Twilio's requests
// are answered meanwhile.
func TestStrangers(t *testing.T) {
	t.Parallel()
	signed := []string{"DRY_RUN=true", "PUBLIC_URL=" + publicURL, "TWILIO_AUTH_TOKEN=" + twiliotest.AuthToken}
	unsigned := []string{"DRY_RUN=true"}
	wrong := sha256.Sum256([]byte("of no token"))
	malformedSignature := "X-Twilio-Signature: abc\r\n"
	wrongSignature := "X-Twilio-Signature: " + base64.StdEncoding.EncodeToString(wrong[:20]) + "\r\n"
	var fields strings.Builder
	for i := range 9999 {
		fmt.Fprintf(&fields, "Field%04d=%s&", i, strings.Repeat("x", 90))
	}
	form := fields.String()
	form += strings.Repeat("x", mebibyte-len(form))
	numbers := "[1" + strings.Repeat(",1", mebibyte/2-2) + "]"
	var keys strings.Builder
	keys.WriteString(`{"a":0`)
	for i := range 80_000 {
		fmt.Fprintf(&keys, `,"%05d":0`, i)
	}
	keys.WriteString("}")
	for _, s := range []strangers{
		{"forms without a signature", 64, postOf(formType, "", form), 0, signed, 0, withSignatures},
		{"forms with a malformed signature", 64, postOf(formType, malformedSignature, form), 0, signed, 0, withSignatures},
		{"forms with a wrong signature", 64, postOf(formType, wrongSignature, form), 0, signed, 0, withSignatures},
		{"slow forms without a signature", 500, cut(postOf(formType, "", form)), 100 * time.Millisecond, signed, 0, withSignatures},
		{"slow forms with a wrong signature", 500, cut(postOf(formType, wrongSignature, form)), 100 * time.Millisecond, signed, 0, withSignatures},
		{"many slow forms below the limit", 1500, cut(postOf(formType, wrongSignature, form[:64_000])), 100 * time.Millisecond, signed, 0, withSignatures},
		{"arrays of numbers", 64, postOf(jsonType, wrongSignature, numbers), 0, signed, 0, withSignatures},
		{"arrays of numbers, unsigned", 64, postOf(jsonType, "", numbers), 0, unsigned, 0, without},
		{"objects with many keys, unsigned", 64, postOf(jsonType, "", keys.String()), 0, unsigned, 0, without},
		{"forms, unsigned", 64, postOf(formType, "", form), 0, unsigned, 0, without},
		{"slow forms, unsigned", 500, cut(postOf(formType, "", form)), 100 * time.Millisecond, unsigned, 0, without},
		{"idle connections, 300 files", 2000, "", time.Second, signed, 300, withSignatures},
		{"half a header, 300 files", 2000, "POST /error_trigger HTTP/1.1\r\nHost:", time.Second, signed, 300, withSignatures},
	} {
		t.Run(s.name, func(t *testing.T) { s.storm(t) })
	}
}

const (
	// withSignatures and without are how many MB the server may take.
	withSignatures, without = 128, 256

	mebibyte = 1 << 20
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// postOf returns a request as it is on the wire.
func postOf(contentType, header, body string) string {
	return fmt.Sprintf("POST /error_trigger HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s", contentType, header, len(body), body)
}

// cut returns a request whose end never comes.
func cut(request string) string { return request[:len(request)-1] }

func (s strangers) storm(t *testing.T) {
	command := exec.Command("twilio-error-sms")
	if s.files > 0 {
		command = exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d && exec twilio-error-sms", s.files))
	}
	server := start(t, command, t.TempDir(), s.settings)
	idle := server.memory(t, "VmHWM")
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	for range s.connections {
		all.Go(func() { s.rage(ctx, strings.TrimPrefix(server.URL, "http://")) })
	}
	time.Sleep(500 * time.Millisecond) // now they are at it
	took := genuine(t, server)
	if s.most == withSignatures {
		genuineBatch(t, server) // without, nothing tells it from theirs
	}
	peak := server.memory(t, "VmHWM")
	t.Logf("from %.0f to %.0f MB; genuine webhooks took %s", idle, peak, took)
	if most := s.most; peak > most && !hasRaceDetector() {
		t.Errorf("the server took %.0f MB, %.1f of what it takes idle; want %.0f at most", peak, peak/idle, most)
	}
	if log := server.log(); strings.Contains(log, "too many open files") || len(log) > 1<<20 {
		t.Errorf("a log of %d bytes, it ends with …%s", len(log), log[max(0, len(log)-1000):])
	}
}

// rage sends the request on one connection after the other until ctx ends.
func (s strangers) rage(ctx context.Context, address string) {
	for ctx.Err() == nil {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			go io.WriteString(c, s.request)
			io.Copy(io.Discard, c)
			c.Close()
			stop()
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.pause):
		}
	}
}

// genuine posts webhooks for a second, each on a connection of its own, and
// returns how long the median took.
func genuine(t *testing.T, server *process) time.Duration {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var took []time.Duration
	for begin := time.Now(); time.Since(begin) < time.Second; {
		begin := time.Now()
		w := newWebhook("11200", "genuine")
		untilAnswered(t, func() (*http.Response, string, error) {
			return postForm(client, server.URL, "/error_trigger", twiliotest.AuthToken, w.form())
		})
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// genuineBatch posts events of Event Streams, 1 MiB of them.
func genuineBatch(t *testing.T, server *process) {
	t.Helper()
	batch := []byte("[")
	for {
		event, err := json.Marshal(newWebhook("30007", "one of many").cloudEvent())
		if err != nil {
			t.Fatal(err)
		}
		if len(batch)+len(event) >= mebibyte {
			break
		}
		batch = append(append(batch, event...), ',')
	}
	batch[len(batch)-1] = ']'
	padded := string(batch) + strings.Repeat(" ", mebibyte-len(batch))
	untilAnswered(t, func() (*http.Response, string, error) {
		return postJSON(http.DefaultClient, server.URL, "/error_trigger", padded)
	})
}

// untilAnswered posts what must be answered 200. On a slow machine a connection
// may make room for the strangers' before its request is sent: then it comes again.
func untilAnswered(t *testing.T, post func() (*http.Response, string, error)) {
	t.Helper()
	var err error
	for range 20 {
		var answer *http.Response
		var text string
		if answer, text, err = post(); err == nil {
			if answer.StatusCode != http.StatusOK {
				t.Fatalf("a genuine request: %s %.200q", answer.Status, text)
			}
			return
		}
	}
	t.Fatalf("a genuine request is not answered: %v", err)
}
