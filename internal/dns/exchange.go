package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// ednsSize is what we offer to receive over UDP: the size of the DNS flag day 2020, which fits
	// an IPv6 packet without fragments.
	ednsSize = 1232
	// maxStrangers is the number of datagrams with another identifier or question that one try
	// sits through. More look like a forger guessing, and the question moves on to TCP.
	maxStrangers = 16
	// maxResolve bounds a query with all its tries and CNAME links.
	maxResolve = 30 * time.Second
)

var (
	errNotOurs   = errors.New("an answer to another question")
	errTruncated = errors.New("the answer is truncated")
	errMalformed = errors.New("the answer is malformed")
	errStrangers = errors.New("too many answers to other questions")
)

// resolve asks the servers in turn, and follows CNAME chains that a server left unfinished.
func (r *Resolver) resolve(ctx context.Context, q question) Answer {
	ctx, cancel := context.WithTimeout(ctx, maxResolve)
	defer cancel()
	ttl, links := maxTTL, 0
	for {
		a, c := r.askServers(ctx, q)
		ttl = min(ttl, a.TTL)
		links += c.links
		switch {
		case c.open == "":
			a.TTL = ttl
			return a
		case links >= maxChain:
			return Answer{Detail: errChain.Error(), Server: a.Server, TTL: failureTTL}
		}
		q.name = c.open
	}
}

// askServers puts q to each server, up to tries times, until one has an answer.
func (r *Resolver) askServers(ctx context.Context, q question) (Answer, chain) {
	servers, err := r.servers.list()
	if err != nil {
		return Answer{Detail: err.Error(), TTL: failureTTL}, chain{}
	}
	servers = r.bestFirst(servers)
	last := Answer{Detail: "no server is left to ask", TTL: failureTTL}
	refused := make(map[string]bool) // said SERVFAIL or the like: asking again would be the same
	for range r.tries {
		for _, server := range servers {
			if refused[server] {
				continue
			}
			if ctx.Err() != nil {
				return last, chain{}
			}
			a, c, err := r.try(ctx, server, q)
			if err == nil && (a.Status != Failure || c.open != "") {
				r.good.Store(&server)
				return a, c
			}
			refused[server] = err == nil
			last = a
		}
	}
	return last, chain{}
}

// bestFirst moves the server that answered last to the front, so that a dead first server costs
// its timeout once and not for every question.
func (r *Resolver) bestFirst(servers []string) []string {
	good := r.good.Load()
	if good == nil {
		return servers
	}
	for i, s := range servers {
		if s == *good {
			ordered := append([]string{s}, servers[:i]...)
			return append(ordered, servers[i+1:]...)
		}
	}
	return servers
}

// try asks one server once: over UDP, then over TCP if the answer did not fit, then without EDNS
// if the server does not know it (RFC 6891 section 7). The error means that there was no answer;
// the Answer is then a Failure that tells why.
func (r *Resolver) try(ctx context.Context, server string, q question) (Answer, chain, error) {
	udp, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	msg, err := r.exchange(udp, "udp", server, q, true)
	switch {
	case errors.Is(err, errTruncated), errors.Is(err, errStrangers):
		tcp, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		msg, err = r.exchange(tcp, "tcp", server, q, true)
	case err == nil && lacksEDNS(msg.Rcode):
		msg, err = r.exchange(udp, "udp", server, q, false)
	}
	if err != nil {
		return Answer{Detail: err.Error(), Server: server, TTL: failureTTL}, chain{}, err
	}
	a, c := read(msg, q)
	a.Server = server
	return a, c, nil
}

func lacksEDNS(rcode int) bool {
	return rcode == mdns.RcodeFormatError || rcode == mdns.RcodeNotImplemented ||
		rcode == mdns.RcodeBadVers
}

// exchange sends q and returns the message that answers it. ctx must have a deadline.
func (r *Resolver) exchange(
	ctx context.Context, network, server string, q question, edns bool,
) (*mdns.Msg, error) {
	query := new(mdns.Msg).SetQuestion(q.name, q.qtype)
	if edns {
		query.SetEdns0(ednsSize, false)
	}
	wire, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("cannot write the question: %w", err)
	}
	conn, err := r.dial(ctx, network, server)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", network, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	_, packets := conn.(net.PacketConn)
	if packets {
		return packetExchange(conn, wire, query.Id, q)
	}
	return streamExchange(conn, wire, query.Id, q)
}

// packetExchange waits for the datagram that is ours; others are passed over.
func packetExchange(conn net.Conn, wire []byte, id uint16, q question) (*mdns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	buf := make([]byte, 4096) // more than we offered to take
	for range maxStrangers {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, fmt.Errorf("udp: %w", err)
		}
		msg, err := unpack(buf[:n], id, q)
		if !errors.Is(err, errNotOurs) {
			return msg, err
		}
	}
	return nil, errStrangers
}

// streamExchange reads the one message that follows (RFC 7766).
func streamExchange(conn net.Conn, wire []byte, id uint16, q question) (*mdns.Msg, error) {
	size16 := uint16(len(wire)) //nolint:gosec // a question has at most 300 octets
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), size16)
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	msg, err := unpack(buf, id, q)
	if errors.Is(err, errTruncated) {
		return nil, errMalformed // nothing is left to fall back to
	}
	return msg, err
}
