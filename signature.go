package main

import (
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
	valid := false
	for _, validator := range v.validators {
		if form != nil {
			valid = validator.Validate(address, signedFields(form), signature) || valid
		} else {
			valid = validator.ValidateBody(address, body, signature) || valid
		}
	}
	return valid && signature != ""
}

// signedFields returns the fields as Twilio signs them: of a field that
// repeats each distinct value once, in order, with its name before each.
// twilio-go writes name and value for each entry, so the further names become
// part of the value.
func signedFields(form url.Values) map[string]string {
	fields := make(map[string]string, len(form))
	for name, values := range form {
		distinct := slices.Compact(slices.Sorted(slices.Values(values)))
		fields[name] = strings.Join(distinct, name)
	}
	return fields
}
