package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager that started the gate: systemd, or whoever sets NOTIFY_SOCKET
// (sd_notify(3)). Without one, nothing happens.
type manager struct{ log *slog.Logger }

func (m manager) tell(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		m.log.Warn("cannot tell the service manager how the gate is", "error", err.Error(),
			"socket", os.Getenv("NOTIFY_SOCKET"))
	}
}

// status is one line for `systemctl status`.
func status(format string, args ...any) string {
	return "STATUS=" + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
}

func (m manager) ready(status string) { m.tell(daemon.SdNotifyReady, status) }

// reloading must be followed by ready, also when the reload fails. The time tells systemd which of
// its reload requests this answers.
func (m manager) reloading() {
	lines := []string{daemon.SdNotifyReloading}
	if now, ok := monotonic(); ok {
		lines = append(lines, fmt.Sprintf("MONOTONIC_USEC=%d", now.Microseconds()))
	}
	m.tell(append(lines, status("reading the configuration"))...)
}

func (m manager) stopping(limit time.Duration) {
	m.tell(daemon.SdNotifyStopping, status("ending open transactions, %v at most", limit))
}

// watch tells the manager's watchdog that the gate is well, as long as check says so, twice in each
// interval that it has set. It returns when ctx ends, at once if there is no watchdog.
func (m manager) watch(ctx context.Context, check func(ctx context.Context) error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("no watchdog", "error", err.Error())
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, interval/4)
		err := check(within)
		cancel()
		switch {
		case err == nil:
			m.tell(daemon.SdNotifyWatchdog)
		case ctx.Err() == nil:
			m.log.Error("the gate does not answer itself; the service manager will restart it",
				"error", err.Error(), "watchdog_s", interval.Seconds())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// selfCheck is one look at the gate from outside: a client connects and is answered. Any reply
// will do, also a refusal.
type selfCheck struct {
	address     net.Addr
	implicitTLS bool
	allowed     func(netip.Addr) bool // may connect
	header      func(netip.Addr) bool // has to send a PROXY protocol header
}

func (s selfCheck) run(ctx context.Context) error {
	network, address := s.address.Network(), s.address.String()
	if tcp, ok := s.address.(*net.TCPAddr); ok {
		address = netip.AddrPortFrom(s.target(tcp.AddrPort().Addr()), tcp.AddrPort().Port()).String()
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	return s.talk(ctx, conn)
}

func (s selfCheck) talk(ctx context.Context, conn net.Conn) error {
	if tcp, ok := conn.LocalAddr().(*net.TCPAddr); ok && s.header(tcp.AddrPort().Addr().Unmap()) {
		// "UNKNOWN" is what health checks say (the PROXY protocol, section 2.1).
		if _, err := conn.Write([]byte("PROXY UNKNOWN\r\n")); err != nil {
			return err
		}
	}
	if s.implicitTLS {
		// This is the gate itself, whatever name its certificate has.
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secure
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for the banner: %w", err)
	}
	if len(line) < 4 || strings.Trim(line[:3], "0123456789") != "" {
		return fmt.Errorf("the banner is no reply: %q", line)
	}
	_, _ = conn.Write([]byte("QUIT\r\n")) // it has answered; whether it is refused does not matter
	return nil
}

// target is the address to connect to: for a listener at all addresses one that may connect to
// itself, so that the check does not fill the log with refusals.
func (s selfCheck) target(listening netip.Addr) netip.Addr {
	if !listening.IsUnspecified() {
		return listening
	}
	candidates := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if listening.Is6() {
		candidates = append(candidates, netip.IPv6Loopback())
	}
	loopback := candidates[0]
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, addr := range addrs {
			if ipnet, ok := addr.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(ipnet.IP); ok && !ip.IsLinkLocalUnicast() {
					candidates = append(candidates, ip.Unmap())
				}
			}
		}
	}
	if i := slices.IndexFunc(candidates, s.allowed); i >= 0 {
		return candidates[i]
	}
	return loopback
}
