package signature

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestTwiliosVectors pins the signatures that Twilio's pages publish.
func TestTwiliosVectors(t *testing.T) {
	t.Parallel()
	v := NewVerifier("https://example.com", []Token{{Token: "12345"}})
	form := url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675310"}, "Digits": {"1234"}, "From": {"+14158675310"}, "To": {"+18005551212"}}
	r := httptest.NewRequest("POST", "/myapp.php?foo=1&bar=2", nil)
	r.Header.Set("X-Twilio-Signature", "L/OH5YylLD5NRKLltdqwSvS0BnU=")
	if v.Signer(r, form) != "12345" {
		t.Error("Twilio's own form is refused")
	}
	body := []byte(`{"CallSid":"CA1234567890ABCDE","Caller":"+12349013030"}`)
	r = httptest.NewRequest("POST", "/myapp.php?bodySHA256=5ccde7145dfb8f56479710896586cb9d5911809d83afbe34627818790db0aec9", nil)
	r.Header.Set("X-Twilio-Signature", Sign("12345", v.URL(r), nil))
	if v.Signer(r, nil) != "12345" || !HasHash(r, body) {
		t.Error("Twilio's own JSON is refused")
	}
	if HasHash(r, body[1:]) {
		t.Error("another body is believed")
	}
}

func TestFormOfASignature(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header string
		want   bool
	}{
		{"L/OH5YylLD5NRKLltdqwSvS0BnU=", true},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAA=", true},
		{"", false},
		{"L/OH5YylLD5NRKLltdqwSvS0BnU", false},
		{"L/OH5YylLD5NRKLltdqwSvS0BnUA", false},
		{"L/OH5YylLD5NRKLltdqwSvS0Bn==", false},
		{"L_OH5YylLD5NRKLltdqwSvS0BnU=", false},
		{" /OH5YylLD5NRKLltdqwSvS0BnU=", false},
		{"L/OH5YylLD5NRKLltdqwSvS0Bn\n=", false},
		{strings.Repeat("A", 60_000), false},
	} {
		r := httptest.NewRequest("POST", "/error_trigger", nil)
		r.Header.Set("X-Twilio-Signature", c.header)
		if got := Of(r); (len(got) == 20) != c.want || (got == "") == c.want {
			t.Errorf("%.40q: got %d bytes, want a signature: %t", c.header, len(got), c.want)
		}
	}
}

// TestEmptyTokenSignsNothing: anybody could sign with it.
func TestEmptyTokenSignsNothing(t *testing.T) {
	t.Parallel()
	v := NewVerifier("https://example.com", []Token{{Token: ""}})
	r := httptest.NewRequest("POST", "/error_trigger", nil)
	r.Header.Set("X-Twilio-Signature", Sign("", v.URL(r), nil))
	if signer := v.Signer(r, nil); signer != "" || v.SignsFor("", "") {
		t.Errorf("signed by %q", signer)
	}
}

func TestTokensAreBoundToTheirAccounts(t *testing.T) {
	t.Parallel()
	v := NewVerifier("https://example.com", []Token{{Token: "any"}, {Account: "AC1", Token: "bound"}, {Account: "AC2", Token: "bound"}})
	for _, c := range []struct {
		token, account string
		want           bool
	}{
		{"any", "AC1", true}, {"any", "", true}, {"any", "AC3", true},
		{"bound", "AC1", true}, {"bound", "AC2", true}, {"bound", "AC3", false}, {"bound", "", false},
		{"", "AC1", false},
	} {
		if got := v.SignsFor(c.token, c.account); got != c.want {
			t.Errorf("token %q signs for %q: %t, want %t", c.token, c.account, got, c.want)
		}
	}
}
