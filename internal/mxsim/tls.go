package mxsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"time"
)

// certFn returns a certificate, made when first asked for.
type certFn func() (tls.Certificate, error)

func newCert() certFn {
	return sync.OnceValues(func() (tls.Certificate, error) {
		now := time.Now()
		return sign(nil, &x509.Certificate{
			Subject:   pkix.Name{CommonName: "mxsim"},
			DNSNames:  []string{"mxsim.test"},
			NotBefore: now.Add(-time.Hour),
			NotAfter:  now.AddDate(10, 0, 0),
		})
	})
}

// sign makes a certificate with a key of its own; without an issuer it signs itself.
func sign(issuer *tls.Certificate, template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// CA signs certificates for hosts: those that a client with its pool trusts.
type CA struct {
	Pool *x509.CertPool
	root tls.Certificate
}

// NewCA makes a certification authority of its own.
func NewCA() (*CA, error) {
	now := time.Now()
	root, err := sign(nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "mxsim CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(10, 0, 0),
	})
	if err != nil {
		return nil, err
	}
	ca := &CA{Pool: x509.NewCertPool(), root: root}
	ca.Pool.AddCert(root.Leaf)
	return ca, nil
}

// Issue signs a certificate for names or IP addresses that ends at a time; it began a year before.
func (ca *CA) Issue(end time.Time, names ...string) (*tls.Certificate, error) {
	template := &x509.Certificate{NotBefore: end.AddDate(-1, 0, 0), NotAfter: end}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := sign(&ca.root, template)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

func (h *Host) tlsConfig() (*tls.Config, error) {
	if h.Certificate != nil {
		return &tls.Config{
			Certificates: []tls.Certificate{*h.Certificate}, MinVersion: tls.VersionTLS12,
		}, nil
	}
	cert, err := h.tls()
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}
