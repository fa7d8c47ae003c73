package esmtp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"
)

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func unchecked() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true}
}

func TestStartTLS(t *testing.T) {
	cert := certificate(t)
	dialogue(t, func(p *peer) {
		p.send("220 hello")
		p.expect("EHLO gate.example.net")
		p.send("250-hello", "250-SIZE", "250 STARTTLS")
		p.expect("STARTTLS")
		p.send("220 go")
		// A ticket would be written to a pipe that nobody reads before the client has written.
		conn := tls.Server(p.conn, &tls.Config{
			Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true,
			MinVersion: tls.VersionTLS12,
		})
		p.conn, p.br = conn, bufio.NewReader(conn)
		p.expect("EHLO gate.example.net")
		p.send("250-hello", "250 AUTH PLAIN")
		p.expect("NOOP")
		p.send("250 ok", "250 unasked")
	}, func(t caller) {
		c := t.c
		ctx := t.Context()
		wantReply(t, "220 hello")(c.Greeting(ctx))
		wantReply(t, "250 hello / SIZE / STARTTLS")(c.Hello(ctx, "gate.example.net"))
		wantReply(t, "220 go")(c.StartTLS(ctx, unchecked()))
		if _, ok := c.Extension("SIZE"); ok || !c.IsTLS() || !c.Clean() {
			t.Errorf("SIZE from plaintext %v, TLS %v, clean %v", ok, c.IsTLS(), c.Clean())
		}
		wantReply(t, "250 hello / AUTH PLAIN")(c.Hello(ctx, "gate.example.net"))
		wantReply(t, "250 ok")(c.Noop(ctx))
		if _, err := c.Reset(ctx); !errors.As(err, new(*ProtocolError)) {
			t.Errorf("a reply to nothing over TLS: %v", err)
		}
	})
}

func TestStartTLSRefused(t *testing.T) {
	dialogue(t, func(p *peer) {
		p.send("220 hello")
		p.expect("STARTTLS")
		p.send("454 4.7.0 not now")
		p.expect("NOOP")
		p.send("250 ok")
	}, func(t caller) {
		c := t.c
		wantReply(t, "220 hello")(c.Greeting(t.Context()))
		wantReply(t, "454 4.7.0 not now")(c.StartTLS(t.Context(), unchecked()))
		wantReply(t, "250 ok")(c.Noop(t.Context()))
	})
}

func TestStartTLSBroken(t *testing.T) {
	tests := []struct {
		name   string
		server func(*peer)
		want   any
	}{
		{"injection", func(p *peer) { p.send("220 go", "250 injected"); p.gone() }, new(*ProtocolError)},
		{"no TLS", func(p *peer) {
			p.send("220 go")
			if _, err := p.br.ReadByte(); err != nil {
				p.t.Error(err)
			}
			p.raw("this is not TLS\r\n")
		}, new(*TLSError)},
		{"closed", func(p *peer) { p.send("220 go") }, new(*TLSError)},
		{"silence", func(p *peer) { p.send("220 go"); time.Sleep(time.Hour) }, new(*TLSError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialogue(t, func(p *peer) {
				p.send("220 hello")
				p.expect("STARTTLS")
				tt.server(p)
			}, func(t caller) {
				c := t.c
				c.Timeout = time.Minute
				wantReply(t, "220 hello")(c.Greeting(t.Context()))
				r, err := c.StartTLS(t.Context(), unchecked())
				if r.Code != 220 || !errors.As(err, tt.want) {
					t.Errorf("%v, %v; want a %T", r, err, tt.want)
				}
				if c.Clean() || c.Err() == nil {
					t.Error("alive after a broken STARTTLS")
				}
			})
		})
	}
}
