// Package config reads rcptgate's configuration: one TOML file for all packages.
//
// Load (a file) and Parse (octets in memory) return a *Config that is complete: every key that the
// file leaves out has its default, every value has been checked. Methods such as ProxyConfig and
// VerifyConfig hand out the Config structs of the other packages, so that no package reads TOML.
//
// The keys, their defaults and what they mean are written in config.example.toml, which a test
// compares with the structs of this package in both directions.
//
// # Errors
//
// The error is always Errors: all faults that could be found in one reading, each with file, line,
// column, the key, what is wrong and what to write instead:
//
//	gate.toml:3:1: proxy.lissen: unknown key; did you mean "listen"?
//
// A TOML syntax error ends the reading, so only the faults above it are listed beside it.
// Things that work but are probably not meant are not errors: see Config.Warnings.
//
// # Limits
//
// Load refuses files above 8 MiB. Parse touches neither the network nor other files, but for the lists
// of policy.lists, without which rules cannot be checked; Load looks up
// the names of relays to find a relay that is this gate itself, and reads the files that the
// configuration names: the lists of internal_domains, the certificate and its key, the
// certificates that the relay's is checked against, and the relay's passwords. A Config of Parse
// has no passwords and no certificates.
package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/message"
	"github.com/rcptgate/rcptgate/policy/register"
)

// Config is one configuration file, with defaults filled in. Each field is a table of the file.
type Config struct {
	Proxy   Proxy   `toml:"proxy"`
	Relay   Relay   `toml:"relay"`
	Verify  Verify  `toml:"verify"`
	Policy  Policy  `toml:"policy"`
	Policyd Policyd `toml:"policyd"`
	HTTP    HTTP    `toml:"http"`
	Log     Log     `toml:"log"`

	name string
	pos  positions
	text positions
	also files
}

// Proxy is [proxy]: the SMTP server that clients talk to.
type Proxy struct {
	Listen       []Endpoint `toml:"listen"`
	TLSListen    []Endpoint `toml:"tls_listen"`
	Hostname     string     `toml:"hostname"`
	TLSCertFile  string     `toml:"tls_cert_file"`
	TLSKeyFile   string     `toml:"tls_key_file"`
	DrainTimeout Duration   `toml:"drain_timeout" min:"1ms"`

	ClientNetworks        []Network `toml:"client_networks"`
	XForwardNetworks      []Network `toml:"xforward_networks"`
	ProxyProtocolNetworks []Network `toml:"proxy_protocol_networks"`

	Auth           bool `toml:"auth"`
	AuthWithoutTLS bool `toml:"auth_without_tls"`

	ClientTimeout        Duration `toml:"client_timeout" min:"1ms"`
	ReplyLimit           Duration `toml:"reply_limit" min:"1ms"`
	MaxMessageSize       Size     `toml:"max_message_size" min:"1"`
	MaxRecipients        int      `toml:"max_recipients" min:"1"`
	MaxConnections       int      `toml:"max_connections" min:"1"`
	MaxClientConnections int      `toml:"max_client_connections" min:"0"`
	MinDataRate          Size     `toml:"min_data_rate" min:"0"`
	BareNewline          string   `toml:"bare_newline" enum:"reject,normalize"`
	SoftErrorLimit       int      `toml:"soft_error_limit" min:"1"`
	HardErrorLimit       int      `toml:"hard_error_limit" min:"1"`
	ErrorDelay           Duration `toml:"error_delay" min:"0s"`
}

// Relay is [relay]: the server that accepted mail goes to.
type Relay struct {
	Upstreams       []Endpoint `toml:"upstreams"`
	Upstream        []Upstream `toml:"upstream"`
	Timeout         Duration   `toml:"timeout" min:"1ms"`
	DataDoneTimeout Duration   `toml:"data_done_timeout" min:"1ms"`
	MaxIdle         int        `toml:"max_idle" min:"1"`
	IdleTimeout     Duration   `toml:"idle_timeout" min:"1ms"`
	TLS             string     `toml:"tls" enum:"none,may,encrypt,verify"`
	TLSWrapperMode  bool       `toml:"tls_wrappermode"`
	TLSCAFile       string     `toml:"tls_ca_file"`
	TLSServerName   string     `toml:"tls_server_name"`
	PasswordFile    string     `toml:"password_file"`
}

