package mxsim

import (
	"context"
	"net"
)

// Relay is an SMTP server that takes mail for everybody and keeps it: what stands behind a gate.
// It offers what Postfix does on a re-injection port, XFORWARD with all attributes included, and
// answers "250 2.0.0 Ok: queued as ID". Behaviours are its faults, at any stage.
//
// Serve, Record and Messages are those of [Host].
type Relay struct {
	Host
}

// NewRelay returns a relay that says this name.
func NewRelay(name string, faults ...Behaviour) *Relay {
	r := &Relay{Host: Host{
		Name:       name,
		Keywords:   append(DefaultKeywords(), "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"),
		Behaviours: faults,
	}}
	r.start()
	r.tls = newCert()
	return r
}

// Listen opens a TCP socket ("127.0.0.1:0") or, for "unix:/path", a Unix one, and serves it until
// Close. It returns the address as a configuration has it.
func (r *Relay) Listen(ctx context.Context, address string) (string, error) {
	network := "tcp"
	if path, ok := cutUnix(address); ok {
		network, address = "unix", path
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return "", err
	}
	r.accept(l, r.Serve)
	if network == "unix" {
		return "unix:" + address, nil
	}
	return l.Addr().String(), nil
}

// DialContext connects to the relay in memory, whatever the address.
func (r *Relay) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 10026}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
	}
	if !pause(ctx, r.Latency) {
		return fail(ctx.Err())
	}
	if err := connectState(ctx, r.State); err != nil {
		return fail(err)
	}
	client, server := newPipe(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}, remote)
	r.Serve(server)
	return client, nil
}
