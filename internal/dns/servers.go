package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// statEvery is the shortest time between two looks at resolv.conf.
const statEvery = 5 * time.Second

// serverList gives the servers to ask: a fixed list, or those of a resolv.conf that is read again
// when it changes (NetworkManager, DHCP and containers rewrite it under running programs).
type serverList struct {
	path string // "" for a fixed list

	mu      sync.Mutex
	servers []string
	looked  time.Time
	changed time.Time
	size    int64
}

func newServerList(fixed []string, path string) (*serverList, error) {
	if len(fixed) == 0 {
		if path == "" {
			path = "/etc/resolv.conf"
		}
		return &serverList{path: path}, nil
	}
	l := &serverList{}
	for _, s := range fixed {
		addr, err := serverAddr(s, "53")
		if err != nil {
			return nil, err
		}
		l.servers = append(l.servers, addr)
	}
	l.servers = l.servers[:min(len(l.servers), maxServers)]
	return l, nil
}

// serverAddr checks "ip:port" or "ip" and returns the former.
func serverAddr(s, port string) (string, error) {
	host := s
	if _, err := netip.ParseAddr(s); err != nil {
		h, p, err := net.SplitHostPort(s)
		if err != nil {
			return "", fmt.Errorf("dns: server %q: write it as IP:port, for example 127.0.0.1:53", s)
		}
		host, port = h, p
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("dns: server %q: the host must be an IP address, not a name", s)
	}
	addr := net.JoinHostPort(host, port)
	if ap, err := netip.ParseAddrPort(addr); err != nil || ap.Port() == 0 {
		return "", fmt.Errorf("dns: server %q: the port must be a number from 1 to 65535", s)
	}
	return addr, nil
}

// list returns the servers to ask now. If resolv.conf cannot be read, those known before stay; if
// it names none, the local host is asked, as resolv.conf(5) says.
func (l *serverList) list() ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.path == "" || (l.servers != nil && now.Sub(l.looked) < statEvery) {
		return l.servers, nil
	}
	info, err := os.Stat(l.path)
	if err != nil {
		return l.known(err)
	}
	l.looked = now
	if l.servers != nil && info.ModTime().Equal(l.changed) && info.Size() == l.size {
		return l.servers, nil
	}
	conf, err := mdns.ClientConfigFromFile(l.path)
	if err != nil {
		return l.known(err)
	}
	l.servers = usable(conf.Servers)
	l.changed, l.size = info.ModTime(), info.Size()
	return l.servers, nil
}

func (l *serverList) known(err error) ([]string, error) {
	if l.servers != nil {
		return l.servers, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return []string{"127.0.0.1:53"}, nil
	}
	return nil, fmt.Errorf("%w; name the servers in verify.dns.servers", err)
}

func usable(nameservers []string) []string {
	var servers []string
	for _, s := range nameservers {
		if addr, err := serverAddr(s, "53"); err == nil && len(servers) < maxServers {
			servers = append(servers, addr)
		}
	}
	if len(servers) == 0 {
		return []string{"127.0.0.1:53"}
	}
	return servers
}
