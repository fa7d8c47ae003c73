// Package dns asks name servers about mail: MX, A and AAAA, TXT, PTR.
//
// It exists because the standard library's resolver merges answers that mean different things for
// mail. "There is no such name" (NXDOMAIN), "the name exists but has no such record" (NODATA) and
// "the question could not be answered" (SERVFAIL, REFUSED, a timeout, garbage) lead to three
// different decisions, and only the first is proof that a domain does not exist. Here they are
// three values of [Status], and a method never returns a Go error beside records.
//
// # Use
//
//	r, err := dns.New(dns.Config{})       // the system's resolvers
//	answer := r.MX(ctx, "example.com")
//	switch answer.Status {
//	case dns.NoError: // answer.MX holds at least one record
//	case dns.NoData, dns.NXDomain, dns.Failure:
//	}
//
// The resolver is a stub: it needs recursive servers. Questions go out over UDP with EDNS0
// (1232 octets) and over TCP when the answer was truncated. Each server is tried [Config].Tries
// times; a server that answers SERVFAIL or REFUSED is not asked again, the next one is. Whichever
// server answered last is asked first.
//
// Equal questions asked at the same time share one query, which goes on when the caller stops
// waiting, and fills the cache.
//
// # Limits
//
// A hostile server must not cost more than an honest one. An answer is believed only if it carries
// our identifier and our question; records count only if their owner is the name asked for, or the
// end of a CNAME chain from it of at most 8 links. At most 20 records of an answer are used, TXT
// records above 4096 octets are left out and 8192 octets kept in all. Times to live are clamped to
// 30 s to 24 h, those of negative answers to 30 s to 1 h, and failures are remembered for 30 s. The
// cache holds [Config].CacheSize answers. At most 2000 queries are under way at once, each for at
// most 30 s with all its tries.
//
// # What it is not for
//
// It does not validate DNSSEC: an answer is as trustworthy as the resolver and the path to it, so
// one on the same host is the right choice. It knows nothing of /etc/hosts, search lists or NSS.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	mdns "github.com/miekg/dns"
)

// Status says what an answer means. The zero value is Failure, so that an Answer nobody filled in
// never counts as knowledge.
type Status int

// The four outcomes of a question. They are never merged.
const (
	Failure  Status = iota // SERVFAIL, REFUSED, timeout, malformed: nothing is known
	NoError                // at least one record of the type asked for
	NoData                 // the name exists, without records of this type (RFC 2308 section 2.2)
	NXDomain               // the name does not exist (RFC 2308 section 2.1)
)

// String gives the name of the status as DNS people write it.
func (s Status) String() string {
	switch s {
	case NoError:
		return "NOERROR"
	case NoData:
		return "NODATA"
	case NXDomain:
		return "NXDOMAIN"
	default:
		return "failure"
	}
}

// MX is one mail exchanger record (RFC 5321 section 5.1).
type MX struct {
	// Host in lower case without the trailing dot; "." for the root, as in a null MX (RFC 7505).
	// A name that cannot be a host name keeps its escapes (`\032`), printable ASCII in every case.
	Host string
	Pref uint16
}

// Answer is what one question brought. Its slices are shared with the cache: read only.
type Answer struct {
	Status Status
	MX     []MX         // sorted by preference
	Addrs  []netip.Addr // A before AAAA; as received, so v4-mapped ones are possible
	Txt    []string     // one for each record, its strings joined, raw octets
	Names  []string     // targets of PTR records, form as MX.Host
	// TTL is the time the answer may still be used for, clamped (see the package comment).
	TTL time.Duration
	// Detail says for people why the Status is Failure.
	Detail string
	// Server is the host:port that gave the answer, or was asked last.
	Server string
}

// DialFunc opens connections to name servers; it has the shape of net.Dialer.DialContext. The
// network is "udp" or "tcp". A connection for "udp" that is not a net.PacketConn is spoken to in
// the framing of TCP (a 2-octet length before each message), so that a net.Pipe can serve.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config says whom to ask and how patiently. The zero value uses the system's resolvers.
type Config struct {
	// Servers are asked in this order, as "host:port"; the host is an IP address, the port may be
	// left out (53). At most 3 are used. Empty: those of ResolvConf.
	Servers []string
	// ResolvConf is read when Servers is empty, and again when it changes. Empty:
	// /etc/resolv.conf.
	ResolvConf string
	// Timeout of one try at one server. 0: 2 s.
	Timeout time.Duration
	// Tries at each server that does not answer. 0: 2.
	Tries int
	// Dial opens the connections. nil: a net.Dialer.
	Dial DialFunc
	// CacheSize is the number of answers kept. 0: 10000.
	CacheSize int
	// Asked is told of each question that the servers were asked: its type ("MX") and what came of
	// it. Answers of the cache are none. It must not wait. nil: nobody is told.
	Asked func(qtype string, status Status)
	// Log gets failures at level debug. nil: none.
	Log *slog.Logger
}

