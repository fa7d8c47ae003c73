package message

import (
	"context"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// mailDomain says whether a domain takes mail.
type mailDomain struct {
	domain  string
	exists  bool // in the sense of RFC 9989: it has an MX or an address
	nullMX  bool
	unknown bool
}

// lookDomain asks for MX records, and where there are none for addresses (RFC 5321 section 5.1).
func lookDomain(ctx context.Context, names *dns.Resolver, domain string) *mailDomain {
	d := &mailDomain{domain: domain}
	mx := names.MX(ctx, domain)
	switch mx.Status {
	case dns.NoError:
		d.exists = true
		d.nullMX = len(mx.MX) == 1 && mx.MX[0].Host == "." // RFC 7505 section 3
	case dns.NXDomain:
	case dns.NoData:
		addrs := names.Addrs(ctx, domain)
		d.exists = addrs.Status == dns.NoError
		d.unknown = addrs.Status == dns.Failure
	case dns.Failure:
		d.unknown = true
	}
	return d
}
