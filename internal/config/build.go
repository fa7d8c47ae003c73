package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/proxy"
	"github.com/rcptgate/rcptgate/proxy/relay"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/health"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/provider"
)

// ProxyConfig is the configuration of the SMTP front, without its certificate and its hooks.
func (c *Config) ProxyConfig() proxy.Config {
	p := c.Proxy
	return proxy.Config{
		Hostname:             c.Hostname(),
		ClientNetworks:       prefixes(p.ClientNetworks),
		XForwardNetworks:     prefixes(p.XForwardNetworks),
		ClientTimeout:        time.Duration(p.ClientTimeout),
		MinDataRate:          int64(p.MinDataRate),
		MaxMessageSize:       int64(p.MaxMessageSize),
		MaxRecipients:        p.MaxRecipients,
		BareNewline:          p.BareNewline,
		MaxConnections:       p.MaxConnections,
		MaxClientConnections: p.MaxClientConnections,
		SoftErrorLimit:       p.SoftErrorLimit,
		HardErrorLimit:       p.HardErrorLimit,
		ErrorDelay:           time.Duration(p.ErrorDelay),
		TransactionBudget:    time.Duration(c.Verify.TransactionBudget),
		RedactLog:            c.Log.Redact,
		Shadow:               c.Policy.Mode == policy.ModeShadow,

		Auth:                  p.Auth,
		AuthWithoutTLS:        p.AuthWithoutTLS,
		ProxyProtocolNetworks: prefixes(p.ProxyProtocolNetworks),
	}
}

// RelayConfig is the configuration of the connections to the relay.
func (c *Config) RelayConfig() relay.Config {
	mode, _ := relay.ParseTLSMode(c.Relay.TLS) // an enum, so it is one
	cfg := relay.Config{
		Hostname:        c.Hostname(),
		Timeout:         time.Duration(c.Relay.Timeout),
		DataDoneTimeout: time.Duration(c.Relay.DataDoneTimeout),
		MaxIdle:         c.Relay.MaxIdle,
		IdleTimeout:     time.Duration(c.Relay.IdleTimeout),
		TLS:             mode,
		Wrapper:         c.Relay.TLSWrapperMode,
		RootCAs:         c.also.relayCAs,
		ServerName:      c.Relay.TLSServerName,
	}
	for _, u := range c.upstreams() {
		cfg.Upstreams = append(cfg.Upstreams, relay.Upstream{
			Address: string(u.Address), Priority: u.Priority, Weight: u.Weight,
		})
	}
	if passwords := c.also.passwords; passwords != nil {
		cfg.Credentials = func(upstream string) (user, password string, ok bool) {
			return passwords.lookup(Endpoint(upstream))
		}
	}
	return cfg
}

// VerifyConfig is the configuration of the verifier. The senders are addresses, for check has seen
// to it.
func (c *Config) VerifyConfig(log *slog.Logger) (verify.Config, error) {
	v := c.Verify
	fallback, err := esmtp.ParseAddress(c.FallbackSender(), false)
	if err != nil {
		return verify.Config{}, c.fault("verify.fallback_sender", err,
			"write an address such as \"double-bounce@gate.example.com\"")
	}
	var sender esmtp.Address
	if v.ProbeSender != "envelope" {
		if sender, err = esmtp.ParseAddress(v.ProbeSender, false); err != nil {
			return verify.Config{}, c.fault("verify.probe_sender", err,
				`write "envelope" or an address`)
		}
	}
	return verify.Config{
		RcptBudget:      time.Duration(v.RcptBudget),
		ProbeTimeout:    time.Duration(v.ProbeTimeout),
		Passive:         v.Mode == "passive",
		ProbeSender:     sender,
		FallbackSender:  fallback,
		Helo:            c.Helo(),
		OwnNames:        c.ownNames(),
		Sources:         v.BindAddresses,
		PositiveExpire:  time.Duration(v.Cache.PositiveExpireTime),
		PositiveRefresh: time.Duration(v.Cache.PositiveRefreshTime),
		NegativeExpire:  time.Duration(v.Cache.NegativeExpireTime),
		NegativeRefresh: time.Duration(v.Cache.NegativeRefreshTime),
		TemporaryExpire: time.Duration(v.Cache.TemporaryExpireTime),
		CacheOctets:     int64(v.Cache.Memory),
		MaxFlights:      v.MaxQuestions,
		Log:             log,
	}, nil
}

