package main

import (
	"crypto/tls"
	"net"
)

// tlsListener speaks TLS with the certificate that there is when a client comes: a configuration that is
// read again may bring one, or take it away.
type tlsListener struct {
	net.Listener

	certs *certificates
}

// webListener is a listener of http.listen. Unix sockets have no TLS: who may open one is on this
// machine.
func webListener(l net.Listener, certs *certificates) net.Listener {
	if l.Addr().Network() == "unix" {
		return l
	}
	return &tlsListener{l, certs}
}

// Accept waits for the next client.
func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := l.certs.config()
	if c == nil {
		return conn, nil
	}
	c.NextProtos = []string{"http/1.1"}
	return tls.Server(conn, c), nil
}
