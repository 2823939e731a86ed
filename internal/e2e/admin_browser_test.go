package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
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
		call(emulation.SetEmulatedMedia, scheme),
		chromedp.Navigate(address))
}

// withoutScript lets pages run no script, or again.
func withoutScript(off bool) chromedp.Action[chromedp.Void] {
	return call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
}

// call is an action that calls one command of the browser.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// seen is what a reader sees of the page.
type seen struct {
	Title, Icon, AsOf, State, Back, Health, Hours, Codes, Text string
	Wide, Scroll, Tall, High, Bar                              int64
}

// readPage is the script that returns it.
const readPage = `({
	title: document.title,
	icon: document.querySelector("link[rel=icon]").href,
	asOf: document.querySelector("#asof").textContent,
	state: document.querySelector("#health").className,
	back: getComputedStyle(document.body).backgroundColor,
	health: document.querySelector("#health").textContent,
	codes: document.querySelector("#codes")?.textContent ?? "",
	hours: [...document.querySelectorAll("#hours tr")].map(row => [...row.cells].map(cell => cell.textContent).join(" ")).join("\n"),
	text: document.body.textContent,
	wide: innerWidth,
	scroll: document.documentElement.scrollWidth,
	high: document.documentElement.scrollHeight,
	bar: Math.round(Math.min(...[...document.querySelectorAll("#hours rect")].map(bar => bar.getBoundingClientRect().width))) || 0,
	tall: Math.max(0, ...[...document.querySelectorAll("summary, dd, tr, #health")].map(row => row.offsetHeight)),
})`

// openAll is the script that opens whatever can be opened.
const openAll = `document.querySelectorAll("details").forEach(d => d.open = true)`

// looks are the screens on which the page is read.
var looks = []look{{"light", 1280, 900}, {"dark", 1280, 900}, {"light", 375, 812}, {"dark", 375, 812}}

func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	address := startIn(t, degraded, append(badDay(time.Now()), hostile()), "ALERT_TEXT={code} {description} {link}").page(t)
	for _, l := range looks {
		page := see(t, ctx, l.open(address))
		if page.High > 2*l.height {
			t.Errorf("%s: the page is %d px high, more than two screens", l, page.High)
		}
		if want := map[string]string{"light": "rgb(247, 246, 243)", "dark": "rgb(20, 23, 26)"}[l.scheme]; page.Back != want {
			t.Errorf("%s: background %s, want %s: is the style sheet refused?", l, page.Back, want)
		}
		pages := []seen{page, see(t, ctx, run(openAll))}
		for i := range hostile() {
			pages = append(pages, see(t, ctx, chromedp.Navigate(address+"?code="+fmt.Sprint(90001+i)), run(openAll)))
		}
		for _, p := range pages {
			if p.Scroll > p.Wide || p.Wide != l.width {
				t.Errorf("%s: the page is %d px wide on a screen of %d", l, p.Scroll, p.Wide)
			}
			if p.Tall > 600 {
				t.Errorf("%s: a row is %d px tall", l, p.Tall)
			}
			if p.Title != "! degraded · Twilio errors by SMS" {
				t.Errorf("%s: the title is %q", l, p.Title)
			}
		}
		for i, want := range map[int]string{2: `<script>document.title = "owned"</script>`, 4: "gnp.exe evil isolated forever", 5: "</bdi></td></table><style>"} {
			if !strings.Contains(pages[i].Text, want) {
				t.Errorf("%s: the page of %d lacks %q", l, 90001+i-2, want)
			}
		}
		if !regexp.MustCompile(`^11200 HTTP retrieval failure \d+30007 .*12100 .*32009 `).MatchString(page.Codes) {
			t.Errorf("%s: the list of codes reads %s", l, page.Codes)
		}
		if !regexp.MustCompile(`^([1-9]\d* +){12}.*\n +\n(\d\d ?){24}$`).MatchString(page.Hours) {
			t.Errorf("%s: the table of hours reads\n%s", l, page.Hours)
		}
		if page.Bar < 8 {
			t.Errorf("%s: a bar is %d px wide", l, page.Bar)
		}
		for _, want := range []string{"13226 every 5 daily", "30003,30005 never", "…0002"} {
			if !strings.Contains(page.Text, want) {
				t.Errorf("%s: the page lacks %q", l, want)
			}
		}
	}
	see(t, ctx, looks[2].open(address), chromedp.Click(`#alerts a[href*="undelivered"]`), chromedp.WaitReady(`a[href*="undelivered"][aria-current]`))
	const details = `document.querySelector("#alerts").innerText`
	closed := evaluate[string](t, ctx, details)
	see(t, ctx, chromedp.Click("#alerts summary"))
	open := evaluate[string](t, ctx, details)
	for _, want := range []string{"did not reach the phone: error 30005 (Unknown destination handset)", "level\n", "account\n" + twiliotest.AccountSID, "decision\nalerted", "happened\n", "arrived\n", " UTC"} {
		if strings.Contains(closed, want) && want != " UTC" || !strings.Contains(open, want) {
			t.Errorf("an undelivered SMS reads, closed\n%s\nopen\n%s\nand lacks %q", closed, open, want)
		}
	}
}