// Upstream is one [[relay.upstream]], for relays that are not all alike.
type Upstream struct {
	Address  Endpoint `toml:"address"`
	Priority int      `toml:"priority" min:"0" max:"65535"`
	Weight   int      `toml:"weight" min:"1" max:"65535"`
}

// Verify is [verify]: what is asked of the recipients' own mail servers.
type Verify struct {
	RcptBudget         Duration     `toml:"rcpt_budget" min:"1ms"`
	TransactionBudget  Duration     `toml:"transaction_budget" min:"1ms"`
	Mode               string       `toml:"mode" enum:"active,passive"`
	InternalDomains    []string     `toml:"internal_domains"`
	ProbeSender        string       `toml:"probe_sender"`
	FallbackSender     string       `toml:"fallback_sender"`
	Helo               string       `toml:"helo"`
	BindAddresses      []netip.Addr `toml:"bind_addresses"`
	ProbePort          int          `toml:"probe_port" min:"1" max:"65535"`
	AllowNetworks      []Network    `toml:"allow_networks"`
	ProbeTimeout       Duration     `toml:"probe_timeout" min:"1ms"`
	ConnectTimeout     Duration     `toml:"connect_timeout" min:"1ms"`
	CommandTimeout     Duration     `toml:"command_timeout" min:"1ms"`
	MaxProbes          int          `toml:"max_probes" min:"1"`
	MaxProbesPerHost   int          `toml:"max_probes_per_host" min:"1"`
	RecipientsPerProbe int          `toml:"recipients_per_probe" min:"1"`
	ProbeIdleTimeout   Duration     `toml:"probe_idle_timeout" min:"1ms"`
	MaxQuestions       int          `toml:"max_questions" min:"1"`
	ProviderFiles      []string     `toml:"provider_files"`
	DNS                DNS          `toml:"dns"`
	Cache              Cache        `toml:"cache"`
	Feedback           Feedback     `toml:"feedback"`
	Health             Health       `toml:"health"`
}

// DNS is [verify.dns].
type DNS struct {
	Servers   []Server `toml:"servers"`
	Timeout   Duration `toml:"timeout" min:"1ms"`
	Tries     int      `toml:"tries" min:"1" max:"10"`
	CacheSize int      `toml:"cache_size" min:"100"`
}

// Cache is [verify.cache]. The names of the times are those of Postfix's address_verify_ settings.
type Cache struct {
	Path                string   `toml:"path"`
	MaxSize             Size     `toml:"max_size" min:"16777216"`
	Memory              Size     `toml:"memory" min:"1048576"`
	PositiveExpireTime  Duration `toml:"positive_expire_time" min:"1ms"`
	PositiveRefreshTime Duration `toml:"positive_refresh_time" min:"1ms"`
	NegativeExpireTime  Duration `toml:"negative_expire_time" min:"1ms"`
	NegativeRefreshTime Duration `toml:"negative_refresh_time" min:"1ms"`
	TemporaryExpireTime Duration `toml:"temporary_expire_time" min:"1ms"`
}

// Feedback is [verify.feedback].
type Feedback struct {
	RelayLog   string   `toml:"relay_log"`
	Labels     []string `toml:"labels"`
	Smarthosts []string `toml:"smarthosts"`
	History    bool     `toml:"history"`
}

// Health is [verify.health]: what the Internet thinks of the addresses that probes come from.
type Health struct {
	Interval   Duration     `toml:"interval" min:"0s"`
	DNSBLZones []string     `toml:"dnsbl_zones"`
	Addresses  []netip.Addr `toml:"addresses"`
}

