package proxy

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	headerTime = 10 * time.Second // for a PROXY protocol header
	maxHeaders = 1000             // connections whose header has not come yet
)

// headerListener takes the PROXY protocol header (v1 or v2) off connections from some
// networks. A header is waited for beside Accept, so that a peer that sends none holds up
// nobody; without a valid one the connection is closed. Other peers pass as they are:
// their octets are never taken for a header. Until the first of those networks comes, nothing
// stands between the caller of Accept and the socket.
type headerListener struct {
	net.Listener
	networks func() []netip.Prefix
	event    func(kind string, remote net.Addr, err error)

	beside bool // accept runs; only for Accept, which is for one caller at a time
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
	slots  chan struct{}
}

var errNoHeader = errors.New("no valid PROXY protocol header, although the peer is in " +
	"proxy.proxy_protocol_networks")

func newHeaderListener(
	l net.Listener, networks func() []netip.Prefix, event func(string, net.Addr, error),
) *headerListener {
	return &headerListener{
		Listener: l, networks: networks, event: event,
		conns: make(chan net.Conn), errs: make(chan error),
		closed: make(chan struct{}), slots: make(chan struct{}, maxHeaders),
	}
}

// accept runs until the listener is closed.
func (h *headerListener) accept() {
	for {
		nc, err := h.Listener.Accept()
		if err != nil {
			select {
			case h.errs <- err:
			case <-h.closed:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if h.expects(nc.RemoteAddr()) {
			h.await(nc)
		} else {
			h.deliver(nc)
		}
	}
}

// await has a header waited for.
func (h *headerListener) await(nc net.Conn) {
	select {
	case h.slots <- struct{}{}:
		go h.header(nc)
	default:
		h.event("too_many", nc.RemoteAddr(), errors.New("too many connections without a PROXY header"))
		_ = nc.Close()
	}
}

// header reads the header and delivers the connection with the address that it tells.
func (h *headerListener) header(nc net.Conn) {
	defer func() { <-h.slots }()
	c := proxyproto.NewConn(nc,
		proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(headerTime))
	if c.ProxyHeader() == nil { // reads it
		h.event("proxy_header", nc.RemoteAddr(), errNoHeader)
		_ = nc.Close()
		return
	}
	h.deliver(c)
}

// deliver hands a connection to Accept. When that has ended meanwhile, the client is told so
// instead of a banner.
func (h *headerListener) deliver(nc net.Conn) {
	select {
	case h.conns <- nc:
	case <-h.closed:
		if nc.SetDeadline(time.Now().Add(time.Second)) == nil {
			_, _ = nc.Write(stopping421.Append(nil, false))
		}
		_ = nc.Close()
	}
}

func (h *headerListener) expects(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range h.networks() {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Accept returns the next connection whose header, if it needs one, has come.
func (h *headerListener) Accept() (net.Conn, error) {
	if !h.beside {
		nc, err := h.Listener.Accept()
		if err != nil || !h.expects(nc.RemoteAddr()) {
			return nc, err
		}
		h.beside = true
		h.await(nc)
		go h.accept()
	}
	select {
	case nc := <-h.conns:
		return nc, nil
	case err := <-h.errs:
		return nil, err
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and what waits for a header.
func (h *headerListener) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Listener.Close()
}