func TestPageSaysHowItIs(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	for s, want := range map[situation]struct{ title, icon, health, text string }{
		healthy:  {"✓ healthy", "0a7a43", "✓ Healthy: errors are recorded and SMS go out.", "last delivered"},
		degraded: {"! degraded", "e08a00", "! Degraded: errors are recorded, but:", "SMS failed in the last day: error 21610"},
		problem:  {"✗ problem", "c4161f", "✗ Problem:", "set TWILIO_AUTH_TOKEN"},
		empty:    {"✓ healthy", "0a7a43", "✓ Healthy:", "No webhook from Twilio yet"},
	} {
		page := see(t, ctx, look{"light", 1280, 900}.open(startIn(t, s, badDay(time.Now())).page(t)))
		if page.Title != want.title+" · Twilio errors by SMS" || !strings.Contains(page.Icon, want.icon) {
			t.Errorf("%s: title %q, icon %s", s, page.Title, page.Icon)
		}
		if health := strings.Join(strings.Fields(page.Health), " "); !strings.HasPrefix(health, want.health) {
			t.Errorf("%s: the page says %q", s, health)
		}
		if !strings.Contains(page.Text, want.text) {
			t.Errorf("%s: the page lacks %q", s, want.text)
		}
		if s == empty && !strings.Contains(page.Text, publicURL+"/error_trigger") {
			t.Error("the empty page does not say what to paste")
		}
	}
}

func TestSilenceInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	for name, before := range map[string]chromedp.Action[chromedp.Void]{"with script": run("1"), "without script": withoutScript(true)} {
		p := startIn(t, empty, nil)
		silence := func(code string) []chromedp.Action[chromedp.Void] {
			return []chromedp.Action[chromedp.Void]{before, look{"light", 375, 812}.open(p.page(t)), chromedp.Click("#silence summary"),
				chromedp.SendKeys("#silence input", code), chromedp.Click("#silence button"), chromedp.WaitReady("#health form")}
		}
		page := see(t, ctx, silence("30007")...)
		if !strings.Contains(page.Health, "30007 is silenced until") {
			t.Errorf("%s: the banner says %q", name, page.Health)
		}
		if answer := report(t, p.URL, newWebhook("30007", "Message filtered")); !strings.HasPrefix(answer, "silenced until ") {
			t.Errorf("%s: the webhook was answered %q", name, answer)
		}
		if page = see(t, ctx, chromedp.Navigate(p.page(t))); !strings.Contains(page.Text, "silenced until ") || !strings.Contains(page.Text, "Message filtered") {
			t.Errorf("%s: the page does not tell of the silenced event", name)
		}
		page = see(t, ctx, chromedp.Click("#health button"), chromedp.WaitReady("body:not(:has(#health form))"))
		if answer := report(t, p.URL, newWebhook("30007", "Message filtered")); !strings.Contains(answer, "30007") || strings.Contains(page.Health, "silenced") {
			t.Errorf("%s: after its end the webhook was answered %q, and the banner says %q", name, answer, page.Health)
		}
		if err := chromedp.Do(ctx, withoutScript(false)); err != nil {
			t.Fatal(err)
		}
	}
}

// hurry lets a page refresh every 200 ms instead of 30 s.
const hurry = `const every = setInterval; window.setInterval = (f, pause) => every(f, pause / 150)`

func TestRefreshKeepsThePlace(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	p := startIn(t, degraded, badDay(time.Now()))
	place := `JSON.stringify([scrollY, [...document.querySelectorAll("details[open]")].map(d => d.id)])`
	see(t, ctx, call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: hurry}), look{"light", 375, 400}.open(p.page(t)),
		run(`document.querySelector("#alerts details:nth-of-type(2)").open = document.querySelector("#events details").open = true; document.querySelector("#events").scrollIntoView()`))
	before := evaluate[string](t, ctx, place)
	report(t, p.URL, newWebhook("11200", "One more, which the page shows by itself"))
	shows := func() bool { return strings.Contains(see(t, ctx).Text, "One more, which the page shows by itself") }
	within(t, "the page shows the new event", shows)
	if after := evaluate[string](t, ctx, place); after != before || !strings.Contains(after, "alert-") {
		t.Errorf("before the refresh: %s, after: %s", before, after)
	}

	see(t, ctx, run(`document.querySelector("#pause").click()`), chromedp.Sleep(time.Second)) // a refresh under way ends
	still := see(t, ctx).AsOf
	if later := see(t, ctx, chromedp.Sleep(1500*time.Millisecond)).AsOf; later != still {
		t.Errorf("paused, and yet %q became %q", still, later)
	}
	p.kill()
	see(t, ctx, run(`document.querySelector("#pause").click()`))
	within(t, "the page says that the server is unreachable", func() bool {
		page := see(t, ctx)
		return page.State == "problem" && strings.HasPrefix(page.Title, "✗ unreachable") && strings.Contains(page.Health, "✗ Unreachable")
	})
}

// run is an action that runs a script.
func run(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("(() => {"+script+"})(), true"))
		return err
	})
}

// evaluate returns the value of a script's expression.
func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// see returns what a reader sees after actions.
func see(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) seen {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
	return evaluate[seen](t, ctx, readPage)
}

// TestScreenshots writes the picture of README.md, page-light.png, and how the page
// looks in every situation and on every screen:
//
//	go test ./internal/e2e -run TestScreenshots -screenshots $PWD/docs
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots names no folder, so no pictures were asked for")
	}
	ctx := browser(t)
	for _, s := range []situation{healthy, degraded, problem, empty} {
		address := startIn(t, s, badDay(time.Now())).page(t)
		for _, l := range looks {
			name := "page-" + l.scheme + ".png"
			if l.width < 640 {
				name = "page-phone-" + l.scheme + ".png"
			}
			if s != degraded {
				name = string(s) + "-" + name
			}
			if err := chromedp.Do(ctx, l.open(address)); err != nil {
				t.Fatal(err)
			}
			picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(*screenshots, name), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
