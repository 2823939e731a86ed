package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// TestStrangersCostNoBody: what the headers show is refused by the headers.
func TestStrangersCostNoBody(t *testing.T) {
	t.Parallel()
	v := NewVerifier("https://example.com", []Token{{Token: "12345"}})
	wellFormed := Sign("of another", "https://example.com/", nil)
	for name, c := range map[string]struct {
		contentType, signature string
		length                 int64
		status                 int
	}{
		"no signature":        {"application/x-www-form-urlencoded", "", 10, 403},
		"a broken signature":  {"application/x-www-form-urlencoded", "abc", 10, 403},
		"JSON of others":      {"application/json", wellFormed, 10, 403},
		"another type":        {"text/plain", wellFormed, 10, 415},
		"more than 1 MiB":     {"application/x-www-form-urlencoded", wellFormed, 1<<20 + 1, 413},
		"no type, but a body": {"", wellFormed, 10, 415},
	} {
		r := httptest.NewRequest("POST", "/", unread{t})
		r.ContentLength = c.length
		r.Header.Set("Content-Type", c.contentType)
		r.Header.Set("X-Twilio-Signature", c.signature)
		if _, err := NewReader().Read(httptest.NewRecorder(), r, v); err == nil || Status(err) != c.status {
			t.Errorf("%s: got %v, want %d", name, err, c.status)
		}
	}
}

// TestLargeBodiesHavePlaces: those whose signature is not known to be right share
// theirs, and take none of the others'.
func TestLargeBodiesHavePlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, reader := NewVerifier("https://example.com", []Token{{Token: "12345"}}), NewReader()
		body := strings.Repeat(" ", 100_000)
		hash := sha256.Sum256([]byte(body))
		read := func(contentType string, length int64) (*Request, error) {
			target, fields := "/", url.Values{body: {""}}
			if contentType == "application/json" {
				target, fields = "/?bodySHA256="+hex.EncodeToString(hash[:]), nil
			}
			r := httptest.NewRequest("POST", target, strings.NewReader(body))
			r.ContentLength = length
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("X-Twilio-Signature", Sign("12345", v.URL(r), fields))
			return reader.Read(httptest.NewRecorder(), r, v)
		}
		for _, contentType := range []string{"application/x-www-form-urlencoded", "application/json"} {
			var held []*Request
			for i := range largeBodies {
				in, err := read(contentType, []int64{-1, int64(len(body))}[i%2])
				if err != nil {
					t.Fatal(contentType, err)
				}
				held = append(held, in)
			}
			begin := time.Now()
			if _, err := read(contentType, -1); !errors.Is(err, ErrBusy) || Status(err) != http.StatusServiceUnavailable || time.Since(begin) != placeTimeout {
				t.Errorf("%s: one too many got %v after %s", contentType, err, time.Since(begin))
			}
			go func() {
				time.Sleep(time.Second)
				held[0].Close()
			}()
			in, err := read(contentType, -1)
			if err != nil {
				t.Errorf("%s: one that waited got %v", contentType, err)
			} else {
				in.Close()
			}
		}
	})
}

// TestCapturedFormIsNotJSON: with a query in its address, its fields can be moved
// there, with the hash of a body in the text of one.
func TestCapturedFormIsNotJSON(t *testing.T) {
	t.Parallel()
	const body = `[{"specversion":"1.0"}]`
	hash := sha256.Sum256([]byte(body))
	captured := url.Values{"Payload": {`{"Msg":"a&bodySHA256=` + hex.EncodeToString(hash[:]) + `&b"}`}}
	v := NewVerifier("https://example.com", []Token{{Token: "12345"}})
	r := httptest.NewRequest("POST", "/error_trigger", strings.NewReader(body))
	r.URL.RawQuery = "team=aPayload" + captured.Get("Payload")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Twilio-Signature", Sign("12345", "https://example.com/error_trigger?team=a", captured))
	if v.Signer(r, nil) == "" {
		t.Fatal("this is no test: the address is not signed")
	}
	if _, err := NewReader().Read(httptest.NewRecorder(), r, v); !errors.Is(err, ErrUnsigned) {
		t.Errorf("got %v, want %v", err, ErrUnsigned)
	}
}
