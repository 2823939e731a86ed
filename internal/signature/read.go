package signature

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/connections"
)

const (
	// maxBody is the largest request: a batch of Event Streams is 1 MiB.
	maxBody = 1 << 20
	// smallBody is what anybody may send. For more a request needs one of
	// largeBodies places, and waits for it for placeTimeout: Twilio waits 5 s.
	smallBody    = 64 << 10
	largeBodies  = 4
	placeTimeout = 3 * time.Second
)

// Errors of Read. Status returns the status to answer each with.
var (
	ErrUnsigned = errors.New("missing or wrong X-Twilio-Signature")
	ErrBusy     = errors.New("too many large requests at once, try again")

	errType     = errors.New("expected application/x-www-form-urlencoded or application/json")
	errEarly    = errors.New("the body ended early")
	errTooLarge = fmt.Errorf("the body is above %d bytes", maxBody)
)

var statuses = map[error]int{
	ErrUnsigned: http.StatusForbidden, ErrBusy: http.StatusServiceUnavailable,
	errType: http.StatusUnsupportedMediaType, errTooLarge: http.StatusRequestEntityTooLarge,
}

// Status returns the status to answer an error of Read with.
func Status(err error) int { return cmp.Or(statuses[err], http.StatusBadRequest) }

// Reader reads requests, at little cost where they are not Twilio's.
type Reader struct {
	// unknown and genuine have a place for each large body in memory: of anybody,
	// and of those whose signature is known to be right.
	unknown, genuine chan struct{}
}

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{unknown: make(chan struct{}, largeBodies), genuine: make(chan struct{}, largeBodies)}
}

// Request is a request that is believed.
type Request struct {
	Signature string     // its 20 bytes, empty where nothing is signed
	Token     string     // that signed it
	Body      []byte     // JSON, if Form is nil
	Form      url.Values // the fields of the body

	places chan struct{} // where a large body has a place, or nil
}

// Close makes room for another large request.
func (in *Request) Close() {
	if in.places != nil {
		<-in.places
	}
}

// Read reads a request and believes it if the verifier does, or if that is nil.
// What can be refused by the headers costs no body: JSON is signed by its
// address alone. Close the request when it is done.
func (reader *Reader) Read(w http.ResponseWriter, r *http.Request, verifier *Verifier) (*Request, error) {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON := contentType == "application/json" || strings.HasSuffix(contentType, "+json")
	isForm := contentType == "application/x-www-form-urlencoded" || contentType == "" && r.ContentLength == 0
	in, places := &Request{}, reader.unknown
	if verifier != nil {
		if in.Signature = Of(r); in.Signature == "" {
			return nil, ErrUnsigned
		}
		if isJSON {
			if in.Token = verifier.Signer(r, nil); in.Token == "" {
				return nil, ErrUnsigned
			}
			places = reader.genuine
		}
	}
	if !isForm && !isJSON {
		return nil, errType
	}
	err := in.readBody(w, r, places)
	if err == nil && (isForm || len(in.Body) == 0) {
		in.Form = alert.ParseQuery(string(in.Body))
	}
	if err == nil && verifier != nil && !in.check(r, verifier) {
		err = ErrUnsigned
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	connections.Busy(r.Context())
	return in, nil
}

// check reports whether the body belongs to the signature.
func (in *Request) check(r *http.Request, verifier *Verifier) bool {
	if in.Form == nil {
		return HasHash(r, in.Body)
	}
	in.Token = verifier.Signer(r, in.Form)
	return in.Token != ""
}

// readBody reads the body. A large one needs one of the places first.
func (in *Request) readBody(w http.ResponseWriter, r *http.Request, places chan struct{}) (err error) {
	if r.ContentLength > maxBody {
		return errTooLarge
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), smallBody)+bytes.MinRead))
	if r.ContentLength <= smallBody { // or not known
		_, err = buffer.ReadFrom(io.LimitReader(body, smallBody))
	}
	if err == nil && max(r.ContentLength, int64(buffer.Len())) >= smallBody {
		if err := in.take(r, places); err != nil {
			return err
		}
		if in.Token != "" {
			connections.Busy(r.Context())
		}
		buffer.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
		_, err = buffer.ReadFrom(body)
	}
	in.Body = buffer.Bytes()
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errTooLarge
	}
	if err != nil {
		return errEarly
	}
	return nil
}

// take waits for one of places.
func (in *Request) take(r *http.Request, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		in.places = places
		return nil
	case <-r.Context().Done(): // the connection made room for others
		return errEarly
	case <-time.After(placeTimeout):
		return ErrBusy
	}
}
