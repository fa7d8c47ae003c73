package web

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// Parts is what the API shows and changes. What is nil is not there, and its endpoints say so.
type Parts struct {
	Register *register.Register
	Senders  *senders.Table
	Journal  *journal.Journal
	// Archive is the journal's files; nil: those of Journal. Alone it is for commands, when no gate
	// runs.
	Archive *journal.Archive
	Memory  Memory
	Status  func() Status // nil: no gate runs

	Metrics *Metrics
	History *History
	// Providers lists all that have a profile, and "other", without their counts.
	Providers func() []Provider
	Config    func() Configuration

	Verifier *verify.Verifier
	// MaxVerifications bounds the addresses that are asked about at a time for the API; 0: 64.
	MaxVerifications int
	// Classify reads a reply; what is empty, or says what is wrong with it.
	Classify func(MailReply) (read ReadReply, what, fix string)
	Explain  Explain
	// Drain ends the gate, when the answer is sent; 0: within the time of its configuration.
	Drain func(limit time.Duration)
}

// Memory is what the verifier knows, to be forgotten and looked at. A nil function cannot be done.
type Memory struct {
	Address  func(esmtp.Address) error
	Domain   func(domain string) error // with A-labels, in lower case
	Provider func(name string) error

	Look       func(esmtp.Address) (verify.Remembered, bool)
	LookDomain func(ctx context.Context, domain string) verify.RememberedDomain
	Counts     func() CacheCounts // but for the hits of memory, and misses
}

// archive is the journal's files, or nil.
func (p *Parts) archive() *journal.Archive {
	if p.Archive == nil && p.Journal != nil {
		return p.Journal.Archive()
	}
	return p.Archive
}

// API is the endpoints below /v1/, for any number of servers.
type API struct {
	parts    func() Parts
	log      *slog.Logger
	mux      *http.ServeMux
	searches chan struct{} // those that read files now
	imports  chan struct{} // the import that runs
	ended    chan struct{}
	once     sync.Once

	questions questions
}

// maxSearches is how many requests may read the journal's files at a time.
const maxSearches = 2

// NewAPI makes the API. parts is called for each request.
func NewAPI(parts func() Parts, log *slog.Logger) *API {
	a := &API{
		parts: parts, log: log, mux: http.NewServeMux(), ended: make(chan struct{}),
		searches: make(chan struct{}, maxSearches), imports: make(chan struct{}, 1),
	}
	a.questions = questions{ended: a.ended, byID: make(map[string]*question)}
	for _, e := range endpoints() {
		a.mux.HandleFunc(e.method+" "+e.path, func(w http.ResponseWriter, r *http.Request) {
			a.serve(w, r, e)
		})
	}
	a.mux.HandleFunc("GET "+descriptionPath, describe)
	a.mux.HandleFunc("/v1/", a.unknown)
	return a
}

// end ends the streams, and what is asked.
func (a *API) end() { a.once.Do(func() { close(a.ended) }) }

// endpoint is one thing to ask for.
type endpoint struct {
	method, path string
	scope        Scope
	serve        func(*call) error
}

// endpoints lists the API.
func endpoints() []endpoint {
	return []endpoint{
		{"GET", "/v1/status", ScopeRead, (*call).status},
		{"GET", "/v1/history", ScopeRead, (*call).history},
		{"POST", "/v1/history", ScopeRead, (*call).history},
		{"GET", "/v1/providers", ScopeRead, (*call).providers},
		{"GET", "/v1/config", ScopeRead, (*call).config},
		{"POST", "/v1/suppressions", ScopeWrite, (*call).suppress},
		{"POST", "/v1/suppressions/search", ScopeRead, (*call).searchSuppressions},
		{"POST", "/v1/suppressions/remove", ScopeWrite, (*call).unsuppress},
		{"POST", "/v1/suppressions/import", ScopeWrite, (*call).importCSV},
		{"GET", "/v1/suppressions/export", ScopeRead, (*call).exportCSV},
		{"GET", "/v1/overrides", ScopeRead, (*call).overrides},
		{"POST", "/v1/overrides", ScopeWrite, (*call).allow},
		{"POST", "/v1/overrides/revoke", ScopeWrite, (*call).revoke},
		{"POST", "/v1/forget", ScopeWrite, (*call).forget},
		{"GET", "/v1/cache", ScopeRead, (*call).cache},
		{"POST", "/v1/cache/lookup", ScopeRead, (*call).lookUp},
		{"POST", "/v1/decisions/search", ScopeRead, (*call).searchDecisions},
		{"POST", "/v1/decisions/stream", ScopeRead, (*call).stream},
		{"GET", "/v1/decisions/{ref}", ScopeRead, (*call).decision},
		{"POST", "/v1/report", ScopeRead, (*call).report},
		{"POST", "/v1/senders/search", ScopeRead, (*call).searchSenders},
		{"POST", "/v1/senders/release", ScopeWrite, (*call).release},
		{"POST", "/v1/verify", ScopeVerify, (*call).verify},
		{"GET", "/v1/verify/{id}", ScopeVerify, (*call).verified},
		{"POST", "/v1/explain", ScopeVerify, (*call).explain},
		{"POST", "/v1/classify", ScopeRead, (*call).classify},
		{"POST", "/v1/drain", ScopeAdmin, (*call).drain},
	}
}

// callerKey is the context key of the token that a request came with.
type callerKey struct{}

// controlName stands in the log for requests over the control socket.
const controlName = "control socket"

// serve does one request.
func (a *API) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	c := &call{api: a, w: w, r: r, parts: a.parts(), who: controlName}
	if t, ok := r.Context().Value(callerKey{}).(*token); ok {
		if !allowed(w, t, e.scope) {
			return
		}
		c.who = t.name
	}
	err := c.noQuery()
	if err == nil {
		err = e.serve(c)
	}
	if e.scope == ScopeWrite || e.scope == ScopeAdmin {
		a.log.Info("api: change", "by", c.who, "request", e.path, "done", err == nil)
	}
	if err == nil {
		return
	}
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		a.log.Error("api: request failed", "by", c.who, "request", e.path, "error", err.Error())
	}
	p.send(w)
}

// unknown answers what is no endpoint, or one with another method.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/v1/" && pattern != "" {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		var names []string
		for _, e := range endpoints() {
			names = append(names, e.method+" "+e.path)
		}
		problem(http.StatusNotFound, "there is no such endpoint",
			"those there are: "+strings.Join(names, ", ")).send(w)
		return
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	problem(http.StatusMethodNotAllowed, "the endpoint does not take "+shown(r.Method),
		"use "+allow).send(w)
}

// ServeHTTP serves whoever gets here: over the control socket, or let in by a Server.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	a.mux.ServeHTTP(w, r)
}
