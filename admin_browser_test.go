package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/twiliotest"
)

var screenshots = flag.String("screenshots", "", "write pictures of the operator's page into this `folder`, for README.md")

// browser returns a context of a fresh headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium is installed, so the operator's page was not looked at: apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.CombinedOutput(io.Discard))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // waits for the browser to go, unlike cancel
		cancel()
	})
	return ctx
}

// look is a screen on which the page is read.
type look struct {
	scheme        string // light or dark
	width, height int64
}

func (l look) String() string { return fmt.Sprintf("%s, %d px", l.scheme, l.width) }

// open shows the page at address as l.
func (l look) open(address string) chromedp.Action[chromedp.Void] {
	mobile := func(p *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
		p.Mobile = l.width < 640
	}
	scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}}
	return chromedp.Steps(
		chromedp.EmulateViewport(l.width, l.height, mobile),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, scheme)
			return err
		}),
		chromedp.Navigate(address))
}

// seen is what a reader sees of the page.
type seen struct {
	Title, Back, Health, Chart, Hours, Text string
	Wide, Scroll, Tall                      int64
}

// readPage is the script that returns it.
const readPage = `({
	title: document.title,
	back: getComputedStyle(document.body).backgroundColor,
	health: document.querySelector("#health").textContent,
	chart: document.querySelector("#chart").textContent,
	hours: [...document.querySelectorAll("#hours tr")].map(row => [...row.cells].map(cell => cell.textContent).join(" ")).join("\n"),
	text: document.body.textContent,
	wide: innerWidth,
	scroll: document.documentElement.scrollWidth,
	tall: Math.max(...[...document.querySelectorAll("tr")].map(row => row.offsetHeight)),
})`

// hostile are descriptions that would break a page that trusts them.
func hostile() []alert.Event {
	var events []alert.Event
	for i, description := range []string{
		`<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">`,
		strings.Repeat("W", 10_000),
		"\u202Egnp.exe evil \u2067 isolated \u2066 forever",
		"</bdi></td></table><style>body{display:none}</style>",
		"Ünïcödé 日本語 שלום " + strings.Repeat("e\u0301\u0302\u0303", 300),
	} {
		events = append(events, alert.Event{
			ID: twiliotest.NewSID("NO"), Kind: alert.Stream, Account: twiliotest.AccountSID, Code: fmt.Sprint(90001 + i), Level: alert.Error,
			Description: description, Resource: strings.Repeat("R", 34), Time: time.Now(),
		})
	}
	other := events[1]
	other.ID, other.Kind = twiliotest.NewSID("NO"), alert.Other // its description is also the decision
	return append(events, other)
}

func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	box, config, metrics := seeded(t, map[string]string{"SMS_PER_HOUR": "100", "ALERT_TEXT": "{code} {description} {link}"})
	if _, err := box.Record(t.Context(), hostile()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(NewAdmin(config, box, metrics, slog.New(slog.DiscardHandler)))
	defer server.Close()
	ctx := browser(t)
	for _, l := range []look{{"light", 1280, 900}, {"dark", 1280, 900}, {"light", 375, 812}, {"dark", 375, 812}} {
		if err := chromedp.Do(ctx, l.open(server.URL)); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		page, err := chromedp.Run(ctx, chromedp.Evaluate[seen](readPage))
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		if page.Scroll > page.Wide || page.Wide != l.width {
			t.Errorf("%s: the page is %d px wide on a screen of %d", l, page.Scroll, page.Wide)
		}
		if page.Tall > 600 {
			t.Errorf("%s: a row is %d px tall", l, page.Tall)
		}
		if want := map[string]string{"light": "rgb(247, 246, 243)", "dark": "rgb(20, 23, 26)"}[l.scheme]; page.Back != want {
			t.Errorf("%s: background %s, want %s: is the style sheet refused?", l, page.Back, want)
		}
		if page.Title != "Twilio errors by SMS" || !strings.HasPrefix(page.Health, "✓ Well:") {
			t.Errorf("%s: title %q, health %q", l, page.Title, page.Health)
		}
		for _, want := range []string{"9 of 11200", "of 30007"} {
			if !strings.Contains(page.Chart, want) {
				t.Errorf("%s: the chart lacks %q: %s", l, want, page.Chart)
			}
		}
		if !strings.HasPrefix(page.Hours, "UTC 11200 30007 30003 12100 32009 other all\n") || strings.Count(page.Hours, "\n") != 24 {
			t.Errorf("%s: the table of hours reads\n%s", l, page.Hours)
		}
		for _, want := range []string{`<script>document.title = "owned"</script>`, "</bdi></td></table><style>", "13226 every 5 daily", "…0002", "did not reach the phone: error 30005"} {
			if !strings.Contains(page.Text, want) {
				t.Errorf("%s: the page lacks %q", l, want)
			}
		}
	}
}

// TestScreenshots writes the pictures of README.md:
//
//	go test -run TestScreenshots -screenshots docs .
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots names no folder, so no pictures were asked for")
	}
	box, config, metrics := seeded(t, map[string]string{"SMS_PER_HOUR": "100"})
	server := httptest.NewServer(NewAdmin(config, box, metrics, slog.New(slog.DiscardHandler)))
	defer server.Close()
	ctx := browser(t)
	for name, l := range map[string]look{"page-light.png": {"light", 1280, 920}, "page-phone-dark.png": {"dark", 375, 812}} {
		if err := chromedp.Do(ctx, l.open(server.URL)); err != nil {
			t.Fatal(err)
		}
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
