package message

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	mdns "github.com/miekg/dns"

	"github.com/rcptgate/rcptgate/internal/dns"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// key makes a key once for all tests of the package: it takes its time.
func key(bits int) func() crypto.Signer {
	return sync.OnceValue(func() crypto.Signer {
		if bits == 0 {
			_, k, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				panic(err)
			}
			return k
		}
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return k
	})
}

var key2048, key1024, keyEd25519, otherKey = key(2048), key(1024), key(0), key(2048)

// keyRecord is the TXT record of a key, cut into strings of 200 octets.
func keyRecord(tb testing.TB, name string, k crypto.Signer) string {
	tb.Helper()
	text := "v=DKIM1; k=ed25519; p="
	octets := []byte(nil)
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		octets = pub
	case *rsa.PublicKey:
		text = "v=DKIM1; k=rsa; p="
		var err error
		if octets, err = x509.MarshalPKIXPublicKey(pub); err != nil {
			tb.Fatal(err)
		}
	}
	text += base64.StdEncoding.EncodeToString(octets)
	var out strings.Builder
	out.WriteString(name + ". 3600 IN TXT")
	for part := range slices.Chunk([]byte(text), 200) {
		fmt.Fprintf(&out, " %q", part)
	}
	return out.String()
}

// shortKeyRecord is the record of a key of 768 bits, which no library makes any more.
func shortKeyRecord(name string) string {
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 768), big.NewInt(1))
	octets := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: 65537})
	return fmt.Sprintf("%s. 3600 IN TXT %q", name, "v=DKIM1; p="+base64.StdEncoding.EncodeToString(octets))
}

// egress is where mail leaves from in all tests.
var egress = netip.MustParseAddr("192.0.2.25")

// zone are the records of a sender who does everything right. A record with "-" instead of a type
// takes the records of a name away.
func zone(tb testing.TB, changes ...string) []string {
	tb.Helper()
	records := []string{
		"example.com. 300 IN MX 10 mx.example.com.",
		"mx.example.com. 300 IN A 192.0.2.26",
		`example.com. 300 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		`_dmarc.example.com. 300 IN TXT "v=DMARC1; p=none"`,
		"example.org. 300 IN MX 10 mx.example.com.",
		`example.org. 300 IN TXT "v=spf1 ip4:192.0.2.25 -all"`,
		`_dmarc.example.org. 300 IN TXT "v=DMARC1; p=none"`,
		keyRecord(tb, "s2048._domainkey.example.com", key2048()),
		keyRecord(tb, "s1024._domainkey.example.com", key1024()),
		keyRecord(tb, "ed._domainkey.example.com", keyEd25519()),
		keyRecord(tb, "s2048._domainkey.example.org", key2048()),
	}
	for _, change := range changes {
		name, isAway := strings.CutSuffix(change, " -")
		if !isAway {
			records = append(records, change)
			continue
		}
		records = slices.DeleteFunc(records, func(r string) bool {
			owner, rest, _ := strings.Cut(r, ". ")
			return owner == name || owner+" "+strings.Fields(rest)[2] == name
		})
	}
	return records
}

// resolver asks a name server in memory.
func resolver(tb testing.TB, records ...string) (*dns.Resolver, *mxsim.World) {
	tb.Helper()
	world := mxsim.New(mxsim.Config{})
	tb.Cleanup(world.Close)
	if err := world.Record(records...); err != nil {
		tb.Fatal(err)
	}
	names, err := dns.New(dns.Config{Servers: []string{"5.255.0.53:53"}, Dial: world.DialContext})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(names.Close)
	return names, world
}

// failing makes queries for names with a suffix fail.
func failing(world *mxsim.World, suffix string) {
	world.HandleDNS(func(_ string, query *mdns.Msg) *mdns.Msg {
		if strings.HasSuffix(query.Question[0].Name, suffix+".") {
			return new(mdns.Msg).SetRcode(query, mdns.RcodeServerFailure)
		}
		return nil
	})
}

// all sets every check to a level.
func all(level Level) map[Check]Level {
	levels := make(map[Check]Level)
	for _, info := range Checks() {
		levels[info.Check] = level
	}
	return levels
}

func config(level Level) Config {
	return Config{
		Levels: all(level), Helo: "example.com",
		Egress: func() []netip.Addr { return []netip.Addr{egress} },
	}
}

func newChecker(tb testing.TB, cfg Config, names *dns.Resolver, dir *durable.Dir) *Checker {
	tb.Helper()
	c, err := New(cfg, names, dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func address(tb testing.TB, s string) esmtp.Address {
	tb.Helper()
	if s == "" {
		return esmtp.Address{}
	}
	a, err := esmtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func envelope(tb testing.TB) Envelope {
	tb.Helper()
	return Envelope{
		From:       address(tb, "bounce@example.com"),
		Recipients: []Recipient{{Domain: "gmail.com", Provider: "google"}},
	}
}

// newsletter is a message that nothing is wrong with, once it is signed.
func newsletter(now time.Time) string {
	return crlf(`From: News <news@example.com>
To: Bob <bob@gmail.com>
Subject: News
Date: ` + now.Format(time.RFC1123Z) + `
Message-ID: <1@example.com>
List-Unsubscribe: <mailto:leave@example.com>,
 <https://example.com/leave/4711>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
List-Id: News <news.example.com>
MIME-Version: 1.0
Content-Type: text/plain

Hello,
.
..and good bye
`)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// signedFields is a usual list, each once more than it occurs.
var signedFields = []string{
	"From", "From", "To", "To", "Subject", "Subject", "Date", "Date", "Message-ID", "Message-ID",
	"List-Unsubscribe", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Unsubscribe-Post",
	"MIME-Version", "Content-Type",
}

type signOptions = func(*dkim.SignOptions)

// sign puts a signature on a message.
func sign(tb testing.TB, message string, change ...signOptions) string {
	tb.Helper()
	options := &dkim.SignOptions{
		Domain: "example.com", Selector: "s2048", Signer: key2048(), HeaderKeys: signedFields,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
	}
	for _, f := range change {
		f(options)
	}
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(message), options); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

// wire is a message as it comes over the wire, without the final dot.
func wire(message string) []byte {
	message = strings.ReplaceAll(message, "\r\n.", "\r\n..")
	if strings.HasPrefix(message, ".") {
		message = "." + message
	}
	return []byte(message)
}

// check runs a message through in pieces.
func check(tb testing.TB, c *Checker, env Envelope, octets []byte, piece int) Report {
	tb.Helper()
	run := c.Begin(env)
	defer run.Close()
	for part := range slices.Chunk(octets, piece) {
		run.Write(part)
	}
	return run.Finish(context.Background())
}

// names are the checks that found something.
func names(r Report) string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, string(f.Check))
	}
	return strings.Join(list, " ")
}

func details(r Report) string {
	var out strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "\n%s %s: %s\n\t%s", f.Check, f.Level, f.Detail, f.Reply)
	}
	return out.String()
}
