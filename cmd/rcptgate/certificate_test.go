package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a self-signed certificate with its key, in PEM.
type pair struct{ cert, key []byte }

func newPair(t *testing.T, name string, from, to time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: from, NotAfter: to,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}
}

// write puts data into a file that looks changed, however fast the test is.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	var changed time.Time
	if info, err := os.Stat(path); err == nil {
		changed = info.ModTime().Add(time.Second)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if !changed.IsZero() {
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificates: what replaces the certificate in use, and what does not.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	files := certificateFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		good := func(name string) pair {
			return newPair(t, name, now.Add(-time.Hour), now.Add(90*24*time.Hour))
		}
		var log strings.Builder
		certs := &certificates{log: slog.New(slog.NewTextHandler(&log, nil))}
		served := func(want string) {
			t.Helper()
			cert, err := certs.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := cert.Leaf.Subject.CommonName; got != want {
				t.Errorf("got the certificate of %s, want that of %s", got, want)
			}
		}
		said := func(want ...string) {
			t.Helper()
			lines := strings.Count(log.String(), "\n")
			for _, part := range want {
				if !strings.Contains(log.String(), part) {
					t.Errorf("the log does not say %q:\n%s", part, log.String())
				}
			}
			if lines != min(len(want), 1) {
				t.Errorf("%d lines:\n%s", lines, log.String())
			}
			log.Reset()
		}

		if err := certs.use(files); err == nil || certs.config() != nil {
			t.Errorf("files that are not there: error %v", err)
		}
		first, second := good("first.example.com"), good("second.example.com")
		write(t, files.cert, first.cert)
		write(t, files.key, first.key)
		if err := certs.use(files); err != nil {
			t.Fatal(err)
		}
		served("first.example.com")
		said()

		// A renewal writes the two files one after the other.
		write(t, files.cert, second.cert)
		served("first.example.com") // not looked at yet
		time.Sleep(certificatesEvery)
		served("first.example.com")
		said("certificate cannot be used", "private key does not match", files.cert, files.key,
			"the old one stays", "not_after_in_use="+dateOf(now.Add(90*24*time.Hour)), "fix=")
		time.Sleep(certificatesEvery)
		served("first.example.com")
		said() // once is enough
		write(t, files.key, second.key)
		time.Sleep(certificatesEvery)
		served("second.example.com")
		said("certificate read again")

		old := newPair(t, "old.example.com", now.Add(-48*time.Hour), now.Add(-24*time.Hour))
		write(t, files.cert, old.cert)
		write(t, files.key, old.key)
		time.Sleep(certificatesEvery)
		served("second.example.com")
		said("the certificate has expired on "+dateOf(now.Add(-24*time.Hour)), "the old one stays")
		// Nor at a reload, and no reload fails of it.
		if err := certs.use(files); err != nil {
			t.Error(err)
		}
		served("second.example.com")
		said("the certificate has expired on")
		if err := os.Remove(files.cert); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificatesEvery)
		served("second.example.com")
		said("no such file or directory", "the old one stays")

		if err := certs.use(certificateFiles{}); err != nil || certs.config() != nil {
			t.Errorf("without files: %v", err)
		}
		if cert, err := certs.get(nil); err == nil {
			t.Errorf("without files there is %v", cert.Leaf.Subject)
		}
	})
}

// TestExpiredCertificateAtStart: it is better than none.
func TestExpiredCertificateAtStart(t *testing.T) {
	dir := t.TempDir()
	files := certificateFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	old := newPair(t, "old.example.com", time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	write(t, files.cert, old.cert)
	write(t, files.key, old.key)
	var log strings.Builder
	certs := &certificates{log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := certs.use(files); err != nil || certs.config() == nil {
		t.Fatal(err)
	}
	for _, part := range []string{"has expired on", "it is used all the same", "fix="} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q: %s", part, log.String())
		}
	}
}
