package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// fault is an error about a value, with the text that would be right.
type fault struct{ problem, fix string }

func (f *fault) Error() string { return f.problem + "; " + f.fix }

func faultf(fix, format string, args ...any) error {
	return &fault{problem: fmt.Sprintf(format, args...), fix: fix}
}

// Duration is a time span, written like "8s", "1m30s", "500ms" or "7d". It is never negative.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration takes, and before that whole weeks and days ("2w",
// "1d12h").
func (d *Duration) UnmarshalText(text []byte) error {
	const fix = `write a duration such as "8s", "1m30s" or "7d"`
	total, rest, err := leadingDays(string(text))
	if err != nil || len(text) == 0 {
		return faultf(fix, "%s is not a duration", quote(string(text)))
	}
	if rest != "" {
		span, err := time.ParseDuration(rest)
		if err != nil {
			return faultf(fix, "%s is not a duration%s", quote(string(text)), unitHint(rest))
		}
		if span > math.MaxInt64-total {
			return faultf(fix, "%s is too long", quote(string(text)))
		}
		total += span
	}
	if total < 0 || strings.ContainsAny(rest, "+-") {
		return faultf(fix, "%s is not a duration: it has a sign", quote(string(text)))
	}
	*d = Duration(total)
	return nil
}

// leadingDays takes weeks and days off the front of s.
func leadingDays(s string) (time.Duration, string, error) {
	var total time.Duration
	for _, unit := range []struct {
		letter byte
		span   time.Duration
	}{{'w', 7 * day}, {'d', day}} {
		i := 0
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		if i == 0 || i == len(s) || s[i] != unit.letter {
			continue
		}
		n, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil || n > 100_000 {
			return 0, s, errors.New("too long")
		}
		total += time.Duration(n) * unit.span
		s = s[i+1:]
	}
	return total, s, nil
}

func unitHint(s string) string {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return ": it has no unit"
	}
	return ""
}

// String writes the span in the largest unit that divides it, as people do: "100s", not "1m40s".
func (d Duration) String() string {
	for _, unit := range []struct {
		span   time.Duration
		suffix string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d != 0 && time.Duration(d)%unit.span == 0 {
			return strconv.FormatInt(int64(time.Duration(d)/unit.span), 10) + unit.suffix
		}
	}
	return time.Duration(d).String()
}

// Size is a number of octets, written like "50MiB", "10MB", "512B" or as a plain number. It is
// never negative.
type Size int64

// sizeUnits is in the order in which suffixes are tried: the longer ones first.
var sizeUnits = [...]struct {
	suffix string
	octets int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"KB", 1e3},
	{"B", 1},
	{"", 1},
}

// UnmarshalText reads a whole number with an optional unit: B, kB, MB, GB, TB (powers of 1000),
// KiB, MiB, GiB, TiB (powers of 1024).
func (s *Size) UnmarshalText(text []byte) error {
	const fix = `write a size such as "50MiB" (units: B, kB, MB, GB, KiB, MiB, GiB) ` +
		`or a number of octets`
	number := strings.ReplaceAll(string(text), "_", "")
	unit := int64(1)
	for _, u := range sizeUnits {
		if head, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(head), u.octets
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return faultf(fix, "%s is too large", quote(string(text)))
	case err != nil:
		return faultf(fix, "%s is not a size", quote(string(text)))
	case int64(n) > math.MaxInt64/unit:
		return faultf(fix, "%s is too large", quote(string(text)))
	}
	*s = Size(int64(n) * unit)
	return nil
}