// Policy is [policy].
type Policy struct {
	Mode           string            `toml:"mode" enum:"enforce,shadow"`
	Preset         string            `toml:"preset" enum:"cautious,strict,bulk"`
	StateDirectory string            `toml:"state_directory"`
	Lists          map[string]string `toml:"lists"` // the names are the administrator's
	Rules          []Rule            `toml:"rules"`
	Limits         []Limit           `toml:"limits"`
	Hygiene        Hygiene           `toml:"hygiene"`
	Suppression    Suppression       `toml:"suppression"`
	Message        Message           `toml:"message"`
	Journal        Journal           `toml:"journal"`
	Webhook        Webhook           `toml:"webhook"`
}

// Rule is one [[policy.rules]].
type Rule struct {
	Name         string `toml:"name"`
	When         string `toml:"when"`
	Action       string `toml:"action"`
	Mark         string `toml:"mark"`
	Header       string `toml:"header"`
	Code         int    `toml:"code"`
	EnhancedCode string `toml:"enhanced_code"`
	Text         string `toml:"text"`
}

// Limit is one [[policy.limits]]: how much each sender may send.
type Limit struct {
	Name       string   `toml:"name"`
	Per        string   `toml:"per" enum:"login,sender,sender_domain,client"`
	Messages   []string `toml:"messages"`
	Recipients []string `toml:"recipients"`
}

// Hygiene is [policy.hygiene]: senders whose recipients do not exist.
type Hygiene struct {
	Mode     string  `toml:"mode" enum:"off,warn,enforce"`
	Minimum  int     `toml:"minimum" min:"1"`
	Warn     float64 `toml:"warn"`
	Throttle float64 `toml:"throttle"`
	Hold     float64 `toml:"hold"`
	Distinct int     `toml:"distinct" min:"1"`
}

// Suppression is [policy.suppression]: the list of recipients that get no mail.
type Suppression struct {
	Mode       string `toml:"mode" enum:"reject,rules"`
	Learn      string `toml:"learn" enum:"off,bounces"`
	MaxEntries int    `toml:"max_entries" min:"1"`
}

// Message is [policy.message]: the checks of a message before its relay gets the end of it.
type Message struct {
	Checks   map[string]string `toml:"checks"` // the level of each check
	Position string            `toml:"position" enum:"verify,later"`
	BulkAuto int               `toml:"bulk_auto" min:"0"`
	Timeout  Duration          `toml:"timeout" min:"100ms"`
	Egress   []netip.Addr      `toml:"egress"`
}

// Journal is [policy.journal]: what was decided, and why.
type Journal struct {
	Path        string   `toml:"path"`
	MaxSize     Size     `toml:"max_size" min:"65536"`
	RotateEvery Duration `toml:"rotate_every" min:"1m"`
	Keep        int      `toml:"keep" min:"1" max:"1000"`
	MaxAge      Duration `toml:"max_age" min:"1m"`
	Redact      string   `toml:"redact" enum:"off,local,hash"`
	Memory      int      `toml:"memory" min:"100"`
	Refusals    int      `toml:"refusals" min:"100"`
	Queue       int      `toml:"queue" min:"100" max:"1000000"`
}

// Webhook is [policy.webhook]: tells a list tool of each refused recipient.
type Webhook struct {
	URL          string   `toml:"url"`
	PasswordFile string   `toml:"password_file"`
	Timeout      Duration `toml:"timeout" min:"100ms"`
	Deferred     bool     `toml:"deferred"`
	Source       string   `toml:"source"`
	Queue        int      `toml:"queue" min:"1" max:"1000000"`
}

// Policyd is [policyd]: the Postfix policy delegation server.
type Policyd struct {
	Listen         []Endpoint `toml:"listen"`
	ClientNetworks []Network  `toml:"client_networks"`
	MaxConnections int        `toml:"max_connections" min:"1"`
	Timeout        Duration   `toml:"timeout" min:"1s"`
	Malformed      string     `toml:"malformed" enum:"pass,defer"`
}

