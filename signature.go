package main

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/twilio/twilio-go/client"
)

// verifier checks X-Twilio-Signature. Source:
// https://www.twilio.com/docs/usage/webhooks/webhooks-security.
type verifier struct {
	publicURL  string // what stands before the request's path at Twilio
	validators []client.RequestValidator
}

func newVerifier(publicURL string, tokens []string) *verifier {
	v := &verifier{publicURL: publicURL}
	for _, token := range tokens {
		v.validators = append(v.validators, client.NewRequestValidator(token))
	}
	return v
}

// url returns the address that Twilio was given for a request. A server does
// not see its own public address, and a proxy may have changed the rest.
func (v *verifier) url(r *http.Request) string {
	address := v.publicURL + r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		address += "?" + r.URL.RawQuery
	}
	return address
}

// valid reports whether one of the tokens signed the request, whose body is a
// form, or else JSON with its hash in the query. It asks every token, so that
// the time tells nothing of which one matched.
func (v *verifier) valid(r *http.Request, body []byte, form url.Values) bool {
	signature := r.Header.Get("X-Twilio-Signature")
	address := v.url(r)
	fields := map[string]string{"": signedFields(form)}
	valid := false
	for _, validator := range v.validators {
		if form != nil {
			valid = validator.Validate(address, fields, signature) || valid
		} else {
			valid = validator.ValidateBody(address, body, signature) || valid
		}
	}
	return valid && signature != ""
}

// signedFields returns the fields as Twilio signs them: in order of their
// names, name and value without a separator, of a field that repeats each
// distinct value once. twilio-go drops what repeats, and joins field by field
// what it is given; it gets all of them as one.
func signedFields(form url.Values) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(form)) {
		values := form[name]
		if len(values) > 1 {
			values = slices.Compact(slices.Sorted(slices.Values(values)))
		}
		for _, value := range values {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	return b.String()
}
