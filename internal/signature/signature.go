// Package signature makes and checks X-Twilio-Signature, by which Twilio's
// requests are told from those of strangers, and reads requests so that those of
// strangers cost little. Source:
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
	return base64.StdEncoding.EncodeToString(sum(token, []byte(address), signedFields(form)))
}

// sum returns the signature of what parts are together.
func sum(token string, parts ...[]byte) []byte {
	mac := hmac.New(sha1.New, []byte(token))
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// signedFields returns what Twilio signs of a form.
func signedFields(form url.Values) []byte {
	signed := make([]byte, 0, 1024)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		values := form[name]
		if len(values) > 1 {
			values = slices.Compact(slices.Sorted(slices.Values(values)))
		}
		for _, value := range values {
			signed = append(append(signed, name...), value...)
		}
	}
	return signed
}

// Token signs requests about one account, or about any if Account is empty.
type Token struct{ Account, Token string }

// Verifier checks X-Twilio-Signature. It is ours because twilio-go's refuses
// forms with a repeated field.
type Verifier struct {
	// publicURL is what stands before the request's path at Twilio, otherURL
	// the same without its port, or with it: Twilio's products differ.
	publicURL, otherURL string
	tokens              []Token // any of them may sign
}

// NewVerifier returns a Verifier of requests to a public address, a valid URL
// without a slash at its end, that any of the tokens may sign. An empty token,
// with which anybody could sign, signs nothing.
func NewVerifier(publicURL string, tokens []Token) *Verifier {
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
	tokens = slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return t.Token == "" })
	return &Verifier{publicURL, other.String(), tokens}
}

// URL returns the address that Twilio was given for a request. A server does
// not see its own public address, and a proxy may have changed the rest.
func (v *Verifier) URL(r *http.Request) string { return v.publicURL + r.URL.RequestURI() }

// Of returns the 20 bytes of a request's signature, valid or not, or "" if the
// header is missing or does not have the form of one.
func Of(r *http.Request) string {
	header := r.Header.Get("X-Twilio-Signature")
	if len(header) != base64.StdEncoding.EncodedLen(sha1.Size) {
		return ""
	}
	decoded, err := base64.StdEncoding.DecodeString(header)
	if err != nil || len(decoded) != sha1.Size {
		return ""
	}
	return string(decoded)
}

// Signer returns the token that signed the request with the fields of a form,
// or "" if none did. A request whose body is JSON has no form: what is signed is
// its address alone, so it can be checked before the body is read; the body
// belongs to it if HasHash says so.
func (v *Verifier) Signer(r *http.Request, form url.Values) string {
	got, fields := []byte(Of(r)), signedFields(form)
	for _, base := range []string{v.publicURL, v.otherURL} {
		address := []byte(base + r.URL.RequestURI())
		for _, token := range v.tokens {
			if hmac.Equal(got, sum(token.Token, address, fields)) {
				return token.Token
			}
		}
	}
	return ""
}

// SignsFor reports whether a token may sign requests about an account. A nil
// Verifier believes all.
func (v *Verifier) SignsFor(token, account string) bool {
	return v == nil || slices.ContainsFunc(v.tokens, func(t Token) bool { return t.Token == token && (t.Account == "" || t.Account == account) })
}

// HasHash reports whether the address of a request holds the hash of its body. An
// address with a quotation mark, which no client writes, is a form that somebody
// captured, with its JSON moved behind the query: all of that is signed as one.
func HasHash(r *http.Request, body []byte) bool {
	if strings.Contains(r.URL.RawQuery, `"`) {
		return false
	}
	hash := sha256.Sum256(body)
	return r.URL.Query().Get("bodySHA256") == hex.EncodeToString(hash[:])
}
