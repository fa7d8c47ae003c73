package message

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/rcptgate/rcptgate/internal/dns"
)

// maxBlanks is how many blanks and line ends in a row the library gets, divided by the number of
// signatures: it keeps them until something else comes.
const maxBlanks = 96 << 10

// verified is what a signature is worth.
type verified struct {
	signature

	valid   bool
	unknown bool   // its key could not be looked up
	why     string // it is not valid, in words of ours
	bits    int    // of a RSA key; 0: another kind, or not known
}

// verification is what is known of all signatures of a message.
type verification struct {
	list []verified
	// fault says why none was verified although there are some.
	fault string
}

// verifier verifies the signatures of one message while its body comes.
type verifier struct {
	list []signature
	keys map[string]*task[dns.Answer]
	body *spool

	late     chan struct{} // closed: keys that are not here count as unknown
	lateOnce sync.Once
	held     time.Duration
	result   *task[verification]

	blanks int    // in a row, at the end of what came
	fault  string // why the rest of the body does not matter
}

// newVerifier looks up the keys and starts to verify. nil if there is nothing to verify; fault then
// says why, if there are signatures.
func newVerifier(
	ctx context.Context, wg *crew, ask askTXT, h *header, from string,
) (v *verifier, fault string) {
	list, fault := choose(h, from)
	if len(list) == 0 {
		return nil, fault
	}
	v = &verifier{
		list: list, keys: make(map[string]*task[dns.Answer]), late: make(chan struct{}),
	}
	for i := range list {
		name := list[i].keyName()
		if v.keys[name] == nil && plainName(name) {
			v.keys[name] = begin(ctx, wg, func(ctx context.Context) dns.Answer { return ask(ctx, name) })
		}
	}
	size := len("\r\n")
	fields := handed(h, list)
	for _, f := range fields {
		size += len(f.raw)
	}
	head := make([]byte, 0, size)
	for _, f := range fields {
		head = append(head, f.raw...)
	}
	v.body = newSpool(append(head, "\r\n"...))
	v.result = begin(ctx, wg, v.run)
	return v, ""
}

// plainName reports whether DNS can be asked for name. A key with another name is not there.
func plainName(name string) bool {
	if len(name) > 253 || strings.Contains(name, "..") || strings.HasPrefix(name, ".") {
		return false
	}
	for i := range len(name) {
		c := name[i] | 0x20
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && name[i] != '_' && c != '.' {
			return false
		}
	}
	return true
}

// write takes the next octets of the body. Of a nil verifier it does nothing.
func (v *verifier) write(p []byte) {
	if v == nil || v.fault != "" {
		return
	}
	// Runs of blanks within a piece are no longer than it.
	const piece = 4 << 10
	for len(p) > 0 {
		part := p[:min(len(p), piece)]
		p = p[len(part):]
		leading := len(part) - len(bytes.TrimLeft(part, " \t\r\n"))
		v.blanks += leading
		if v.blanks > maxBlanks/len(v.list) {
			v.fault = "the body has a great many blank lines"
			v.body.end(true)
			return
		}
		if leading < len(part) {
			v.blanks = len(part) - len(bytes.TrimRight(part, " \t\r\n"))
		}
		v.body.write(part, &v.held, v.giveUpKeys)
	}
}

// end says that the body is complete, or that nobody wants to know any more.
func (v *verifier) end(abandon bool) {
	if v != nil {
		v.body.end(abandon)
	}
}

// giveUpKeys makes what is not known of keys by now unknown.
func (v *verifier) giveUpKeys() { v.lateOnce.Do(func() { close(v.late) }) }

