// Package signature makes and checks X-Twilio-Signature, by which Twilio's
// requests are told from those of strangers. Source:
// https://www.twilio.com/docs/usage/webhooks/webhooks-security.
package signature

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Sign returns the X-Twilio-Signature of a request to address, whose body is a
// form, or else (form nil) JSON with its hash in the query. Twilio signs the
// address, then the fields in the order of their names: name and value without
// a separator, and of a repeated field each distinct value once.
func Sign(token, address string, form url.Values) string {
	signed := append(make([]byte, 0, 1024), address...)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		values := form[name]
		if len(values) > 1 {
			values = slices.Compact(slices.Sorted(slices.Values(values)))
		}
		for _, value := range values {
			signed = append(append(signed, name...), value...)
		}
	}
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write(signed)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Verifier checks X-Twilio-Signature. It is ours because twilio-go's refuses
// forms with a repeated field.
type Verifier struct {
	// publicURL is what stands before the request's path at Twilio, otherURL
	// the same without its port, or with it: Twilio's products differ.
	publicURL, otherURL string
	tokens              []string // each of which may sign
}

// NewVerifier returns a Verifier of requests to a public address, a valid URL
// without a slash at its end, that any of the tokens may sign.
func NewVerifier(publicURL string, tokens []string) *Verifier {
	other, err := url.Parse(publicURL)
	if err != nil {
		panic(err) // the settings were checked
	}
	switch {
	case other.Port() != "":
		other.Host = strings.TrimSuffix(other.Host, ":"+other.Port())
	case other.Scheme == "https":
		other.Host += ":443"
	default:
		other.Host += ":80"
	}
	return &Verifier{publicURL, other.String(), tokens}
}

// URL returns the address that Twilio was given for a request. A server does
// not see its own public address, and a proxy may have changed the rest.
func (v *Verifier) URL(r *http.Request) string { return v.publicURL + r.URL.RequestURI() }

// Valid reports whether one of the tokens signed the request, whose body is a
// form, or else (form nil) JSON with its hash in the query.
func (v *Verifier) Valid(r *http.Request, body []byte, form url.Values) bool {
	if form == nil {
		hash := sha256.Sum256(body)
		if r.URL.Query().Get("bodySHA256") != hex.EncodeToString(hash[:]) {
			return false
		}
	}
	got := []byte(r.Header.Get("X-Twilio-Signature"))
	for _, base := range []string{v.publicURL, v.otherURL} {
		for _, token := range v.tokens {
			if hmac.Equal(got, []byte(Sign(token, base+r.URL.RequestURI(), form))) {
				return true
			}
		}
	}
	return false
}
