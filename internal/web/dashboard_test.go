package web_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDashboardAssets: each part is sent as it is in the tree, compressed for those who take that,
// once for those who have it, and with what keeps a page in its bounds.
func TestDashboardAssets(t *testing.T) {
	o := newOffice(t)
	if err := o.web.MountDashboard(); err != nil {
		t.Fatal(err)
	}
	o.over = "none"
	kinds := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		".LICENSE": "text/plain; charset=utf-8",
	}
	for _, name := range dashboardFiles(t) {
		want, err := os.ReadFile("dashboard/" + name)
		if err != nil {
			t.Fatal(err)
		}
		url := "/dashboard/" + name
		if name == "index.html" {
			url = "/"
		}
		plain := o.send("GET", url, "", nil, "Accept-Encoding", "identity, gzip;q=0")
		if plain.status != http.StatusOK || plain.text != string(want) || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d, %d octets, want %d", url, plain.status, len(plain.text), len(want))
		}
		packed := o.send("GET", url, "", nil, "Accept-Encoding", "br, gzip")
		if got := unpacked(t, packed); got != string(want) {
			t.Errorf("%s, compressed: %d octets, want %d", url, len(got), len(want))
		}
		for _, answer := range []answered{plain, packed} {
			for key, want := range map[string]string{
				"Content-Type": kinds[path.Ext(name)], "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache",
				"Vary": "Accept-Encoding",
			} {
				if got := answer.header.Get(key); got != want {
					t.Errorf("%s: %s: %q, want %q", url, key, got, want)
				}
			}
			for _, part := range []string{
				"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
				"img-src 'self' data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
				"require-trusted-types-for 'script'", "trusted-types 'none'",
			} {
				parts := strings.Split(answer.header.Get("Content-Security-Policy"), "; ")
				if !slices.Contains(parts, part) {
					t.Errorf("%s: no %s in %q", url, part, parts)
				}
			}
		}
		known := o.send("GET", url, "", nil, "If-None-Match", `W/"other", `+plain.header.Get("ETag"))
		other := o.send("GET", url, "", nil, "If-None-Match", `"other"`)
		if known.status != http.StatusNotModified || known.text != "" || other.status != http.StatusOK {
			t.Errorf("%s: %d for what is known, %d for what is not", url, known.status, other.status)
		}
	}
	for _, url := range []string{"/dashboard/", "/dashboard/none.js", "/dashboard/../web.go", "/index.html"} {
		if got := o.send("GET", url, "", nil); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", url, got.status)
		}
	}
	if got := o.send("POST", "/", "", nil); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", got.status)
	}
}

func unpacked(t *testing.T, answer answered) string {
	t.Helper()
	if answer.header.Get("Content-Encoding") != "gzip" {
		return answer.text
	}
	r, err := gzip.NewReader(bytes.NewReader([]byte(answer.text)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func dashboardFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS("dashboard"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDashboardSources holds the sources to their rules: text goes in as text, nothing is loaded
// from elsewhere, what is imported is there, and each file can be read in a sitting.
func TestDashboardSources(t *testing.T) {
	names := dashboardFiles(t)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|` +
		`DOMParser|createContextualFragment|srcdoc|\beval\(|new Function|localStorage|document\.cookie|` +
		`\bstyle=|\bon[a-z]+=|javascript:|https?://`)
	imported := regexp.MustCompile(`(?:from |import\(|import )'\./([^']+)'|(?:href|src)="/dashboard/([^"]+)"`)
	used := map[string]bool{"index.html": true, "vendor/uPlot.LICENSE": true}
	for _, name := range names {
		data, err := os.ReadFile("dashboard/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "vendor/") {
			// Not ours, but it must not make elements of text either.
			if found := regexp.MustCompile(`innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`).Find(data); found != nil {
				t.Errorf("%s has %s", name, found)
			}
			continue
		}
		if n := strings.Count(string(data), "\n"); n > 300 {
			t.Errorf("%s has %d lines", name, n)
		}
		for n, line := range strings.Split(string(data), "\n") {
			if found := forbidden.FindString(line); found != "" && !strings.Contains(line, "http://www.w3.org/2000/svg") {
				t.Errorf("%s:%d has %s", name, n+1, found)
			}
		}
		for _, match := range imported.FindAllStringSubmatch(string(data), -1) {
			other := match[1] + match[2]
			used[other] = true
			if !slices.Contains(names, other) {
				t.Errorf("%s wants %s, which is not there", name, other)
			}
		}
	}
	for _, name := range names {
		if !used[name] {
			t.Errorf("nothing uses %s", name)
		}
	}
}

// TestScopesTold: an answer to a token says what it is good for, so that the page can.
func TestScopesTold(t *testing.T) {
	o := newOffice(t)
	o.useTokens()
	for token, want := range map[string]string{readToken: "read", writeToken: "write", bothToken: "read write"} {
		o.over = token
		if got := o.send("GET", "/v1/overrides", "", nil).header.Get("Rcptgate-Scopes"); got != want {
			t.Errorf("%s: %q, want %q", token, got, want)
		}
	}
	o.over = "nonsense"
	if got := o.send("GET", "/v1/overrides", "", nil).header.Get("Rcptgate-Scopes"); got != "" {
		t.Errorf("to nobody: %q", got)
	}
}
