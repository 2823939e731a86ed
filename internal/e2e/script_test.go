package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
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
			"proxy":   changeProxy,
			"serve":   serve,
			"streams": changeStreams,
			"texted":  waitForSMS,
			"twilio":  inLastSMS,
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
	// rewrite is what the proxy does to a request, or nil.
	rewrite atomic.Pointer[func(*http.Request)]
}

func setUp(env *testscript.Env) error {
	s := &scripted{TB: env.T().(testing.TB)}
	env.Values["test"] = s
	s.twilio = twiliotest.New(s)
	s.twilio.Change(func(a *twiliotest.Account) {
		a.Type = "Trial"
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
	if rewrite := s.rewrite.Load(); rewrite != nil {
		(*rewrite)(r)
	}
	httputil.NewSingleHostReverseProxy(server).ServeHTTP(w, r)
}

// serve starts the program with the script's settings, at another ADDR.
func serve(ts *testscript.TestScript, _ bool, _ []string) {
	var env []string
	for _, name := range []string{"TWILIO_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "ALERT_FROM", "ALERT_TO", "PUBLIC_URL", "POLL_EVERY"} {
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

// changeProxy makes the proxy change requests: strip a prefix of the path, or add
// to the query.
func changeProxy(ts *testscript.TestScript, _ bool, args []string) {
	rewrite := func(r *http.Request) {
		switch args[0] {
		case "strip":
			r.URL.Path = strings.TrimPrefix(r.URL.Path, args[1])
		case "query":
			if r.URL.RawQuery != "" {
				r.URL.RawQuery += args[1]
			}
		}
	}
	of(ts).rewrite.Store(&rewrite)
}

// changeStreams changes Event Streams at Twilio, or wants to find a number of
// sinks and subscriptions there: streams 1 1.
func changeStreams(ts *testscript.TestScript, _ bool, args []string) {
	streams := &of(ts).twilio.Streams
	switch args[0] {
	case "sink": // and its destination, and the types of events that it gets
		streams.Add(args[1], args[2:]...)
	case "failed":
		streams.Fail()
	case "old":
		streams.Change(func() { streams.OldSchema = true })
	case "lost":
		streams.Change(func() { streams.Lost = true })
	case "fault": // and what goes wrong, at which change from now on, all if 0
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		streams.Change(func() {
			now := 0
			streams.Fault = func(int) twiliotest.Fault {
				if now++; n == 0 || now == n {
					return twiliotest.Fault(args[1])
				}
				return ""
			}
		})
	default:
		sinks, subscriptions := streams.All()
		if got := []string{strconv.Itoa(len(sinks)), strconv.Itoa(len(subscriptions))}; !slices.Equal(got, args) {
			ts.Fatalf("got %v sinks and subscriptions, want %v", got, args)
		}
	}
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

// inLastSMS finds a text in a field of the last SMS that Twilio was asked to send.
func inLastSMS(ts *testscript.TestScript, _ bool, args []string) {
	messages := of(ts).twilio.Messages()
	if len(messages) == 0 {
		ts.Fatalf("no SMS")
	}
	if got := messages[len(messages)-1].Form.Get(args[0]); !regexp.MustCompile(args[1]).MatchString(got) {
		ts.Fatalf("%s is %q, want %q in it", args[0], got, args[1])
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
