package sms

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
)

// Errors go into the log and the outbox: they must not hold the number that
// the request was about.
func TestErrorsHoldNoNumber(t *testing.T) {
	t.Parallel()
	const to = "+15551230001"
	answers := map[string]http.HandlerFunc{
		"Twilio names the number": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte(`{"code": 21211, "status": 400, "message": "The 'To' number ` + to + ` is not a valid phone number."}`))
		},
		"the connection breaks": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a proxy answers":       func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.URL.String(), http.StatusBadGateway) },
		"a redirect":            func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login?for="+to, http.StatusFound) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			defer server.Close()
			base, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			twilio := NewTwilio(Account{SID: "AC1", User: "AC1", Password: "token", BaseURL: base}, "+15551239999", "https://alerts.example.com/message_status")
			for _, doubt := range []time.Time{{}, time.Now()} { // with a look into the message log, and without
				_, err = twilio.Send(t.Context(), alert.SMS{ID: "1", To: to, Body: "Something broke", DoubtSince: doubt})
				if err == nil || strings.Contains(err.Error(), "5551230001") || strings.Contains(err.Error(), "5551239999") {
					t.Errorf("in doubt since %s: %v", doubt, err)
				}
			}
		})
	}
}
