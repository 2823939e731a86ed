package signature

import (
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestTwiliosVectors pins the signatures that Twilio's pages publish.
func TestTwiliosVectors(t *testing.T) {
	t.Parallel()
	v := NewVerifier("https://example.com", []string{"12345"})
	form := url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675310"}, "Digits": {"1234"}, "From": {"+14158675310"}, "To": {"+18005551212"}}
	r := httptest.NewRequest("POST", "/myapp.php?foo=1&bar=2", nil)
	r.Header.Set("X-Twilio-Signature", "L/OH5YylLD5NRKLltdqwSvS0BnU=")
	if !v.Valid(r, nil, form) {
		t.Error("Twilio's own form is refused")
	}
	body := []byte(`{"CallSid":"CA1234567890ABCDE","Caller":"+12349013030"}`)
	r = httptest.NewRequest("POST", "/myapp.php?bodySHA256=5ccde7145dfb8f56479710896586cb9d5911809d83afbe34627818790db0aec9", nil)
	r.Header.Set("X-Twilio-Signature", Sign("12345", v.URL(r), nil))
	if !v.Valid(r, body, nil) {
		t.Error("Twilio's own JSON is refused")
	}
}
