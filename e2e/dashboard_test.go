package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var (
	update  = flag.Bool("update", false, "write the pictures of docs/img")
	minutes = flag.Int("minutes", 12, "how long the gate works for the pictures")
)

const (
	// firstView bounds all that is loaded until the first numbers are seen, in octets.
	firstView = 150_000
	// firstTime is a bound for a busy machine, in milliseconds; a quiet one takes a tenth of it.
	firstTime = 5000
)

// The views by their hashes, with their headings.
var dashboardViews = [][2]string{
	{"#/now", "Now"},
	{"#/providers", "Providers"},
	{"#/senders", "Senders"},
	{"#/decisions", "Decisions"},
	{"#/suppression", "Suppression"},
	{"#/overrides", "Overrides"},
	{"#/configuration", "Configuration in force"},
}

// TestDashboard looks at the gate as an administrator does: in a browser, after real mail.
func TestDashboard(t *testing.T) {
	needChromium(t)
	w := newDashboardWorld(t, 10)
	w.traffic()
	for _, test := range []struct {
		name string
		run  func(*dashboardWorld)
	}{
		{"first view", firstDashboard},
		{"token", dashboardToken},
		{"views", dashboardShows},
		{"why", dashboardWhy},
		{"live", dashboardLive},
		{"changes", dashboardChanges},
		{"import", dashboardImport},
		{"read only", dashboardReadOnly},
		{"hostile", dashboardHostile},
		{"keyboard", dashboardKeyboard},
		{"phone", dashboardPhone},
		{"restart", dashboardRestart},
	} {
		t.Run(test.name, func(t *testing.T) {
			here := *w
			here.t = t
			here.gate.t = t
			defer func() { here.gate.t = w.t }()
			test.run(&here)
		})
	}
}

// signedIn is a browser that shows the first view.
func (w *dashboardWorld) signedIn(token string) *browser {
	w.t.Helper()
	b := newBrowser(w.chromium, w.t, w.origin)
	b.open("")
	b.signIn(token)
	b.until("document.querySelector('.tile dd')")
	return b
}

// firstDashboard measures a load of the page with a token, without a cache, to the first numbers.
func firstDashboard(w *dashboardWorld) {
	b := w.signedIn(writeToken)
	// Everything is loaded again.
	js[bool](b, "window.old = true")
	b.mu.Lock()
	b.octets, b.requests = 0, nil
	b.mu.Unlock()
	b.do(chromedp.Func(withoutCache), chromedp.Reload())
	b.until("!window.old && performance.getEntriesByName('shown').length > 0")
	b.until("document.querySelector('.tile dd')")
	took := js[float64](b, "performance.getEntriesByName('shown')[0].startTime")
	b.mu.Lock()
	octets, requests := b.octets, len(b.requests)
	b.mu.Unlock()
	w.t.Logf("first view: %.0f octets in %d requests, the first numbers after %.0f ms", octets, requests, took)
	if octets > firstView || octets < 20_000 {
		w.t.Errorf("the first view has %.0f octets", octets)
	}
	if took > firstTime {
		w.t.Errorf("the first numbers are seen after %.0f ms", took)
	}
	b.clean()
}

// dashboardToken: no token, a wrong one, the right one, and out again.
func dashboardToken(w *dashboardWorld) {
	b := newBrowser(w.chromium, w.t, w.origin)
	b.open("#/senders")
	b.sees("Where a token comes from")
	b.clean()
	b.signIn("nonsense-0123456789abcdef")
	b.sees("The token is none of http.tokens_file")
	b.clean("401") // the console tells of the refusal
	b.signIn(writeToken)
	b.until("document.querySelector('.view h1')?.textContent === 'Senders'")
	b.clean()
	stored := js[string](b, "JSON.stringify([Object.keys(localStorage), document.cookie, sessionStorage.length])")
	if stored != `[[],"",1]` {
		w.t.Errorf("stored: %s", stored)
	}
	b.click("Sign out")
	b.sees("Where a token comes from")
	if n := js[int](b, "sessionStorage.length"); n != 0 {
		w.t.Errorf("%d entries stay", n)
	}
	b.clean()
}