// Defaults and limits; the package comment explains them.
const (
	defaultTimeout   = 2 * time.Second
	defaultTries     = 2
	defaultCacheSize = 10000

	// familyGrace is how long the addresses of one family wait for the other's. Happy Eyeballs waits
	// 50 ms (RFC 8305 section 3) for AAAA only; mail has more time, and both families are wanted.
	familyGrace = 250 * time.Millisecond

	maxServers = 3 // as MAXNS of resolv.conf(5)
	maxQueries = 2000
)

// Resolver answers questions about names. It is safe for concurrent use.
type Resolver struct {
	timeout time.Duration
	tries   int
	dial    DialFunc
	log     *slog.Logger
	asked   func(qtype string, status Status)
	servers *serverList
	good    atomic.Pointer[string] // the server that answered last

	base context.Context // ends at Close; queries outlive the callers that wait for them
	stop context.CancelFunc

	mu      sync.Mutex
	cache   *simplelru.LRU[question, cached]
	flights map[question]*flight
	closed  bool
	wg      sync.WaitGroup
}

// question is what is asked: a lower-case name with the trailing dot, and a type. As a key of the
// cache and of flights it has no dot, so that a name which is known is not copied.
type question struct {
	name  string
	qtype uint16
}

type cached struct {
	answer Answer
	expire time.Time
}

// flight is a query under way; answer may be read once done is closed.
type flight struct {
	done   chan struct{}
	answer Answer
}

// New returns a Resolver, or says which server of the Config cannot be one.
func New(c Config) (*Resolver, error) {
	servers, err := newServerList(c.Servers, c.ResolvConf)
	if err != nil {
		return nil, err
	}
	if c.Timeout < 0 || c.Tries < 0 || c.CacheSize < 0 {
		return nil, errors.New("dns: timeout, tries and cache size must not be negative")
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	cache, err := simplelru.NewLRU[question, cached](c.CacheSize, nil)
	if err != nil {
		return nil, fmt.Errorf("dns: cache of %d answers: %w", c.CacheSize, err)
	}
	r := &Resolver{
		timeout: c.Timeout, tries: c.Tries, dial: c.Dial, log: c.Log, asked: c.Asked,
		servers: servers, cache: cache, flights: make(map[question]*flight),
	}
	if r.timeout == 0 {
		r.timeout = defaultTimeout
	}
	if r.tries == 0 {
		r.tries = defaultTries
	}
	if r.dial == nil {
		r.dial = (&net.Dialer{}).DialContext
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.asked == nil {
		r.asked = func(string, Status) {}
	}
	r.base, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// Close ends the queries under way and waits for them. Questions asked afterwards are answered
// from the cache, or fail.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.wg.Wait()
}

// MX asks for the mail exchangers of name. ctx bounds the wait of the caller only.
func (r *Resolver) MX(ctx context.Context, name string) Answer {
	return r.ask(ctx, name, mdns.TypeMX)
}

// TXT asks for the text records of name. ctx bounds the wait of the caller only.
func (r *Resolver) TXT(ctx context.Context, name string) Answer {
	return r.ask(ctx, name, mdns.TypeTXT)
}

// PTR asks for the names of an address. ctx bounds the wait of the caller only.
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) Answer {
	name, err := mdns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return Answer{Status: Failure, Detail: "not an IP address"}
	}
	return r.ask(ctx, name, mdns.TypePTR)
}

// A asks for the IPv4 addresses of name only: DNS block lists answer with them (RFC 5782), and
// count questions. ctx bounds the wait of the caller only.
func (r *Resolver) A(ctx context.Context, name string) Answer {
	return r.ask(ctx, name, mdns.TypeA)
}

// Addrs asks for the A and AAAA records of name side by side. ctx bounds the wait of the caller
// only.
//
// Addresses of one family are an answer even if the other question failed, or has no answer a
// quarter of a second later: some name servers drop queries for AAAA. The late answer fills the
// cache. Without any address, a failure of either makes the whole a Failure, and NXDomain needs
// both to say so: a server that denies the name for one type and not for the other contradicts
// itself, which is no proof.
func (r *Resolver) Addrs(ctx context.Context, name string) Answer {
	v4, v6 := r.begin(ctx, name, mdns.TypeA), r.begin(ctx, name, mdns.TypeAAAA)
	var grace <-chan time.Time
	for {
		// Both are looked at: the channel of an answer that was not taken would wake us again and again.
		ready4, ready6 := v4.ready(), v6.ready()
		if ready4 && ready6 {
			break
		}
		if grace == nil && len(v4.answer.Addrs)+len(v6.answer.Addrs) > 0 {
			timer := time.NewTimer(familyGrace)
			defer timer.Stop()
			grace = timer.C
		}
		select {
		case <-v4.wait():
			continue
		case <-v6.wait():
			continue
		case <-grace:
		case <-ctx.Done():
		}
		break
	}
	return merge(v4.result(ctx), v6.result(ctx))
}

