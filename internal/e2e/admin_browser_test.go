package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"twilio-error-sms/internal/twiliotest"
)

var screenshots = flag.String("screenshots", "", "write pictures of the operator's page into the `folder` at this absolute path, for README.md")

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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.CombinedOutput(io.Discard))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	t.Cleanup(func() { chromedp.Cancel(ctx) }) // waits for the browser to go, unlike cancel
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

// badDay is what Twilio reported in the 23 hours before now: each code at its
// hours of the day, a delivery for each hour.
func badDay(now time.Time) (deliveries [][]map[string]any) {
	codes := []struct {
		code, description, level string
		byHour                   string // how many in each of the last 24 hours, 0 to 9
	}{
		{"11200", "An attempt to retrieve content from https://app.example.com/voice returned the HTTP status code 502", "ERROR", "000012224689975310000112"},
		{"30007", "Message delivery - Carrier violation", "ERROR", "110101020113124322110100"},
		{"12100", "Document parse failure", "ERROR", "000000003332000000000000"},
		{"32009", "The user you tried to dial is not registered with the corresponding SIP Domain", "ERROR", "010010010010010010010010"},
		{"30003", "Unreachable destination handset", "ERROR", "010101010101010101010101"},
		{"13226", "Dial: Invalid country code", "WARNING", "000000210000000001000000"},
		{"21610", "Attempt to send to unsubscribed recipient", "ERROR", "000100000000000100000000"},
		{"", "Something without a code", "ERROR", "000000000000000000000001"},
	}
	first := now.Truncate(time.Hour).Add(-23 * time.Hour)
	for hour := range 24 {
		var events []map[string]any
		for _, c := range codes {
			for range c.byHour[hour] - '0' {
				w := newWebhook(c.code, c.description)
				w.level, w.at = c.level, first.Add(time.Duration(hour)*time.Hour)
				events = append(events, w.cloudEvent())
			}
		}
		if len(events) > 0 {
			deliveries = append(deliveries, events)
		}
	}
	return deliveries
}

// hostile are descriptions that would break a page that trusts them.
func hostile() []map[string]any {
	var events []map[string]any
	for i, description := range []string{
		`<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">`,
		strings.Repeat("W", 10_000),
		"\u202Egnp.exe evil \u2067 isolated \u2066 forever",
		"</bdi></td></table><style>body{display:none}</style>",
		"Ünïcödé 日本語 שלום " + strings.Repeat("e\u0301\u0302\u0303", 300),
	} {
		events = append(events, newWebhook(fmt.Sprint(90001+i), description).cloudEvent())
	}
	// The type of an event that is no error is part of the decision.
	return append(events, map[string]any{"specversion": "1.0", "id": "1", "type": strings.Repeat("W", 10_000)})
}

// startAfter starts the program, has Twilio report deliveries, an alarm, and
// what became of the SMS: in every way there is. It returns the address of the
// operator's page.
func startAfter(t *testing.T, deliveries [][]map[string]any, env ...string) string {
	twilio := twiliotest.New(t)
	var mu sync.Mutex
	faults := make(map[string]twiliotest.Fault) // by recipient and text
	twilio.Fault = func(n int, form url.Values) twiliotest.Fault {
		mu.Lock()
		defer mu.Unlock()
		sms := form.Get("To") + form.Get("Body")
		if _, again := faults[sms]; !again {
			faults[sms] = map[int]twiliotest.Fault{3: twiliotest.Unsubscribed, 5: twiliotest.TooManyRequests}[n]
		}
		return faults[sms]
	}
	dir := t.TempDir()
	p := startProgram(t, dir, sending(twilio.URL, append([]string{
		"ADMIN_ADDR=127.0.0.1:0", "ALERT_TO=+15551230001,+15551230002", "SMS_PER_HOUR=100",
		"TRIGGERS=* at 1,10,100 daily; 13226 every 5; 11200 at 5 hourly; any at 100,1000 daily; 30003,30005 never",
	}, env...)...)...)
	for _, events := range deliveries {
		body, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		if answer, text, err := postJSON(http.DefaultClient, p.URL, "/error_trigger", string(body)); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%v %q %v", answer, text, err)
		}
	}
	if answer, text, err := postForm(http.DefaultClient, p.URL, "/error_trigger", twiliotest.AuthToken, url.Values{"AccountSid": {twiliotest.AccountSID},
		"ErrorCode": {"11200"}, "Description": {"HTTP retrieval failure"}, "CurrentValue": {"42"}, "TimePeriod": {"ONE_HOUR"}}); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v %q %v", answer, text, err)
	}
	within(t, "every SMS was tried", func() bool {
		return rows(databaseIn(dir), "sms WHERE status = 'sending' OR status = 'pending' AND attempts = 0") == 0
	})
	for i, m := range twilio.Messages() {
		report := url.Values{"MessageSid": {m.SID}, "MessageStatus": {"delivered"}}
		switch i {
		case 2:
			continue // no news of it yet
		case 4:
			report.Set("MessageStatus", "undelivered")
			report.Set("ErrorCode", "30005")
		}
		callback, err := url.Parse(m.Form.Get("StatusCallback"))
		if err != nil {
			t.Fatal(err)
		}
		if answer, text, err := postForm(http.DefaultClient, p.URL, callback.RequestURI(), twiliotest.AuthToken, report); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%v %q %v", answer, text, err)
		}
	}
	page, events := p.address(t, "operator's page"), rows(databaseIn(dir), "events WHERE kind <> 'other'")
	within(t, "the chart shows all events", func() bool {
		_, text := get(t, page)
		return strings.Contains(text, fmt.Sprintf(`"%d errors by hour`, events))
	})
	return page
}

func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	address := startAfter(t, append(badDay(time.Now()), hostile()), "ALERT_TEXT={code} {description} {link}")
	for _, l := range []look{{"light", 1280, 900}, {"dark", 1280, 900}, {"light", 375, 812}, {"dark", 375, 812}} {
		if err := chromedp.Do(ctx, l.open(address)); err != nil {
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
//	go test ./internal/e2e -run TestScreenshots -screenshots $PWD/docs
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots names no folder, so no pictures were asked for")
	}
	ctx := browser(t)
	address := startAfter(t, badDay(time.Now()))
	for name, l := range map[string]look{"page-light.png": {"light", 1280, 920}, "page-phone-dark.png": {"dark", 375, 812}} {
		if err := chromedp.Do(ctx, l.open(address)); err != nil {
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
