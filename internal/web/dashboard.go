package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed dashboard
var dashboardFiles embed.FS

// scopesHeader is in every answer of the API to a token: what the token is good for. The dashboard
// disables what would be refused.
const scopesHeader = "Rcptgate-Scopes"

// scopeList is the token's scopes with blanks between them.
func (t *token) scopeList() string {
	names := make([]string, len(t.scopes))
	for i, scope := range t.scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, " ")
}

// pagePolicy is what the page may do: load its own parts and ask its own API, nothing else. What is
// inserted into it can only be text (Trusted Types), and no other page may frame it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// asset is one file of the dashboard as it is sent.
type asset struct {
	kind        string // Content-Type
	etag        string
	plain, gzip []byte // gzip is nil if it is no shorter
}

// MountDashboard adds the dashboard at / and its parts at /dashboard/, once, before Serve. It needs
// no token: the page has no data of its own, only the API has. Its assets are in the binary. They
// are compressed here, once, and revalidated by the browser with each load: their names do not
// change with the version.
func (s *Server) MountDashboard() error {
	assets, err := readAssets()
	if err != nil {
		return err
	}
	for name, a := range assets {
		pattern := "GET /dashboard/" + name
		if name == "index.html" {
			pattern = "GET /{$}"
		}
		s.mux.Handle(pattern, a)
	}
	return nil
}

func readAssets() (map[string]*asset, error) {
	root, err := fs.Sub(dashboardFiles, "dashboard")
	if err != nil {
		return nil, err
	}
	assets := make(map[string]*asset)
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		assets[name], err = newAsset(name, data)
		return err
	})
	return assets, err
}

func newAsset(name string, data []byte) (*asset, error) {
	a := &asset{plain: data}
	switch ext := path.Ext(name); ext {
	case ".html":
		a.kind = "text/html; charset=utf-8"
	case ".css":
		a.kind = "text/css; charset=utf-8"
	case ".js":
		a.kind = "text/javascript; charset=utf-8"
	case ".svg":
		a.kind = "image/svg+xml"
	case ".LICENSE":
		a.kind = "text/plain; charset=utf-8"
	default:
		return nil, fmt.Errorf("dashboard/%s: there is no media type for %q", name, ext)
	}
	sum := sha256.Sum256(data)
	a.etag = hex.EncodeToString(sum[:12])
	var short bytes.Buffer
	w, err := gzip.NewWriterLevel(&short, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(data); err == nil {
		err = w.Close()
	}
	if short.Len() < len(data) {
		a.gzip = short.Bytes()
	}
	return a, err
}

// ServeHTTP sends the asset, or that the browser has it.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache") // may be kept, but asked about
	header.Set("Vary", "Accept-Encoding")
	body, etag := a.plain, `"`+a.etag+`"`
	if a.gzip != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = a.gzip, `"`+a.etag+`-gzip"`
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", etag)
	if knows(r.Header.Get("If-None-Match"), a.etag) {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", a.kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who has gone does not read it
	}
}

// takesGzip reads an Accept-Encoding (RFC 9110 section 12.5.3): gzip by its name, not refused by
// the weight 0.
func takesGzip(accept string) bool {
	for one := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(one, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		_, value, found := strings.Cut(weight, "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return !found || err == nil && q > 0
	}
	return false
}

// knows reads an If-None-Match (RFC 9110 section 13.1.2), which compares weakly. Compressed or not,
// it is the same asset.
func knows(given, etag string) bool {
	for one := range strings.SplitSeq(given, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one == `"`+etag+`"` || one == `"`+etag+`-gzip"` {
			return true
		}
	}
	return false
}