// String writes the size with the largest binary unit that divides it.
func (s Size) String() string {
	if s != 0 {
		for _, u := range sizeUnits[:4] {
			if int64(s)%u.octets == 0 {
				return strconv.FormatInt(int64(s)/u.octets, 10) + u.suffix
			}
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Network is an IP network in CIDR form; a single address counts as a network of one.
type Network struct{ netip.Prefix }

// UnmarshalText reads "192.0.2.0/24", "2001:db8::/32" or one address. Bits beyond the prefix length
// must be zero: "10.1.2.3/8" is more often a slip than meant.
func (n *Network) UnmarshalText(text []byte) error {
	const fix = `write a network such as "192.0.2.0/24" or "2001:db8::/32", or one address`
	s := string(text)
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		n.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return faultf(fix, "%s is not a network", quote(s))
	}
	if prefix.Addr().Is4In6() {
		return faultf("write the IPv4 network itself", "%s is an IPv4-mapped network", quote(s))
	}
	if prefix.Masked() != prefix {
		return faultf(
			fmt.Sprintf("write %s for the network or %s for the one address",
				quote(prefix.Masked().String()), quote(prefix.Addr().String())),
			"%s has bits set beyond its prefix length", quote(s),
		)
	}
	n.Prefix = prefix
	return nil
}

// Endpoint is where to listen or connect: "host:port", or "unix:/path" for a Unix-domain socket.
// "" is none.
type Endpoint string

// UnmarshalText checks the form; names are not looked up.
func (e *Endpoint) UnmarshalText(text []byte) error {
	s := string(text)
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
			return faultf(`write "unix:" and an absolute path, such as "unix:/run/rcptgate/smtp"`,
				"%s is not the path of a socket", quote(s))
		}
		// sun_path of sockaddr_un(7) holds 108 octets with the final NUL.
		if len(path) > 107 {
			return faultf("use a path of at most 107 octets", "%s is too long for a socket", quote(s))
		}
		*e = Endpoint(s)
		return nil
	}
	if s != "" {
		if err := checkHostPort(s); err != nil {
			return err
		}
	}
	*e = Endpoint(s)
	return nil
}

// Unix returns the path of a Unix-domain socket.
func (e Endpoint) Unix() (path string, ok bool) { return strings.CutPrefix(string(e), "unix:") }

// Network returns the two arguments of net.Listen and net.Dial.
func (e Endpoint) Network() (network, address string) {
	if path, ok := e.Unix(); ok {
		return "unix", path
	}
	return "tcp", string(e)
}

// hostPort splits a "host:port" that UnmarshalText has checked. The port of a socket is 0.
func (e Endpoint) hostPort() (host string, port int) {
	host, number, err := net.SplitHostPort(string(e))
	if err != nil {
		return "", 0
	}
	port, err = strconv.Atoi(number)
	if err != nil {
		return "", 0
	}
	return host, port
}

func checkHostPort(s string) error {
	const fix = `write "host:port", such as "127.0.0.1:10025" or "[::1]:10025", or "unix:/path"`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if _, bad := netip.ParseAddr(s); bad == nil {
			return faultf(fix, "%s has no port", quote(s))
		}
		if hostnameProblem(s) == "" {
			return faultf(fix, "%s has no port", quote(s))
		}
		return faultf(fix, "%s is not an address with a port", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return faultf(fix, "%s has no port number from 0 to 65535", quote(s))
	}
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if problem := hostnameProblem(host); problem != "" {
		return faultf(fix, "%s: the host %s", quote(s), problem)
	}
	return nil
}

// Server is the "host:port" of a DNS server; an address alone means port 53.
type Server string

// UnmarshalText checks the form and adds the port.
func (s *Server) UnmarshalText(text []byte) error {
	const fix = `write "address:port", such as "192.0.2.53:53" or "[2001:db8::53]:53"`
	name := string(text)
	if addr, err := netip.ParseAddr(name); err == nil {
		*s = Server(netip.AddrPortFrom(addr, 53).String())
		return nil
	}
	if err := checkHostPort(name); err != nil {
		return faultf(fix, "%s is not a DNS server", quote(name))
	}
	host, port := Endpoint(name).hostPort()
	if _, err := netip.ParseAddr(host); err != nil || port == 0 {
		return faultf(fix, "%s is not the address and port of a DNS server", quote(name))
	}
	*s = Server(name)
	return nil
}

// hostnameProblem says why name is not a host name (RFC 1123 section 2.1), "" if it is one.
func hostnameProblem(name string) string {
	name = strings.TrimSuffix(name, ".")
	switch {
	case name == "":
		return "is empty"
	case len(name) > 253:
		return "is longer than 253 octets"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "has an empty label"
		case len(label) > 63:
			return "has a label longer than 63 octets"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "has a label that begins or ends with a hyphen"
		}
		for i := range len(label) {
			if !isLDH(label[i]) {
				return fmt.Sprintf("has the octet %q (letters, digits, hyphens and dots only)",
					label[i])
			}
		}
	}
	// RFC 1123 section 2.1: the highest-level label is alphabetic, so 192.0.2.1 is not a name.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "ends with a number"
	}
	return ""
}

func isLDH(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_'
}

// quote makes text from the file fit for one line of a terminal.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strconv.QuoteToASCII(s)
}