// dashboardShows holds each view against what the API says.
func dashboardShows(w *dashboardWorld) {
	b := w.signedIn(writeToken)
	var status struct {
		Version string
		Relay   []struct{ Address string }
	}
	w.ask("GET", "/v1/status", "", &status)
	b.sees("Mail passes")
	b.sees("rcptgate " + status.Version)
	b.sees(status.Relay[0].Address)
	b.until("[...document.querySelectorAll('.tile')].some((e) => /^Refused\\s+[1-9]/.test(e.innerText))")
	b.sees("typo.bela@example.com") // among those that were refused last
	b.clean()

	var providers struct {
		Providers []struct {
			Title  string
			Probes int
		}
	}
	w.ask("GET", "/v1/providers", "", &providers)
	b.view("#/providers", "Providers")
	if providers.Providers[0].Probes == 0 {
		w.t.Errorf("no provider was asked: %+v", providers)
	}
	for _, p := range providers.Providers {
		if p.Probes > 0 {
			b.sees(p.Title)
		}
	}
	b.sees("Google")
	b.clean()

	b.view("#/senders", "Senders")
	b.sees("list.example.net")
	b.sees("held")
	b.clean()

	var config struct {
		File    string
		Changed []string
	}
	w.ask("GET", "/v1/config", "", &config)
	b.view("#/configuration", "Configuration in force")
	b.sees(config.File)
	b.sees("distinct = 20")
	b.click("Only what is not the default")
	b.clean()
	marked := js[string](b, "[...document.querySelectorAll('pre.toml strong')].map((e) => e.textContent).join('')")
	for _, key := range config.Changed {
		if !strings.Contains(marked, key[strings.LastIndexByte(key, '.')+1:]+" = ") {
			w.t.Errorf("%s does not stand out in:\n%s", key, marked)
		}
	}
}

// dashboardWhy finds a refused recipient and its evidence by the reference that its sender got.
func dashboardWhy(w *dashboardWorld) {
	told := w.send("boss@example.org", "annna@example.com")["annna@example.com"]
	ref := regexp.MustCompile(`ref ([A-Z2-7]{8})`).FindStringSubmatch(told.text)
	if told.code != 550 || ref == nil {
		w.t.Fatalf("the client was told %q", told.text)
	}
	b := w.signedIn(readToken)
	b.view("#/decisions", "Decisions")
	b.write("Recipient", "annna@example.com")
	b.do(chromedp.KeyEvent("\r"))
	b.until("document.querySelectorAll('.view tbody tr').length === 1")
	row := b.text(".view tbody tr")
	for _, want := range []string{"annna@example.com", "boss@example.org", "refused", "its mail server knows no such mailbox", ref[1]} {
		if !strings.Contains(row, want) {
			w.t.Errorf("%q is not in %q", want, row)
		}
	}
	b.write("Reference in a reply", "(ref "+ref[1]+")")
	b.do(chromedp.KeyEvent("\r"))
	b.until(fmt.Sprintf("document.querySelector('.view h1')?.textContent === 'Decision %s'", ref[1]))
	said, err := w.gate.why(ref[1])
	if err != nil {
		w.t.Fatal(err)
	}
	if page := js[string](b, "document.querySelector('pre.words').textContent"); page != strings.TrimSpace(said) {
		w.t.Errorf("the page:\n%s\nrcptgate why:\n%s", page, said)
	}
	b.sees("mx.example.com") // in the evidence
	b.clean()
	b.view("#/decisions/ABCDEFGH", "Decision")
	b.sees("No decision has the reference ABCDEFGH")
	b.clean("404")
}

