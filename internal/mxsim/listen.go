package mxsim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// portTries is how many common ports are tried before giving up: a port that is free at one
// address may be taken at another.
const portTries = 20

// maxDatagram is what is read of a UDP query.
const maxDatagram = 4096

// Listening tells where a World listens.
type Listening struct {
	DNS  string // IP:port of the DNS server, UDP and TCP
	Port int    // of all hosts, each at its own address
}

// Listen opens sockets for the DNS server and all hosts that were added, until Close. Hosts that
// are Down get none, so that the kernel refuses; a BlackHole gets one whose queue is full, so
// that the kernel drops what comes. The addresses must be loopback ones (Config.Loopback).
func (w *World) Listen(ctx context.Context) (Listening, error) {
	w.mu.Lock()
	hosts := maps.Clone(w.hosts)
	w.mu.Unlock()
	for a := range hosts {
		if !a.IsLoopback() {
			return Listening{}, fmt.Errorf("mxsim: %v is no loopback address; use Config.Loopback", a)
		}
	}
	var out Listening
	var err error
	if out.DNS, err = w.listenDNS(ctx); err != nil {
		return Listening{}, err
	}
	for range portTries {
		if out.Port, err = w.listenHosts(ctx, hosts); err == nil {
			return out, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return Listening{}, fmt.Errorf("mxsim: no common port for all hosts: %w", err)
}

// listenHosts opens all listeners at one port, or none.
func (w *World) listenHosts(ctx context.Context, hosts map[netip.Addr]*Host) (port int, err error) {
	var opened []func()
	var listeners []net.Listener
	defer func() {
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
		}
	}()
	for addr, h := range hosts {
		if h.State == Down {
			continue
		}
		at := net.JoinHostPort(addr.String(), strconv.Itoa(port))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
		if err != nil {
			return 0, err
		}
		listeners = append(listeners, l)
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port = tcp.Port
		}
		opened = append(opened, func() {
			if h.State == BlackHole {
				return
			}
			h.accept(l, h.Serve)
		})
		if h.State == BlackHole {
			if err := w.fillQueue(ctx, l); err != nil {
				return 0, err
			}
		}
	}
	for i, open := range opened {
		open()
		w.hold(listeners[i])
	}
	return port, nil
}

// listenDNS opens the DNS server at a port that is free for UDP and TCP.
func (w *World) listenDNS(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	var last error
	for range portTries {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		p, err := lc.ListenPacket(ctx, "udp", l.Addr().String())
		if err != nil {
			last = errors.Join(err, l.Close())
			continue
		}
		w.accept(l, func(conn net.Conn) {
			w.serve(conn, func(ctx context.Context) { w.serveStream(ctx, conn, "tcp") })
		})
		w.run(p, func(ctx context.Context) { w.servePackets(ctx, p) })
		return l.Addr().String(), nil
	}
	return "", last
}

// servePackets answers UDP queries, each in a goroutine, so that a slow answer delays no other.
func (w *World) servePackets(ctx context.Context, p net.PacketConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		query := new(dns.Msg)
		if query.Unpack(buf[:n]) != nil {
			continue
		}
		w.run(nil, func(context.Context) {
			response := w.answer(ctx, "udp", query)
			if response == nil {
				return
			}
			size := dns.MinMsgSize
			if opt := query.IsEdns0(); opt != nil {
				size = int(opt.UDPSize())
			}
			if !response.Truncated {
				response.Truncate(size)
			}
			if octets, err := response.Pack(); err == nil {
				_, _ = p.WriteTo(octets, from)
			}
		})
	}
}

func cutUnix(address string) (path string, ok bool) { return strings.CutPrefix(address, "unix:") }
