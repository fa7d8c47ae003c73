package web

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// failuresMost is how many tokens that are none a client may try within failuresTime.
	failuresMost = 10
	failuresTime = time.Minute
	// failuresSlots bounds the memory. Clients that share one are counted together.
	failuresSlots = 1024
)

// failures counts tokens that are none, by client. Nobody guesses a token: this spares the log and
// tells who tries. Whoever has a token gets in whatever others tried, behind the same proxy.
type failures struct {
	seed maphash.Seed

	mu    sync.Mutex
	slots [failuresSlots]struct {
		count int
		until time.Time
	}
}

func newFailures() *failures { return &failures{seed: maphash.MakeSeed()} }

// add counts a failure. wait is how long the client should not try again, 0 if it may.
func (f *failures) add(remote string, now time.Time) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slot := &f.slots[maphash.Comparable(f.seed, networkOf(remote))%failuresSlots]
	if left := slot.until.Sub(now); left <= 0 || left > failuresTime {
		slot.count, slot.until = 0, now.Add(failuresTime)
	}
	if slot.count++; slot.count > failuresMost {
		return slot.until.Sub(now)
	}
	return 0
}

// networkOf is what one client has: an IPv4 address, or a /64 of IPv6.
func networkOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // a Unix socket
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

// authorize returns the token of a request, or sends why there is none (RFC 6750 section 3).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) (token, bool) {
	tokens := s.tokens.Load()
	if tokens == nil {
		problem(http.StatusForbidden, "the API answers only on the control socket: there are no tokens",
			"set http.tokens_file to a file of tokens, or use the commands of rcptgate on this machine",
		).send(w)
		return token{}, false
	}
	header := r.Header.Get("Authorization")
	kind, given, _ := strings.Cut(header, " ")
	if header == "" || !strings.EqualFold(kind, "Bearer") {
		w.Header().Set("WWW-Authenticate", `Bearer realm="rcptgate"`)
		problem(http.StatusUnauthorized, "the request has no token",
			"send the header Authorization: Bearer TOKEN, with a token of http.tokens_file").send(w)
		return token{}, false
	}
	if found, ok := tokens.find(strings.TrimSpace(given)); ok {
		return found, true
	}
	if wait := s.failures.add(r.RemoteAddr, time.Now()); wait > 0 {
		seconds := strconv.Itoa(int(wait/time.Second) + 1)
		w.Header().Set("Retry-After", seconds)
		problem(http.StatusTooManyRequests, "too many tokens that are none",
			"wait "+seconds+" s, and correct the token").send(w)
		return token{}, false
	}
	s.log.Warn("api: a token that is none", "client", r.RemoteAddr)
	w.Header().Set("WWW-Authenticate", `Bearer realm="rcptgate", error="invalid_token"`)
	problem(http.StatusUnauthorized, "the token is none of http.tokens_file",
		"correct it; if it was added just now, look for a fault of its line in the log").send(w)
	return token{}, false
}

// paced reports whether a token may ask now, or sends that it asks too often.
func (s *Server) paced(w http.ResponseWriter, t *token) bool {
	rate := s.rate.Load()
	if rate == nil {
		return true
	}
	wait, ok := s.taken.TakeAt(t.name, *rate, time.Now())
	if ok {
		return true
	}
	seconds := strconv.Itoa(int(wait/time.Second) + 1)
	w.Header().Set("Retry-After", seconds)
	problem(http.StatusTooManyRequests, "the token "+t.name+" asks too often",
		"wait "+seconds+" s; a token has "+strconv.Itoa(rate.Count)+" requests a minute (http.rate)").send(w)
	return false
}

// allowed reports whether a token has a scope, or sends that it does not.
func allowed(w http.ResponseWriter, t *token, scope Scope) bool {
	if slices.Contains(t.scopes, scope) {
		return true
	}
	w.Header().Set("WWW-Authenticate",
		`Bearer realm="rcptgate", error="insufficient_scope", scope="`+string(scope)+`"`)
	problem(http.StatusForbidden, "the token "+t.name+" has no scope "+string(scope),
		"use another one, or add the scope in http.tokens_file").send(w)
	return false
}