// dashboardLive: a decision appears as it is made; with a filter only those that fit.
func dashboardLive(w *dashboardWorld) {
	b := w.signedIn(readToken)
	b.view("#/decisions", "Decisions")
	b.sees("New ones appear on top")
	w.send("boss@example.org", "live1@example.com")
	b.until("document.querySelector('.view tbody tr').innerText.includes('live1@example.com')")
	b.write("Recipient", "@google.test")
	b.do(chromedp.KeyEvent("\r"))
	b.until("document.querySelector('.view tbody tr').innerText.includes('@google.test')")
	b.sees("New ones appear on top")
	w.send("boss@example.org", "live2@example.com", "live3@google.test")
	b.until("document.querySelector('.view tbody tr').innerText.includes('live3@google.test')")
	if strings.Contains(b.text(".view table"), "live2") {
		w.t.Error("a decision that does not fit the filter is shown")
	}
	b.clean()
}

// dashboardChanges: what a change asks, does and says.
func dashboardChanges(w *dashboardWorld) {
	b := w.signedIn(writeToken)
	b.view("#/suppression", "Suppression")
	b.click("Add an address")
	b.write("Address", "bela@example.com")
	b.write("Evidence", "asked by phone")
	b.click("Add")
	b.until("document.querySelector('dialog[open]')")
	b.click("Cancel")
	if r := w.send("boss@example.org", "bela@example.com")["bela@example.com"]; r.code != 250 {
		w.t.Errorf("a change that was not wanted was made: %s", r.text)
	}
	b.write("Address", "bela@example.com")
	b.do(chromedp.KeyEvent("\r"))
	b.confirm("Suppress bela@example.com?")
	b.sees("bela@example.com is suppressed for good.")
	b.until("document.querySelector('.view tbody').innerText.includes('asked by phone')")
	if r := w.send("boss@example.org", "bela@example.com")["bela@example.com"]; r.code/100 != 5 {
		w.t.Errorf("a suppressed recipient: %s", r.text)
	}
	b.click("Remove bela@example.com")
	b.confirm("Let bela@example.com get mail again?")
	b.sees("bela@example.com is not suppressed any more.")
	b.sees("No address is suppressed")
	b.clean()

	// A fault is told, with what to do, and its field has the focus.
	b.write("Address", "no address")
	b.do(chromedp.KeyEvent("\r"))
	b.confirm("Suppress no address?")
	b.until("document.querySelector('#said .bad') && document.activeElement.name === 'address'")
	b.clean("400")

	b.view("#/overrides", "Overrides")
	b.write("Name", "typo.bela@example.com")
	b.write("For", "2h")
	b.do(chromedp.KeyEvent("\r"))
	b.confirm("Allow the address typo.bela@example.com?")
	b.sees("typo.bela@example.com is allowed until")
	if r := w.send("boss@example.org", "typo.bela@example.com")["typo.bela@example.com"]; r.code != 250 {
		w.t.Errorf("a recipient with an override: %s", r.text)
	}
	b.click("Revoke the override of typo.bela@example.com")
	b.confirm("Revoke the override of typo.bela@example.com?")
	b.sees("The override of typo.bela@example.com is revoked.")
	b.sees("There is none. Allow an address below")
	b.clean()

	b.view("#/senders", "Senders")
	b.click("Release ")
	b.until("document.querySelector('dialog[open]')")
	js[bool](b, "document.querySelector('dialog[open] button.main').click(), true")
	b.sees("is released.")
	b.until("!document.querySelector('.view tbody').innerText.includes('held')")
	b.view("#/providers", "Providers")
	b.click("Forget what Gmail")
	b.until("document.querySelector('dialog[open]')")
	js[bool](b, "document.querySelector('dialog[open] button.main').click(), true")
	b.sees("What google said is forgotten.")
	b.clean()
}

