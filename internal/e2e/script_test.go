package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"twilio-error-sms/internal/twiliotest"
)

// TestScript runs testdata/script over the program itself, each script in a
// folder of its own, with a stand-in for Twilio, and with settings that are all
// right for a trial account.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"account": changeAccount,
			"serve":   serve,
			"texted":  waitForSMS,
			"website": startWebsite,
		},
	})
}

// scripted is what the commands of a script share.
type scripted struct {
	testing.TB
	twilio *twiliotest.Server
	// server is the program that the script started. ADDR leads to it by a
	// proxy, since PUBLIC_URL must be known before the program has a port.
	server atomic.Pointer[process]
}

func setUp(env *testscript.Env) error {
	s := &scripted{TB: env.T().(testing.TB)}
	env.Values["test"] = s
	s.twilio = twiliotest.New(s)
	s.twilio.Change(func(a *twiliotest.Account) {
		a.Numbers["+15005550006"] = "sms voice"
		a.Verified = []string{"+15005550009"}
	})
	s.twilio.Fault = func(_ int, form url.Values) twiliotest.Fault {
		if form.Get("To") == "+15005550004" { // so does Twilio with this number
			return twiliotest.Unsubscribed
		}
		return ""
	}
	proxy := httptest.NewServer(http.HandlerFunc(s.proxy))
	s.Cleanup(proxy.Close)
	for name, value := range map[string]string{
		"TWILIO_BASE_URL":    s.twilio.URL,
		"TWILIO_ACCOUNT_SID": twiliotest.AccountSID,
		"TWILIO_AUTH_TOKEN":  twiliotest.AuthToken,
		"ALERT_FROM":         "+15005550006",
		"ALERT_TO":           "+15005550009",
		"ADDR":               strings.TrimPrefix(proxy.URL, "http://"),
		"PUBLIC_URL":         proxy.URL,
		"KEY":                twiliotest.APIKey,
		"KEY_SECRET":         twiliotest.APISecret,
		"GORACE":             os.Getenv("GORACE"),
	} {
		env.Setenv(name, value)
	}
	return nil
}

// of returns what the commands of a script share.
func of(ts *testscript.TestScript) *scripted { return ts.Value("test").(*scripted) }

// proxy passes a request on to the script's server.
func (s *scripted) proxy(w http.ResponseWriter, r *http.Request) {
	p := s.server.Load()
	if p == nil {
		http.Error(w, "the script has not started a server", http.StatusBadGateway)
		return
	}
	server, err := url.Parse(p.URL)
	if err != nil {
		panic(err)
	}
	httputil.NewSingleHostReverseProxy(server).ServeHTTP(w, r)
}

// serve starts the program with the script's settings, at another ADDR.
func serve(ts *testscript.TestScript, _ bool, _ []string) {
	var env []string
	for _, name := range []string{"TWILIO_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "ALERT_FROM", "ALERT_TO", "PUBLIC_URL"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	p := startProgram(of(ts), ts.MkAbs("."), env...)
	ts.Defer(p.kill)
	of(ts).server.Store(p)
}

// changeAccount changes Twilio's side: account type Full.
func changeAccount(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: account what value...")
	}
	value := args[1]
	of(ts).twilio.Change(func(a *twiliotest.Account) {
		switch args[0] {
		case "status":
			a.Status = value
		case "type":
			a.Type = value
		case "number": // and what it can do
			a.Numbers[value] = args[2]
		case "shortcode":
			a.ShortCodes = append(a.ShortCodes, value)
		case "service": // and the list that has a sender
			a.Services[value] = args[2]
		case "outcome": // and the error code
			var err error
			a.Outcome = value
			a.Code, err = strconv.Atoi(args[2])
			ts.Check(err)
		default:
			ts.Fatalf("an account has no %s", args[0])
		}
	})
}

// waitForSMS waits until Twilio accepted a number of SMS, and then finds a
// text in the last: texted 1 'HTTP retrieval failure'.
func waitForSMS(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	within(of(ts), args[0]+" SMS", func() bool { return len(of(ts).twilio.Messages()) >= want })
	messages := of(ts).twilio.Messages()
	if len(messages) != want {
		ts.Fatalf("got %d SMS, want %d", len(messages), want)
	}
	for _, text := range args[1:] {
		last := messages[want-1].Form.Get("Body")
		if !regexp.MustCompile(text).MatchString(last) {
			ts.Fatalf("the last SMS is %q, want %q in it", last, text)
		}
	}
}

// startWebsite starts another server at $WEBSITE: website 200 text, or website
// 301 address.
func startWebsite(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status/100 == 3 {
			w.Header().Set("Location", args[1])
		}
		w.WriteHeader(status)
		io.WriteString(w, args[1])
	}))
	of(ts).Cleanup(site.Close)
	ts.Setenv("WEBSITE", site.URL)
}
