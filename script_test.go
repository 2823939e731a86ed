package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"twilio-error-sms/internal/twiliotest"
)

// TestScript runs testdata/script over the program itself, each script in a
// folder of its own, with a stand-in for Twilio, and with the settings of
// somebody who has set everything right on a trial account.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setUp(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"account": changeAccount,
			"healthy": waitForServer,
			"texted":  waitForSMS,
			"website": func(ts *testscript.TestScript, _ bool, args []string) { startWebsite(t, ts, args) },
		},
	})
}

func setUp(t *testing.T, env *testscript.Env) error {
	twilio := twiliotest.New(t)
	twilio.Change(func(a *twiliotest.Account) {
		a.Numbers["+15005550006"] = "sms voice"
		a.Verified = []string{"+15005550009"}
	})
	twilio.Fault = func(_ int, form url.Values) twiliotest.Fault {
		if form.Get("To") == "+15005550004" { // so does Twilio with this number
			return twiliotest.Unsubscribed
		}
		return ""
	}
	env.Values["twilio"] = twilio
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"TWILIO_BASE_URL":    twilio.URL,
		"TWILIO_ACCOUNT_SID": twiliotest.AccountSID,
		"TWILIO_AUTH_TOKEN":  twiliotest.AuthToken,
		"ALERT_FROM":         "+15005550006",
		"ALERT_TO":           "+15005550009",
		"ADDR":               addr,
		"PUBLIC_URL":         "http://" + addr,
		"KEY":                twiliotest.APIKey,
		"KEY_SECRET":         twiliotest.APISecret,
		"GORACE":             "atexit_sleep_ms=10", // of a second, for each exec
	} {
		env.Setenv(name, value)
	}
	return nil
}

// freeAddr returns a loopback address at which nobody listens.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// changeAccount changes Twilio's side: account type Full.
func changeAccount(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: account what value...")
	}
	value := args[1]
	ts.Value("twilio").(*twiliotest.Server).Change(func(a *twiliotest.Account) {
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

// waitForServer waits until the server at ADDR is well.
func waitForServer(ts *testscript.TestScript, _ bool, _ []string) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get("http://" + ts.Getenv("ADDR") + "/healthz")
		if err == nil {
			response.Body.Close()
			return
		}
	}
	ts.Fatalf("nothing listens at %s", ts.Getenv("ADDR"))
}

// waitForSMS waits until Twilio accepted a number of SMS, and then finds a
// text in the last: texted 1 'HTTP retrieval failure'.
func waitForSMS(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var messages []twiliotest.Message
	for deadline := time.Now().Add(20 * time.Second); len(messages) < want && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		messages = ts.Value("twilio").(*twiliotest.Server).Messages()
	}
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

// startWebsite starts what is not this program at $WEBSITE: website 200 text,
// or website 301 address.
func startWebsite(t *testing.T, ts *testscript.TestScript, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status/100 == 3 {
			w.Header().Set("Location", args[1])
		}
		w.WriteHeader(status)
		io.WriteString(w, args[1])
	}))
	t.Cleanup(site.Close)
	ts.Setenv("WEBSITE", site.URL)
}
