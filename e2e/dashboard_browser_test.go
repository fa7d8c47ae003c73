package e2e

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a tab of a real headless Chromium, which tells of everything that
// a page must not do.
type browser struct {
	t      *testing.T
	ctx    context.Context
	origin string

	mu       sync.Mutex
	octets   float64  // received
	requests []string // methods and paths
	faults   []string // console errors, exceptions, violations of the policy, requests elsewhere
}

// needChromium skips the test without Chromium, and fails it where the environment variable CI is
// set: .ci/setup installs it.
func needChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "there is no Chromium; install it: apt-get install chromium (or run .ci/setup)"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// newChromium starts a Chromium for the tabs of a test. It asks nobody but the page's own server.
func newChromium(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()),
		chromedp.ExecPath(needChromium(t)), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-extensions", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("lang", "en"))
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		end()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// newBrowser opens an empty tab, to look at origin: "http://host:port". It shares nothing with other
// tabs.
func newBrowser(chromium context.Context, t *testing.T, origin string) *browser {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	b := &browser{t: t, ctx: ctx, origin: origin}
	t.Cleanup(func() {
		if t.Failed() {
			b.mu.Lock()
			t.Logf("requests: %q", b.requests)
			b.mu.Unlock()
		}
		closeTab()
	})
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatalf("no tab opens: %v", err)
	}
	b.call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, runtime.Enable, cdp.Empty{})
		if err == nil {
			_, err = cdp.Call(ctx, tab, audits.Enable, cdp.Empty{})
		}
		return err
	})
	b.size(1280, 900, false)
	return b
}

// event collects what happens in the tab.
func (b *browser) event(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fault := func(format string, args ...any) { b.faults = append(b.faults, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		switch {
		case err != nil:
			fault("a request to %q", e.Request.URL)
		case u.Scheme == "about" || u.Scheme == "data" || strings.HasPrefix(e.Request.URL, "blob:"+b.origin+"/"):
		case u.Scheme+"://"+u.Host != b.origin || u.RawQuery != "":
			fault("a request to %s", e.Request.URL)
		default:
			b.requests = append(b.requests, e.Request.Method+" "+u.Path)
		}
	case *network.EventLoadingFinished:
		b.octets += e.EncodedDataLength
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		fault("an exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		text := make([]string, len(e.Args))
		for i, arg := range e.Args {
			text[i] = string(arg.Value) + arg.Description
		}
		fault("the console: %s %q", e.Type, text)
	case *log.EventEntryAdded:
		fault("the log: %s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *audits.EventIssueAdded:
		if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			fault("the content security policy: %s %s", d.ViolatedDirective, d.BlockedURL)
		}
	}
}

// clean fails the test for everything that went wrong in the tab but what has one of these texts in
// it, and forgets it.
func (b *browser) clean(but ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		known := false
		for _, text := range but {
			known = known || strings.Contains(fault, text)
		}
		if !known {
			b.t.Error(fault)
		}
	}
	b.faults = nil
}

// call runs commands of the DevTools protocol, within patience.
func (b *browser) call(fn func(ctx context.Context, tab *chromedp.Target) error) {
	b.t.Helper()
	// The tab lives in b.ctx; the first call opens it, and must not end with its own limit.
	if _, err := chromedp.Run(b.ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return fn(ctx, tab)
	})); err != nil {
		b.t.Fatal(err)
	}
}

// do runs actions.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Steps(actions...)(ctx, tab)
		return err
	})
}

// js is the value of an expression in the page.
func js[T any](b *browser, expression string) T {
	b.t.Helper()
	var value T
	b.call(func(ctx context.Context, tab *chromedp.Target) (err error) {
		value, err = chromedp.Evaluate[T](expression)(ctx, tab)
		if err != nil {
			err = fmt.Errorf("%s: %w", expression, err)
		}
		return err
	})
	return value
}

