package main

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

// signature returns the X-Twilio-Signature of a request to address, whose body
// is a form, or else JSON with its hash in the query. It is the address, and
// the fields in order of their names, name and value without a separator, of a
// field that repeats each distinct value once. Source:
// https://www.twilio.com/docs/usage/webhooks/webhooks-security.
func signature(token, address string, form url.Values) string {
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

// verifier checks X-Twilio-Signature. It is ours because twilio-go's refuses
// forms with a repeated field.
type verifier struct {
	// publicURL is what stands before the request's path at Twilio, otherURL
	// the same without its port, or with it: Twilio's products differ.
	publicURL, otherURL string
	tokens              []string // each of which may sign
}

func newVerifier(publicURL string, tokens []string) *verifier {
	other, err := url.Parse(publicURL)
	if err != nil {
		panic(err) // LoadConfig has parsed it
	}
	switch {
	case other.Port() != "":
		other.Host = strings.TrimSuffix(other.Host, ":"+other.Port())
	case other.Scheme == "https":
		other.Host += ":443"
	default:
		other.Host += ":80"
	}
	return &verifier{publicURL, other.String(), tokens}
}

// url returns the address that Twilio was given for a request. A server does
// not see its own public address, and a proxy may have changed the rest.
func (v *verifier) url(r *http.Request) string { return v.publicURL + r.URL.RequestURI() }

// valid reports whether one of the tokens signed the request, whose body is a
// form, or else JSON with its hash in the query.
func (v *verifier) valid(r *http.Request, body []byte, form url.Values) bool {
	if form == nil {
		hash := sha256.Sum256(body)
		if r.URL.Query().Get("bodySHA256") != hex.EncodeToString(hash[:]) {
			return false
		}
	}
	got := []byte(r.Header.Get("X-Twilio-Signature"))
	for _, base := range []string{v.publicURL, v.otherURL} {
		for _, token := range v.tokens {
			if hmac.Equal(got, []byte(signature(token, base+r.URL.RequestURI(), form))) {
				return true
			}
		}
	}
	return false
}
