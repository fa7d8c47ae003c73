package mx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFilterDial(t *testing.T) {
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	var dialled []string
	dial := f.Dial(func(_ context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, network+" "+address)
		client, server := net.Pipe()
		server.Close()
		return client, nil
	})
	for _, address := range []string{"5.9.0.1:25", "[::ffff:5.9.0.1]:25", "[2a01::1]:25"} {
		conn, err := dial(t.Context(), "tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		conn.Close()
	}
	want := []string{"tcp 5.9.0.1:25", "tcp 5.9.0.1:25", "tcp [2a01::1]:25"}
	if !slices.Equal(dialled, want) {
		t.Errorf("dialled %q, want %q", dialled, want)
	}
	dialled = nil
	for _, s := range specialAddresses() {
		if _, err := dial(t.Context(), "tcp", net.JoinHostPort(s, "25")); err == nil {
			t.Errorf("%s was dialled", s)
		}
	}
	for _, bad := range [][2]string{
		{"tcp", "mx.test:25"},
		{"tcp", "localhost:25"},
		{"tcp", "5.9.0.1"},
		{"tcp", ":25"},
		{"tcp", "5.9.0.1:smtp"},
		{"tcp", "0x7f.1:25"},
		{"tcp", "2130706433:25"},
		{"tcp", "127.1:25"},
		{"tcp", ""},
		{"udp", "5.9.0.1:25"},
		{"unix", "/tmp/x"},
		{"ip4:icmp", "5.9.0.1"},
		{"tcp", "017700000001:25"},
		{"tcp", "5.9.0.1:99999"},
	} {
		if _, err := dial(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%s %q was dialled", bad[0], bad[1])
		}
	}
	if len(dialled) > 0 {
		t.Errorf("reached the network: %q", dialled)
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peers := make(chan string, 8)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			peers <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
			conn.Close()
		}
	}()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	address := l.Addr().String()
	connect := func(f *Filter, bind ...netip.Addr) error {
		conn, err := Dialer(f, bind)(t.Context(), "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}

	for _, f := range []*Filter{NewFilter(FilterConfig{}), {}, nil} {
		if err := connect(f); err == nil {
			t.Error("connected to loopback")
		}
	}
	relay := []netip.AddrPort{netip.MustParseAddrPort(address)}
	if err := connect(NewFilter(FilterConfig{Allow: loopback, Relay: relay})); !isOwn(err) {
		t.Errorf("the relay: %v", err)
	}
	open := NewFilter(FilterConfig{Allow: loopback})
	if err := connect(open); err != nil {
		t.Error(err)
	} else if peer := <-peers; peer != "127.0.0.1" {
		t.Errorf("from %s", peer)
	}
	if err := connect(open, ip("::1"), ip("127.0.0.9"), ip("127.0.0.8")); err != nil {
		t.Error(err)
	} else if peer := <-peers; peer != "127.0.0.9" {
		t.Errorf("from %s", peer)
	}
	if err := connect(open, ip("::1")); err == nil || !strings.Contains(err.Error(), "bind_addresses") {
		t.Errorf("no source address of the family: %v", err)
	}
	if len(peers) > 0 {
		t.Errorf("an unexpected connection from %s", <-peers)
	}
}

// The control function of the socket is the last word: it refuses by itself, whatever was asked
// before.
func TestDialerControl(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := NewFilter(FilterConfig{Interfaces: elsewhere})
	_, err = f.connect(nil)(t.Context(), "tcp", l.Addr().String())
	if forbidden, ok := errors.AsType[*ForbiddenError](err); !ok || forbidden.Addr != ip("127.0.0.1") {
		t.Errorf("connected: %v", err)
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection arrived: %v", err)
	}
}

func TestRelayAddrs(t *testing.T) {
	got, err := RelayAddrs(t.Context(), []string{
		"127.0.0.1:10026", "unix:/run/relay", "[::1]:25", "[::ffff:127.0.0.2]:25",
	})
	want := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:10026"), netip.MustParseAddrPort("[::1]:25"),
		netip.MustParseAddrPort("127.0.0.2:25"),
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	got, err = RelayAddrs(t.Context(), []string{"127.0.0.1", "127.0.0.1:10026"})
	if err == nil || len(got) != 1 || !strings.Contains(err.Error(), "relay.upstreams") {
		t.Errorf("%v, %v", got, err)
	}
}