// HTTP is [http].
type HTTP struct {
	Listen        Endpoint `toml:"listen"`
	TokensFile    string   `toml:"tokens_file"`
	ControlSocket Endpoint `toml:"control_socket"`

	TLSCertificate   string `toml:"tls_certificate"`
	TLSKey           string `toml:"tls_key"`
	Plaintext        bool   `toml:"plaintext"`
	Rate             int    `toml:"rate" min:"0"`
	MaxVerifications int    `toml:"max_verifications" min:"1"`
}

// Log is [log]. The log goes to standard error.
type Log struct {
	Level  string `toml:"level" enum:"debug,info,warn,error"`
	Format string `toml:"format" enum:"text,json"`
	Redact bool   `toml:"redact"`
	Levels Levels `toml:"levels"`
}

// Levels is [log.levels]: for single packages, a level other than that of all; "" is that one.
type Levels struct {
	Proxy  string `toml:"proxy" enum:",debug,info,warn,error"`
	Relay  string `toml:"relay" enum:",debug,info,warn,error"`
	Policy string `toml:"policy" enum:",debug,info,warn,error"`
	Verify string `toml:"verify" enum:",debug,info,warn,error"`
	Probe  string `toml:"probe" enum:",debug,info,warn,error"`
	DNS    string `toml:"dns" enum:",debug,info,warn,error"`
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Proxy:  defaultProxy(),
		Relay:  defaultRelay(),
		Verify: defaultVerify(),
		Policy: defaultPolicy(),
		Policyd: Policyd{
			ClientNetworks: loopback(), MaxConnections: 1000, Timeout: Duration(time.Hour),
			Malformed: "pass",
		},
		HTTP: HTTP{Rate: 600, MaxVerifications: 64},
		Log:  Log{Level: "info", Format: "text", Redact: true},
		name: "(defaults)",
	}
}

func defaultProxy() Proxy {
	return Proxy{
		Listen:           []Endpoint{"127.0.0.1:10025"},
		DrainTimeout:     Duration(25 * time.Second), // service managers kill after 30 s or more
		Auth:             true,
		ClientNetworks:   loopback(),
		XForwardNetworks: loopback(),
		ClientTimeout:    Duration(5 * time.Minute),
		ReplyLimit:       Duration(100 * time.Second), // Postfix: smtpd_proxy_timeout
		MaxMessageSize:   50 << 20,
		MaxRecipients:    1000, // Postfix: smtpd_recipient_limit
		MaxConnections:   2000,
		MinDataRate:      500,
		BareNewline:      "reject",
		SoftErrorLimit:   10, // Postfix: smtpd_soft_error_limit
		HardErrorLimit:   20, // Postfix: smtpd_hard_error_limit
		ErrorDelay:       Duration(time.Second),
	}
}

func defaultRelay() Relay {
	return Relay{
		Upstreams:       []Endpoint{"127.0.0.1:10026"},
		Timeout:         Duration(90 * time.Second),
		DataDoneTimeout: Duration(90 * time.Second),
		MaxIdle:         10,
		IdleTimeout:     Duration(time.Second),
		TLS:             "none",
	}
}

func defaultVerify() Verify {
	return Verify{
		RcptBudget:         Duration(8 * time.Second),
		TransactionBudget:  Duration(25 * time.Second),
		Mode:               "active",
		ProbeSender:        "envelope",
		ProbePort:          25,
		ProbeTimeout:       Duration(30 * time.Second),
		ConnectTimeout:     Duration(3 * time.Second),
		CommandTimeout:     Duration(5 * time.Second),
		MaxProbes:          200,
		MaxProbesPerHost:   2,
		RecipientsPerProbe: 20,
		ProbeIdleTimeout:   Duration(20 * time.Second),
		MaxQuestions:       2000,
		DNS: DNS{
			Timeout:   Duration(2 * time.Second),
			Tries:     2,
			CacheSize: 50_000,
		},
		Cache: Cache{
			MaxSize:             2 << 30,
			Memory:              64 << 20,
			PositiveExpireTime:  Duration(7 * day),
			PositiveRefreshTime: Duration(day),
			NegativeExpireTime:  Duration(day),
			NegativeRefreshTime: Duration(time.Hour),
			TemporaryExpireTime: Duration(5 * time.Minute),
		},
		Health: Health{Interval: Duration(time.Hour)},
	}
}

