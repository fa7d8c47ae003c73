package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAPITLS: http.listen speaks TLS with its certificate, and follows the configuration.
func TestAPITLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair := newPair(t, "gate.example.net", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	write(t, cert, pair.cert)
	write(t, key, pair.key)
	tlsKeys := "tls_certificate = \"" + cert + "\"\ntls_key = \"" + key + "\"\n"
	_, upstream := testRelay(t)
	toml := worldConfig("127.0.0.1:0", upstream, testWorld(t)) + "[http]\nlisten = \"127.0.0.1:0\"\n"
	s := startServe(t, toml+tlsKeys)
	address := s.listening("http")
	s.logged("ready")

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pair.cert)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "gate.example.net"},
	}}
	get := func(scheme string) (status int, version string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+address+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		return answer.StatusCode, answer.Proto
	}
	if status, version := get("https"); status != http.StatusOK || version != "HTTP/1.1" {
		t.Errorf("with TLS: %d %s", status, version)
	}
	if status, _ := get("http"); status != http.StatusBadRequest { // the server says that it wants TLS
		t.Errorf("without TLS: %d", status)
	}
	var out, errs bytes.Buffer
	asked := strings.Replace(toml+tlsKeys, `listen = "127.0.0.1:0"`+"\ntls", `listen = "`+address+"\"\ntls", 1)
	path := filepath.Join(dir, "asked.toml")
	write(t, path, []byte(asked))
	if code := run([]string{"healthcheck", "--config", path}, strings.NewReader(""), &out, &errs); code != exitDone ||
		!strings.Contains(out.String(), "certificate of http: good until ") {
		t.Errorf("healthcheck: %d %s%s", code, &out, &errs)
	}

	s.write(toml)
	s.signals <- syscall.SIGHUP
	s.logged("configuration read again")
	if status, version := get("http"); status != http.StatusOK {
		t.Errorf("after TLS was switched off: %d %s", status, version)
	}
	s.signals <- syscall.SIGTERM
	if err := s.end(); err != nil {
		t.Error(err)
	}
}