// merge joins the answers for A and AAAA of one name.
func merge(a, aaaa Answer) Answer {
	m := Answer{TTL: min(a.TTL, aaaa.TTL), Server: a.Server}
	if m.Server == "" {
		m.Server = aaaa.Server
	}
	switch { // mostly there is nothing to join
	case len(aaaa.Addrs) == 0:
		m.Addrs = a.Addrs
	case len(a.Addrs) == 0:
		m.Addrs = aaaa.Addrs
	default:
		m.Addrs = slices.Concat(a.Addrs, aaaa.Addrs)
	}
	switch {
	case len(m.Addrs) > 0:
		m.Status = NoError
		m.TTL = max(m.TTL, minTTL) // one that is not there yet has none
	case a.Status == Failure:
		m.Detail = a.Detail
	case aaaa.Status == Failure:
		m.Detail, m.Server = aaaa.Detail, aaaa.Server
	case a.Status == NXDomain && aaaa.Status == NXDomain:
		m.Status = NXDomain
	default:
		m.Status = NoData
	}
	return m
}

// ask answers from the cache, or joins or starts the query for (name, qtype).
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) Answer {
	p := r.begin(ctx, name, qtype)
	if !p.ready() {
		select {
		case <-p.wait():
		case <-ctx.Done():
		}
	}
	return p.result(ctx)
}

// pending is a question whose answer is there, or under way in flight.
type pending struct {
	flight *flight // nil: answer is there
	answer Answer
}

func (r *Resolver) begin(ctx context.Context, name string, qtype uint16) pending {
	q, ok := newQuestion(name, qtype)
	if !ok {
		return pending{answer: Answer{Detail: "not a name that DNS can be asked for"}}
	}
	f, answer := r.join(ctx, q)
	return pending{flight: f, answer: answer}
}

// ready reports whether the answer is there, and takes it.
func (p *pending) ready() bool {
	if p.flight == nil {
		return true
	}
	select {
	case <-p.flight.done:
		p.answer, p.flight = p.flight.answer, nil
		return true
	default:
		return false
	}
}

// wait returns what is closed when the answer comes; nil, which never is, if it is there.
func (p *pending) wait() <-chan struct{} {
	if p.flight == nil {
		return nil
	}
	return p.flight.done
}

// result is the answer, or that there is none.
func (p *pending) result(ctx context.Context) Answer {
	switch {
	case p.ready():
		return p.answer
	case ctx.Err() != nil:
		return Answer{Detail: "no answer yet: " + ctx.Err().Error()}
	}
	return Answer{Detail: "no answer yet"}
}

// join returns the query to wait for, or, when there is nothing to wait for, the answer.
func (r *Resolver) join(ctx context.Context, q question) (*flight, Answer) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.cache.Get(q); ok && now.Before(e.expire) {
		e.answer.TTL = e.expire.Sub(now)
		return nil, e.answer
	}
	if f := r.flights[q]; f != nil {
		return f, Answer{}
	}
	switch {
	case r.closed:
		return nil, Answer{Detail: "the resolver is closed"}
	case ctx.Err() != nil:
		return nil, Answer{Detail: "not asked: " + ctx.Err().Error()}
	case len(r.flights) >= maxQueries:
		return nil, Answer{Detail: fmt.Sprintf("not asked: %d queries are under way", maxQueries)}
	}
	f := &flight{done: make(chan struct{})}
	r.flights[q] = f
	r.wg.Go(func() { r.fly(q, f) })
	return f, Answer{}
}

// fly resolves q and hands the answer to the waiting and to the cache.
func (r *Resolver) fly(q question, f *flight) {
	f.answer = r.safely(question{mdns.Fqdn(q.name), q.qtype})
	if f.answer.Status == Failure {
		r.log.Debug("dns query failed", "name", q.name, "type", mdns.TypeToString[q.qtype],
			"server", f.answer.Server, "detail", f.answer.Detail)
	}
	r.asked(mdns.TypeToString[q.qtype], f.answer.Status)
	r.mu.Lock()
	delete(r.flights, q)
	if r.base.Err() == nil { // a query cut by Close says nothing of the name
		r.cache.Add(q, cached{f.answer, time.Now().Add(f.answer.TTL)})
	}
	r.mu.Unlock()
	close(f.done)
}

// newQuestion folds the name into a key. Refused are names that DNS cannot carry and those with characters
// that a presentation format would escape: no name of a mail domain or host has any.
func newQuestion(name string, qtype uint16) (question, bool) {
	name = strings.ToLower(name)
	if name == "" || !plainName(name) {
		return question{}, false
	}
	if _, ok := mdns.IsDomainName(name); !ok {
		return question{}, false
	}
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return question{name, qtype}, true
}

func plainName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '/':
		default:
			return false
		}
	}
	return true
}