func defaultPolicy() Policy {
	return Policy{
		Mode:   "enforce",
		Preset: "cautious",
		Hygiene: Hygiene{
			Mode: "warn", Minimum: 50, Warn: 0.04, Throttle: 0.05, Hold: 0.10, Distinct: 100,
		},
		Suppression: Suppression{Mode: "reject", Learn: "off", MaxEntries: register.DefaultMaxEntries},
		Message: Message{
			Position: message.PositionLater, BulkAuto: 4000, Timeout: Duration(5 * time.Second),
		},
		Journal: Journal{
			MaxSize: 100 << 20, Keep: 10, MaxAge: Duration(30 * day), Redact: "local",
			RotateEvery: Duration(journal.DefaultRotateEvery), Queue: journal.DefaultQueue,
			Memory: 10_000, Refusals: 50_000,
		},
		Webhook: Webhook{
			Timeout: Duration(10 * time.Second), Source: journal.DefaultWebhookSource,
			Queue: journal.DefaultWebhookQueue,
		},
	}
}

func loopback() []Network {
	return []Network{
		{netip.MustParsePrefix("127.0.0.0/8")},
		{netip.MustParsePrefix("::1/128")},
	}
}

// Name is the name of the file that the configuration came from, as it stands in errors.
func (c *Config) Name() string { return c.name }

// IsSet tells whether the file itself sets key (such as "proxy.client_networks"), be it to the
// default.
func (c *Config) IsSet(key string) bool { return c.pos.has(key) }

// Hostname is the name of the gate in its banner and its EHLO: proxy.hostname, else the name of
// this machine. One without a domain gets ".localdomain", as in Postfix.
func (c *Config) Hostname() string {
	if c.Proxy.Hostname != "" {
		return strings.TrimSuffix(c.Proxy.Hostname, ".")
	}
	name, err := os.Hostname()
	if err != nil || hostnameProblem(name) != "" {
		name = "localhost"
	}
	return withDomain(name)
}

func withDomain(name string) string {
	name = strings.TrimSuffix(name, ".")
	if !strings.Contains(name, ".") {
		name += ".localdomain"
	}
	return name
}

// Helo is the name in the EHLO of probes: verify.helo, else Hostname.
func (c *Config) Helo() string {
	if c.Verify.Helo != "" {
		return strings.TrimSuffix(c.Verify.Helo, ".")
	}
	return c.Hostname()
}

// FallbackSender is the address in MAIL FROM of probes that cannot use the envelope's sender:
// verify.fallback_sender, else double-bounce at Hostname, as Postfix does.
func (c *Config) FallbackSender() string {
	if c.Verify.FallbackSender != "" {
		return c.Verify.FallbackSender
	}
	return "double-bounce@" + withDomain(c.Hostname())
}

// TakesMail reports whether mail passes through the gate; it does not if it is only asked, by the
// policy delegation of Postfix.
func (c *Config) TakesMail() bool { return len(c.Proxy.Listen)+len(c.Proxy.TLSListen) > 0 }

// ControlSocket is where commands reach a running gate: http.control_socket, else control.sock in
// policy.state_directory; "" if there is none.
func (c *Config) ControlSocket() Endpoint {
	if c.HTTP.ControlSocket == "" && c.Policy.StateDirectory != "" {
		return Endpoint("unix:" + filepath.Join(c.Policy.StateDirectory, "control.sock"))
	}
	return c.HTTP.ControlSocket
}