// run waits for the keys and lets the library verify.
func (v *verifier) run(ctx context.Context) verification {
	defer v.body.leave()
	for _, key := range v.keys {
		select {
		case <-key.done:
		case <-v.late:
		case <-ctx.Done():
			return v.nothing()
		}
	}
	results, err := dkim.VerifyWithOptions(v.body, &dkim.VerifyOptions{
		LookupTXT: v.lookup, MaxVerifications: maxSignatures,
	})
	if err != nil || len(results) != len(v.list) {
		return verification{fault: "the signatures cannot be read"}
	}
	out := verification{list: make([]verified, len(results))}
	for i, r := range results {
		out.list[i] = v.judge(&v.list[i], r)
	}
	return out
}

// nothing is the verification that nobody waited for: all is unknown.
func (v *verifier) nothing() verification {
	out := verification{list: make([]verified, len(v.list))}
	for i := range v.list {
		s := &v.list[i]
		out.list[i] = verified{
			signature: *s, unknown: true, why: "its key " + safe(s.keyName()) + " cannot be looked up",
		}
	}
	return out
}

// lookup answers the library from the keys that came.
func (v *verifier) lookup(name string) ([]string, error) {
	key := v.keys[name]
	answer, ok := key.get()
	switch {
	case key == nil, ok && (answer.Status == dns.NoData || answer.Status == dns.NXDomain):
		return nil, &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	case ok && answer.Status == dns.NoError:
		return answer.Txt, nil
	}
	return nil, &net.DNSError{Err: "not known", Name: name, IsTemporary: true}
}

// judge turns a result of the library into ours. Its errors are not shown: they hold octets of the
// message, and words that help nobody.
func (v *verifier) judge(s *signature, r *dkim.Verification) verified {
	out := verified{signature: *s, valid: r.Err == nil}
	switch {
	case out.valid:
		answer, _ := v.keys[s.keyName()].get()
		out.bits = keyBits(answer.Txt)
		out.domain = strings.ToLower(s.domain)
	case dkim.IsTempFail(r.Err):
		out.unknown = true
		out.why = "its key " + safe(s.keyName()) + " cannot be looked up"
	default:
		out.why = explain(s, r.Err)
	}
	return out
}

// reasons are the library's errors by a part of their text, and what we say. Read only.
var reasons = []struct{ part, words string }{
	{"body hash did not verify", "the body was changed after it was signed"},
	{"signature did not verify", "a signed header field was changed, or the key is another one"},
	{"signature has expired", "it has expired"},
	{"key is too short", "its key is shorter than 1024 bits"},
	{"key revoked", "its key has been revoked"},
	{"no key for signature", "its key is not in the DNS"},
	{"no valid key found", "its key is not in the DNS"},
	{"multiple TXT records", "there are several records with its key"},
	{"key syntax error", "the record with its key cannot be read"},
	{"key record error", "the record with its key cannot be read"},
	{"hash algorithm too weak", "it is of rsa-sha1, which counts no more"},
	{"insecure body length", "it covers a part of the body only (l=)"},
	{"From field not signed", "it does not cover From"},
}

func explain(s *signature, err error) string {
	text := err.Error()
	for _, r := range reasons {
		if !strings.Contains(text, r.part) {
			continue
		}
		if strings.Contains(r.words, "key") {
			return r.words + ": " + safe(s.keyName())
		}
		return r.words
	}
	return "it is malformed"
}

// keyBits is the size of the RSA key in a key record; 0 if it is of another kind.
func keyBits(txt []string) int {
	if len(txt) != 1 {
		return 0
	}
	for tag := range strings.SplitSeq(txt[0], ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) != "p" {
			continue
		}
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
		if err != nil {
			return 0
		}
		key, err := publicKey(der)
		if err != nil {
			return 0
		}
		return key.N.BitLen()
	}
	return 0
}

// publicKey reads a key in either form: RFC 6376 means one, and its erratum 3017 the other.
func publicKey(der []byte) (*rsa.PublicKey, error) {
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return x509.ParsePKCS1PublicKey(der)
	}
	if key, ok := any.(*rsa.PublicKey); ok {
		return key, nil
	}
	return nil, errors.New("no RSA key")
}
