package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates is a directory with the certificates of an authority of its own: ca.pem, and for each
// name that one was issued for NAME.pem and NAME.key.
type certificates struct {
	t    *testing.T
	dir  string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "e2e"}, SerialNumber: big.NewInt(1),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: inDays(-400), NotAfter: inDays(400),
	}
	c.root, c.key = c.sign(template)
	c.writePEM("ca.pem", "CERTIFICATE", c.root.Raw)
	return c
}

// sign signs a certificate with a new key; the first one with that key itself.
func (c *certificates) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	parent, signer := c.root, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, key
}

func inDays(n int) time.Time { return time.Now().AddDate(0, 0, n) }

// issue writes a certificate for a name that ends at a time, over the last one.
func (c *certificates) issue(name string, end time.Time) {
	c.t.Helper()
	cert, private := c.sign(&x509.Certificate{
		DNSNames: []string{name}, SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore: end.AddDate(0, 0, -90), NotAfter: end,
	})
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		c.t.Fatal(err)
	}
	c.writePEM(name+".pem", "CERTIFICATE", cert.Raw)
	c.writePEM(name+".key", "PRIVATE KEY", key)
}

func (c *certificates) path(file string) string { return filepath.Join(c.dir, file) }

func (c *certificates) writePEM(file, kind string, der []byte) {
	c.t.Helper()
	c.write(file, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func (c *certificates) write(file, content string) {
	c.t.Helper()
	if err := os.WriteFile(c.path(file), []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// client is how a client looks at a server of that name: strictly.
func (c *certificates) client(name string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(c.root)
	return &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}
}