// until waits for a condition in the page.
func (b *browser) until(condition string) {
	b.t.Helper()
	met := false
	defer func() {
		if !met {
			b.t.Logf("the page: %s", js[string](b, `document.body.innerText`))
		}
	}()
	until(b.t, condition, func() bool { return js[bool](b, "Boolean("+condition+")") })
	met = true
}

// text is what is seen of the first element of a selector.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return js[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// sees waits until the main part of the page has a text.
func (b *browser) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// open loads the page.
func (b *browser) open(hash string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.origin + "/" + hash))
}

// view goes to a view by its hash, and waits for its heading.
func (b *browser) view(hash, heading string) {
	b.t.Helper()
	js[bool](b, fmt.Sprintf("location.hash = %q, true", hash))
	b.until(fmt.Sprintf("document.querySelector('.view h1')?.textContent === %q", heading))
}

// signIn types a token into the first page.
func (b *browser) signIn(token string) {
	b.t.Helper()
	b.until("document.activeElement?.name === 'token'")
	b.do(chromedp.KeyEvent(token), chromedp.KeyEvent("\r"))
}

// click clicks the first button, link, summary or label of that name, or else whose name begins
// with these words.
func (b *browser) click(words string) {
	b.t.Helper()
	find := fmt.Sprintf(`((words) => {
		const name = (e) => (e.getAttribute('aria-label') ?? e.textContent).trim();
		const all = [...document.querySelectorAll('button:enabled, a, summary, label')].filter((e) => e.checkVisibility());
		return all.find((e) => name(e) === words) ?? all.find((e) => name(e).startsWith(words));
	})(%q)`, words)
	b.until(find)
	js[bool](b, find+".click(), true")
}

// confirm answers the question of a change with yes.
func (b *browser) confirm(title string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector('dialog[open] h2')?.textContent === %q", title))
	js[bool](b, "document.querySelector('dialog[open] button.main').click(), true")
}

// write puts text into the field of that label.
func (b *browser) write(label, text string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll('label')].find((e) =>
		e.checkVisibility() && e.textContent === %q)`, label)
	b.until(find)
	js[bool](b, find+".control.focus(), "+find+".control.select?.(), true")
	b.do(chromedp.KeyEvent(text))
}

// size is that of the window in CSS pixels; on a phone, with two of its own for each.
func (b *browser) size(width, height int64, phone bool) {
	b.t.Helper()
	scale := 1.0
	if phone {
		scale = 2
	}
	b.call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: scale, Mobile: phone,
		})
		return err
	})
}

// prefers sets what the person at the screen prefers: a feature of CSS media queries and its value.
func (b *browser) prefers(features ...string) {
	b.t.Helper()
	var list []*emulation.MediaFeature
	for i := 0; i+1 < len(features); i += 2 {
		list = append(list, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	b.call(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: list})
		return err
	})
}

// withoutCache has the tab load everything again.
func withoutCache(ctx context.Context, tab *chromedp.Target) error {
	_, err := cdp.Call(ctx, tab, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
	return err
}

// picture is what the window shows, as PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	var data []byte
	b.call(func(ctx context.Context, tab *chromedp.Target) error {
		shot, err := cdp.Call(ctx, tab, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{})
		data = shot.Data
		return err
	})
	return data
}

// few turns a picture into one of at most 256 colours, those that it has most: screens of text have
// few, and the rest are their blends at the edges of letters.
func few(shot image.Image) *image.Paletted {
	counts := map[color.RGBA]int{}
	area := shot.Bounds()
	at := func(x, y int) color.RGBA {
		r, g, b, _ := shot.At(x, y).RGBA()
		return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
	}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	out := image.NewPaletted(area, nil)
	for _, c := range colours[:min(len(colours), 256)] {
		out.Palette = append(out.Palette, c)
	}
	known := map[color.RGBA]uint8{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			c := at(x, y)
			index, ok := known[c]
			if !ok {
				index = uint8(out.Palette.Index(c))
				known[c] = index
			}
			out.SetColorIndex(x, y, index)
		}
	}
	return out
}
