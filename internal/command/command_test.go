package command

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestManuals(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(context.Context, []string, func(string) string, io.Writer) error{
		"check": Check, "connect": Connect, "healthcheck": Healthcheck, "mock": Mock, "silence": Silence,
	} {
		var manual strings.Builder
		noSettings := func(string) string { return "" }
		if err := command(t.Context(), []string{"-h"}, noSettings, &manual); err != nil {
			t.Errorf("%s -h: %v", name, err)
		}
		if text := manual.String(); !strings.HasPrefix(text, "NAME\n  twilio-error-sms "+name+" - ") || strings.Contains(text, "{flags}") {
			t.Errorf("%s -h prints\n%s", name, text)
		}
		if !strings.Contains(Usage(), "\n  "+name+" ") {
			t.Errorf("%s is not in the usage", name)
		}
		err := command(t.Context(), []string{"-nonsense"}, noSettings, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "-nonsense; see twilio-error-sms "+name+" -h") {
			t.Errorf("%s -nonsense: %v", name, err)
		}
	}
}

func TestFlagsStandInTheirPlace(t *testing.T) {
	t.Parallel()
	flags := flag.NewFlagSet("mock", flag.ContinueOnError)
	flags.Int("n", 1, "`number` of notifications")
	var manual strings.Builder
	if done, err := parse(flags, []string{"-h"}, 0, &manual); !done || err != nil {
		t.Fatalf("done %t, %v", done, err)
	}
	if want := "FLAGS\n  -n number\n    \tnumber of notifications (default 1)\n\nEXIT STATUS"; !strings.Contains(manual.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", manual.String(), want)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status              int
		body, stdout, wrong string
	}{
		"healthy":     {http.StatusOK, "ok\n", "ok\n", ""},
		"not healthy": {http.StatusServiceUnavailable, "the database cannot be written\n", "", "not healthy: the database cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/livez" {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}))
			defer server.Close()
			env := map[string]string{"ADDR": server.Listener.Addr().String()}
			var stdout strings.Builder
			err := Healthcheck(t.Context(), nil, func(name string) string { return env[name] }, &stdout)
			if stdout.String() != c.stdout || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("printed %q, %v", stdout.String(), err)
			}
		})
	}
}