// dashboardImport: a list goes in by a file, with what was wrong with it, and out again.
func dashboardImport(w *dashboardWorld) {
	b := w.signedIn(writeToken)
	b.view("#/suppression", "Suppression")
	b.click("Import a list")
	file := filepath.Join(w.t.TempDir(), "list.csv")
	if err := os.WriteFile(file, []byte("address\nx1@example.com\nx2@example.com\nno address\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	b.do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{file}))
	b.click("Import")
	b.confirm("Import list.csv?")
	b.sees("3 rows: 2 added, 0 replaced, 0 kept, 0 skipped, 1 not taken.")
	b.sees("Rows that were not taken")
	b.sees("x2@example.com")
	b.clean()
	// What is exported is what the browser was told to keep.
	js[bool](b, `window.made = null, URL.createObjectURL = ((make) => (blob) => {
		blob.text().then((text) => { window.made = text; });
		return make.call(URL, blob);
	})(URL.createObjectURL), true`)
	b.click("Export all as CSV")
	b.until("window.made?.includes('x1@example.com')")
	b.sees("The list is in your downloads")
	b.clean()
	var done struct{ Removed int }
	w.ask("POST", "/v1/suppressions/remove", `{"where": {"domain": "example.com"}}`, &done)
	if done.Removed != 2 {
		w.t.Errorf("%d suppressions", done.Removed)
	}
}

// dashboardReadOnly: a token that may only look sees why it cannot change anything.
func dashboardReadOnly(w *dashboardWorld) {
	b := w.signedIn(readToken)
	for view, heading := range map[string]string{"#/suppression": "Suppression", "#/overrides": "Overrides"} {
		b.view(view, heading)
		js[bool](b, "document.querySelectorAll('details').forEach((e) => { e.open = true; }), true")
		b.sees(`Your token has no scope "write"`)
		able := js[string](b, `[...document.querySelectorAll('.view button[type=submit]:enabled, .view button.small:enabled')]
			.map((e) => e.textContent).filter((t) => t !== 'Search').join()`)
		if able != "" {
			w.t.Errorf("%s: these can be used: %s", view, able)
		}
	}
	b.clean()
}

// dashboardHostile: what others have written is text, whatever it says.
func dashboardHostile(w *dashboardWorld) {
	told := w.send("boss@example.org", hostileLocal+"@hostile.test")[hostileLocal+"@hostile.test"]
	ref := regexp.MustCompile(`ref ([A-Z2-7]{8})`).FindStringSubmatch(told.text)
	if ref == nil {
		w.t.Fatalf("the client was told %q", told.text)
	}
	quoted := func(s string) string {
		text, err := json.Marshal(s)
		if err != nil {
			w.t.Fatal(err)
		}
		return string(text)
	}
	var done struct{}
	w.ask("POST", "/v1/suppressions", `{"address": "evil@hostile.test", "evidence": `+quoted(hostileWords)+`}`, &done)
	w.ask("POST", "/v1/overrides", `{"kind": "address", "name": "evil@hostile.test", "note": `+quoted(hostileWords)+`}`, &done)
	b := w.signedIn(writeToken)
	for _, view := range dashboardViews {
		b.view(view[0], view[1])
		w.harmless(b)
	}
	b.view("#/suppression", "Suppression")
	b.sees(hostileWords)
	b.view("#/overrides", "Overrides")
	b.sees(hostileWords)
	b.click("Revoke the override of evil@hostile.test")
	b.confirm("Revoke the override of evil@hostile.test?")
	b.sees("is revoked.")
	b.view("#/decisions", "Decisions")
	b.sees("<img src=x onerror=document.title='taken'>")
	b.view("#/decisions/"+ref[1], "Decision "+ref[1])
	b.sees("<script>document.title='taken'</script>")
	w.harmless(b)
	b.view("#/decisions/%3Cimg%20src%3Dx%20onerror%3Ddocument.title%3D1%3E", "Decision")
	w.harmless(b)
	b.clean("404")
	w.ask("POST", "/v1/suppressions/remove", `{"address": "evil@hostile.test"}`, &done)
}

// harmless looks for elements that can only come from somebody else's words.
func (w *dashboardWorld) harmless(b *browser) {
	w.t.Helper()
	found := js[string](b, "[...document.querySelectorAll('main img, main script, #said img, dialog img')].map((e) => e.outerHTML).join()")
	if title := js[string](b, "document.title"); found != "" || !strings.HasSuffix(title, "rcptgate") {
		w.t.Errorf("the title is %q, there are %q", title, found)
	}
}

// dashboardKeyboard walks through the page with the keyboard alone.
func dashboardKeyboard(w *dashboardWorld) {
	b := newBrowser(w.chromium, w.t, w.origin)
	b.open("")
	b.signIn(writeToken)
	b.until("document.querySelector('.tile dd')")
	js[bool](b, "document.activeElement.blur(), true")
	key := func(keys string) { b.do(chromedp.KeyEvent(keys)) }
	focus := func() string {
		return js[string](b, "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()")
	}
	b.do(chromedp.Navigate(b.origin + "/")) // the focus is where a load leaves it
	b.until("document.querySelector('.tile dd')")
	js[bool](b, "document.activeElement.blur(), document.querySelector('.skip').focus(), true")
	if got := js[string](b, "document.activeElement.className"); got != "skip" {
		w.t.Fatalf("the first place has class %q", got)
	}
	var walked []string
	for range 8 {
		key("\t")
		walked = append(walked, focus())
		seen := js[bool](b, `(() => { const s = getComputedStyle(document.activeElement);
			return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()`)
		if !seen {
			w.t.Errorf("the focus on %q is not seen", focus())
		}
	}
	want := []string{"Now", "Providers", "Senders", "Decisions", "Suppression", "Overrides", "Configuration", "Sign out"}
	if strings.Join(walked, ", ") != strings.Join(want, ", ") {
		w.t.Errorf("Tab leads to %q, want %q", walked, want)
	}
	// Back to Overrides, and allow somebody.
	for range 2 {
		b.do(chromedp.KeyEvent("\t", chromedp.KeyModifiers(chromedp.ModifierShift)))
	}
	key("\r")
	b.until("document.querySelector('.view h1')?.textContent === 'Overrides' && document.activeElement.id === 'main'")
	for n := 0; focus() != "" || js[string](b, "document.activeElement.name ?? ''") != "name"; n++ {
		if n > 20 {
			w.t.Fatalf("Tab does not lead to the field of the name, but to %q", focus())
		}
		key("\t")
	}
	key("emil@example.com")
	key("\r")
	b.until("document.querySelector('dialog[open]')")
	if focus() != "Allow" {
		w.t.Errorf("in the question the focus is on %q", focus())
	}
	key(kb.Escape)
	b.until("!document.querySelector('dialog') && document.activeElement.name === 'name'")
	key("\r")
	b.until("document.querySelector('dialog[open]')")
	key("\r")
	b.until("document.getElementById('said').textContent.includes('emil@example.com is allowed until')")
	if live := js[string](b, "document.getElementById('said').getAttribute('aria-live')"); live != "polite" {
		w.t.Errorf("what happened is announced %q", live)
	}
	var done struct{ Revoked bool }
	w.ask("POST", "/v1/overrides/revoke", `{"kind": "address", "name": "emil@example.com"}`, &done)
	if !done.Revoked {
		w.t.Error("there was no override")
	}
	b.clean()
	for _, view := range dashboardViews {
		b.view(view[0], view[1])
		for _, fault := range js[[]string](b, accessible) {
			w.t.Errorf("%s: %s", view[0], fault)
		}
	}
}

// accessible lists what people without eyes or mouse would miss, as far as a program can see it:
// tables without captions, fields without labels, buttons without names, text with less contrast
// than WCAG 2.2 wants (1.4.3, AA).
const accessible = `(() => {
	const faults = [];
	for (const e of document.querySelectorAll('details')) e.open = true;
	for (const e of document.querySelectorAll('table')) {
		if (!e.caption?.textContent) faults.push('a table without caption');
		if (e.querySelector('th:not([scope])')) faults.push('a heading without scope');
	}
	for (const e of document.querySelectorAll('input, select')) {
		if (!e.labels.length) faults.push('no label: ' + e.outerHTML);
	}
	for (const e of document.querySelectorAll('button, a, summary')) {
		if (!(e.getAttribute('aria-label') ?? e.textContent).trim()) faults.push('no name: ' + e.outerHTML);
	}
	if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
	const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
	const light = (c) => {
		const [r, g, b] = c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = rgb(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
		}
		return [255, 255, 255];
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement;
		if (!walk.currentNode.textContent.trim() || !e.checkVisibility()) continue;
		const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) faults.push('contrast ' + contrast.toFixed(2) + ': ' + walk.currentNode.textContent);
	}
	return faults;
})()`

// dashboardPhone: on a phone nothing is wider than the screen, in the light and in the dark.
func dashboardPhone(w *dashboardWorld) {
	b := w.signedIn(writeToken)
	b.size(360, 740, true)
	for _, scheme := range []string{"light", "dark"} {
		b.prefers("prefers-color-scheme", scheme, "prefers-reduced-motion", "reduce")
		for _, view := range dashboardViews {
			b.view(view[0], view[1])
			if got := js[[]string](b, accessible); len(got) > 0 {
				w.t.Errorf("%s, %s: %q", view[0], scheme, got)
			}
			wide := js[string](b, `document.documentElement.scrollWidth <= 360 ? '' :
				[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 361)
					.map((e) => e.localName + '.' + e.className).join()`)
			if wide != "" {
				w.t.Errorf("%s, %s: wider than the screen: %s", view[0], scheme, wide)
			}
		}
	}
	if moves := js[string](b, `[...document.querySelectorAll('*')].filter((e) =>
		getComputedStyle(e).transitionDuration !== '0s' || getComputedStyle(e).animationName !== 'none').map((e) => e.localName).join()`); moves != "" {
		w.t.Errorf("these move: %s", moves)
	}
	b.clean()
}

// dashboardRestart: a gate that is away is told, and the page finds it again by itself.
func dashboardRestart(w *dashboardWorld) {
	b := w.signedIn(readToken)
	w.gate.end(syscall.SIGTERM)
	b.sees("The gate does not answer.")
	w.gate.start()
	b.sees("The gate answers again.")
	b.sees("Mail passes")
	b.clean("Failed to load resource", "net::ERR_")
}

// TestDashboardPictures makes the pictures of docs/dashboard.md, and writes them with -update. What
// they show is a gate at work for as many minutes as its lines have points.
func TestDashboardPictures(t *testing.T) {
	needChromium(t)
	if !*update {
		t.Skip("with -update it takes some minutes of mail, and writes docs/img")
	}
	w := newDashboardWorld(t, 100)
	w.traffic()
	w.minutes(*minutes)
	b := w.signedIn(writeToken)
	b.prefers("prefers-color-scheme", "light")
	b.open("")
	b.until("document.querySelector('.tile dd') && document.querySelector('.canvas canvas')")
	save(t, b, "dashboard-now.png")
	b.prefers("prefers-color-scheme", "dark")
	b.view("#/decisions", "Decisions")
	save(t, b, "dashboard-decisions-dark.png")
	b.prefers("prefers-color-scheme", "light")
	b.view("#/senders", "Senders")
	save(t, b, "dashboard-senders.png")
	b.view("#/providers", "Providers")
	save(t, b, "dashboard-providers.png")
	var found struct{ Entries []struct{ Ref string } }
	w.ask("POST", "/v1/decisions/search", `{"recipient": "typo.bela@example.com", "limit": 1}`, &found)
	b.view("#/decisions/"+found.Entries[0].Ref, "Decision "+found.Entries[0].Ref)
	save(t, b, "dashboard-why.png")
	b.size(360, 740, true)
	b.view("#/now", "Now")
	save(t, b, "dashboard-phone.png")
	b.clean()
}

// save writes a picture, small enough for a page.
func save(t *testing.T, b *browser, name string) {
	t.Helper()
	b.until("document.fonts.ready && true")
	shot, err := png.Decode(bytes.NewReader(b.picture()))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few(shot)); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 150_000 {
		t.Errorf("%s has %d octets", name, out.Len())
	}
	if err := os.MkdirAll("../docs/img", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("../docs/img", name), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