// Providers are the built-in profiles of mail providers under those of verify.provider_files.
func (c *Config) Providers() (*provider.Table, error) {
	return provider.Load(c.also.profiles...)
}

// FeedbackConfig is the configuration of what reads the relay's log; ok is false if none is to be
// read.
func (c *Config) FeedbackConfig(log *slog.Logger) (cfg feedback.Config, ok bool) {
	f := c.Verify.Feedback
	return feedback.Config{
		Path: f.RelayLog, Labels: f.Labels, Relays: f.Smarthosts, History: f.History,
		Networks: prefixes(c.Verify.AllowNetworks), Log: log,
	}, f.RelayLog != ""
}

// HealthConfig is the configuration of what looks after the addresses that probes leave from; ok is
// false if nothing does: it is turned off, or there are no probes.
func (c *Config) HealthConfig(log *slog.Logger) (cfg health.Config, ok bool) {
	h := c.Verify.Health
	return health.Config{
		Helo: c.Helo(), Public: h.Addresses, Zones: h.DNSBLZones, Every: time.Duration(h.Interval), Log: log,
	}, h.Interval > 0 && c.Verify.Mode != "passive"
}

// DNSConfig is the configuration of the resolver.
func (c *Config) DNSConfig(log *slog.Logger) dns.Config {
	return dns.Config{
		Servers:   stringsOf(c.Verify.DNS.Servers),
		Timeout:   time.Duration(c.Verify.DNS.Timeout),
		Tries:     c.Verify.DNS.Tries,
		CacheSize: c.Verify.DNS.CacheSize,
		Log:       log,
	}
}

// FilterConfig says where probes may connect; relayAddrs are the relay's (mx.RelayAddrs).
func (c *Config) FilterConfig(relayAddrs []netip.AddrPort) mx.FilterConfig {
	return mx.FilterConfig{Allow: prefixes(c.Verify.AllowNetworks), Relay: relayAddrs}
}

// MXResolver is the resolver of mail hosts on top of its parts.
func (c *Config) MXResolver(
	resolver *dns.Resolver, internal *mx.Domains, filter *mx.Filter,
) *mx.Resolver {
	return &mx.Resolver{
		DNS: resolver, Internal: internal, Filter: filter,
		OwnNames: c.ownNames(), RelayHosts: c.relayHosts(),
	}
}

// ProbeConfig is the configuration of the probe pool.
func (c *Config) ProbeConfig(
	dial esmtp.DialFunc, resolver *mx.Resolver, log *slog.Logger,
) probe.Config {
	v := c.Verify
	return probe.Config{
		Dial:           dial,
		Resolver:       resolver,
		Port:           v.ProbePort,
		OwnNames:       c.ownNames(),
		ConnectTimeout: time.Duration(v.ConnectTimeout),
		CommandTimeout: time.Duration(v.CommandTimeout),
		Total:          time.Duration(v.ProbeTimeout),
		PerHost:        v.MaxProbesPerHost,
		Max:            v.MaxProbes,
		RcptPerSession: v.RecipientsPerProbe,
		Idle:           time.Duration(v.ProbeIdleTimeout),
		Log:            log,
	}
}

// ownNames are the names that this gate goes by.
func (c *Config) ownNames() []string {
	names := []string{c.Hostname()}
	if helo := c.Helo(); helo != names[0] {
		names = append(names, helo)
	}
	return names
}

// relayHosts are the names of relays that are not addresses.
func (c *Config) relayHosts() []string {
	var hosts []string
	for _, upstream := range c.upstreams() {
		host, _ := upstream.Address.hostPort()
		if _, err := netip.ParseAddr(host); err != nil && host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *Config) fault(key string, err error, fix string) error {
	at := c.where(key)
	return Errors{{
		File: c.name, Line: at.line, Column: at.column, Key: key, Problem: printable(err.Error()),
		Fix: fix,
	}}
}

func prefixes(networks []Network) []netip.Prefix {
	list := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		list[i] = network.Prefix
	}
	return list
}

// stringsOf is for packages that take plain strings.
func stringsOf[T ~string](list []T) []string {
	plain := make([]string, len(list))
	for i, s := range list {
		plain[i] = string(s)
	}
	return plain
}
