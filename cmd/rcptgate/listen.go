package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/rcptgate/rcptgate/internal/config"
)

// What a listener is for. The values are the names of sockets in a unit of systemd
// (FileDescriptorName=).
const (
	kindSMTP    = "smtp"    // proxy.listen
	kindSMTPS   = "smtps"   // proxy.tls_listen
	kindPolicyd = "policyd" // policyd.listen
	kindHTTP    = "http"    // http.listen
)

// place is where to listen, and what for.
type place struct {
	kind     string
	endpoint config.Endpoint
	again    int // tells listeners at any free port apart, which look alike
}

// places lists what a configuration listens on.
func places(cfg *config.Config) []place {
	var list []place
	seen := map[place]int{}
	add := func(kind string, endpoints ...config.Endpoint) {
		for _, endpoint := range endpoints {
			p := place{kind: kind, endpoint: endpoint}
			seen[p]++
			p.again = seen[p]
			list = append(list, p)
		}
	}
	add(kindSMTP, cfg.Proxy.Listen...)
	add(kindSMTPS, cfg.Proxy.TLSListen...)
	add(kindPolicyd, cfg.Policyd.Listen...)
	if cfg.HTTP.Listen != "" {
		add(kindHTTP, cfg.HTTP.Listen)
	}
	return list
}

// sockets are the open listeners by place.
type sockets map[place]*socket

// openSockets opens what is not open yet, or nothing: opened is empty when there is an error.
func openSockets(ctx context.Context, have sockets, want []place) (opened []*socket, err error) {
	for _, p := range want {
		if have[p] != nil {
			continue
		}
		l, err := listen(ctx, p.endpoint)
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, newSocket(l, p, false))
	}
	return opened, nil
}

func closeAll(list []*socket) {
	for _, s := range list {
		_ = s.Close()
	}
}

// inherited is a socket of the service manager.
type inherited struct {
	net.Listener
	name string
}

// inheritSockets takes the listening sockets that the service manager holds for the gate (sd_listen_fds(3)).
func inheritSockets(log *slog.Logger) []inherited {
	var list []inherited
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		if err != nil {
			log.Warn("a socket of the service manager cannot be used", "name", file.Name(),
				"error", err.Error(), "fix", "use ListenStream= in its unit")
		} else {
			list = append(list, inherited{l, file.Name()})
		}
		_ = file.Close() // l has a copy
	}
	return list
}

// assign gives the sockets of the service manager to places: first by address, then by name (smtp,
// smtps, http), then in the order of proxy.listen. The gate opens the places that are left over
// itself, and closes sockets that are.
func assign(have []inherited, want []place, log *slog.Logger) sockets {
	taken := sockets{}
	give := func(fits func(i inherited, p place) bool) {
		var left []inherited
		for _, i := range have {
			found := false
			for _, p := range want {
				if taken[p] == nil && fits(i, p) {
					taken[p], found = newSocket(i.Listener, p, true), true
					break
				}
			}
			if !found {
				left = append(left, i)
			}
		}
		have = left
	}
	give(func(i inherited, p place) bool { return listensAt(i.Addr(), p.endpoint) })
	give(func(i inherited, p place) bool { return i.name == p.kind })
	give(func(i inherited, p place) bool {
		return p.kind == kindSMTP && i.name != kindSMTPS && i.name != kindPolicyd && i.name != kindHTTP
	})
	for p, s := range taken {
		if !listensAt(s.Addr(), p.endpoint) {
			log.Warn("the service manager's socket is not where the configuration says",
				"kind", p.kind, "configured", string(p.endpoint), "socket", s.Addr().String(),
				"fix", "write the same address into the socket unit and the configuration")
		}
	}
	for _, i := range have {
		log.Warn("no listener is configured for a socket of the service manager; it is closed",
			"name", i.name, "address", i.Addr().String(),
			"fix", "add it to proxy.listen, or take it out of the socket unit")
		_ = i.Close()
	}
	return taken
}

// listensAt tells whether a socket's address is that of an endpoint. Names are not looked up.
func listensAt(addr net.Addr, endpoint config.Endpoint) bool {
	network, address := endpoint.Network()
	if network != addr.Network() {
		return false
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return addr.String() == address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(tcp.Port) {
		return false
	}
	ip := net.ParseIP(host)
	return host == "" && tcp.IP.IsUnspecified() || ip != nil && ip.Equal(tcp.IP)
}

func listen(ctx context.Context, endpoint config.Endpoint) (net.Listener, error) {
	network, address := endpoint.Network()
	if network == "unix" {
		if err := removeStale(ctx, address); err != nil {
			return nil, listenFailure(endpoint, err)
		}
	}
	var lc net.ListenConfig
	keepAlive(&lc)
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, listenFailure(endpoint, err)
	}
	if network == "unix" {
		// The gate and the mail server run as different users. Who may connect is decided by the
		// permissions of the directory.
		if err := os.Chmod(address, 0o666); err != nil { //nolint:gosec // see above
			_ = l.Close()
			return nil, listenFailure(endpoint, err)
		}
	}
	return l, nil
}

// removeStale removes a socket that a process left behind when it was killed, which is one that
// nobody listens on. Everything else at the path stays, and listening fails.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil //nolint:nilerr // Listen says better what is wrong
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

// listenFailure says what to do about a listener that does not open.
func listenFailure(endpoint config.Endpoint, err error) error {
	text := fmt.Sprintf("cannot listen on %s: %v", endpoint, rootCause(err))
	_, isUnix := endpoint.Unix()
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && isUnix:
		return failed(text, "another process serves this socket, or another file is in its place")
	case errors.Is(err, syscall.EADDRINUSE):
		return failed(text, fmt.Sprintf("another process has the port; see which with "+
			"`ss -ltnp`, or change the configuration (%s)", endpoint))
	case errors.Is(err, os.ErrPermission) && isUnix:
		return failed(text, "the directory must be writable for the user that runs rcptgate")
	case errors.Is(err, os.ErrPermission):
		return failed(text, "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return failed(text, "this machine does not have that address; see `ip address`")
	case errors.Is(err, os.ErrNotExist):
		return failed(text, "create the directory of the socket")
	default:
		return failed(text, "check the address of the listener in the configuration")
	}
}

// rootCause is an error without what the net package puts in front of it.
func rootCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}
