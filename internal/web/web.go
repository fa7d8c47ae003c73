// Package web is the gate's HTTP server: whether it lives, whether it is ready, its metrics, and an
// API to look at decisions and to change what the gate keeps.
//
//	m := web.NewMetrics(web.Sources{Connections: server.Open})
//	s := web.New(m, func() []web.Check { ... }, log)
//	api := web.NewAPI(func() web.Parts { ... }, log)
//	s.Mount(api)
//	s.UseTokens(tokens)
//	go s.Serve(listener)
//	go web.NewControl(api, log).Serve(socket)
//	defer s.Shutdown(ctx)
//
// # Open to everybody
//
//	/healthz   200 while the process answers at all
//	/readyz    200 if mail can pass, else 503; the reasons as text, a line for each part
//	/metrics   all metrics in the text format of Prometheus
//
// There is nothing to change and nothing secret there: no addresses of people, no mail. Everybody
// who can connect may read it all, so the listener belongs on loopback or behind a firewall.
//
// # API
//
// Everything below /v1/ needs a bearer token (RFC 6750) with the scope that is shown: see Tokens.
// Over the control socket (NewControl) it needs none: who may open the socket may do all of it.
//
//	GET  /v1/status               read   how the gate is: Status, and counts
//	GET  /v1/history              read   what it did in each of the last 1440 minutes: HistoryAnswer;
//	                                     with POST, of as many as HistoryRequest wants
//	GET  /v1/providers            read   what mail providers tell us, and who is paused: Providers
//	GET  /v1/config               read   the configuration in use: Configuration
//	POST /v1/suppressions         write  add a suppression: AddSuppression
//	POST /v1/suppressions/search  read   SearchSuppressions
//	POST /v1/suppressions/remove  write  RemoveSuppressions
//	POST /v1/suppressions/import  write  CSV, as the body or as a form: see below
//	GET  /v1/suppressions/export  read   all of them as CSV
//	GET  /v1/overrides            read   those in force
//	POST /v1/overrides            write  allow: AddOverride
//	POST /v1/overrides/revoke     write  Named
//	POST /v1/forget               write  forget what the verifier knows of an address, a domain or a
//	                                     provider: Named
//	GET  /v1/cache                read   what the verifier's memory holds: CacheCounts
//	POST /v1/cache/lookup         read   what it knows of an address or a domain: LookUp
//	POST /v1/decisions/search     read   SearchDecisions
//	POST /v1/decisions/stream     read   those from now on, a JSON object a line; as events if the
//	                                     request accepts text/event-stream: SearchDecisions
//	GET  /v1/decisions/{ref}      read   one, with all of its transaction; in words if the request
//	                                     accepts text/plain
//	POST /v1/report               read   what was refused, or would have been: ReportRequest; as CSV if
//	                                     the request accepts text/csv
//	POST /v1/senders/search       read   senders, the worst first: SearchSenders
//	POST /v1/senders/release      write  end a sender's hold: ReleaseSender
//	POST /v1/verify               verify what is known of an address, its mail servers are asked if need
//	                                     be: VerifyRequest, Verdict; 202 and Pending if that takes longer
//	GET  /v1/verify/{id}          verify the verdict of one that took longer
//	POST /v1/explain              verify what would be decided, and why: ExplainRequest; in words if the
//	                                     request accepts text/plain
//	POST /v1/classify             read   what replies of mail servers mean: ClassifyRequest
//	POST /v1/drain                admin  end the gate as SIGTERM does: DrainRequest
//	GET  /v1/openapi.json         all of this in OpenAPI 3.1, without a token
//
// Requests are one JSON object, answers too. A field that is not known is a fault. No address stands
// in a URL, which logs keep, and so there are no queries. What is wrong comes back as Problem, with
// what to do instead.
//
// An import is the CSV file as the body (Content-Type: text/csv), or a form (multipart/form-data)
// whose last part, "file", is the file; parts before it may be reason, scope, expires, for, source,
// strict and keep. See package register for the columns.
//
// # Limits
//
// A request has 16 KiB of headers, a body of 1 MiB, and 10 s. An import has 512 MiB and an hour, one
// at a time, and, like an export and a stream, a minute for each step; two searches at a time read
// the journal's files, for up to a minute, others wait. There are up to 64 streams: journal.Tail.
// Label values of metrics come from closed sets and from the configuration (upstreams, names of
// rules), so the number of series is bounded by it.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// State is how a part of the gate is.
type State int

// The states. The gate is ready unless a part has Failed.
const (
	OK       State = iota
	Degraded       // mail passes, but something needs a look
	Failed         // mail does not pass
)

// String is the word that stands in the answer of /readyz.
func (s State) String() string {
	switch s {
	case OK:
		return "ok"
	case Degraded:
		return "degraded"
	case Failed:
		return "failed"
	default:
		return fmt.Sprintf("state %d", int(s))
	}
}

// Check is the state of one part, in words for people.
type Check struct {
	Part   string // "relay", "configuration", ...
	State  State
	Detail string // what is so, and what to do about it; one line
}

// worst is the state of all parts together.
func worst(checks []Check) State {
	state := OK
	for _, check := range checks {
		state = max(state, check.State)
	}
	return state
}

// requestTime bounds one request. Answers come from memory.
const requestTime = 10 * time.Second

// Server serves the endpoints on any number of listeners.
type Server struct {
	http     http.Server
	mux      *http.ServeMux
	log      *slog.Logger
	tokens   atomic.Pointer[Tokens]
	rate     atomic.Pointer[limit.Rate] // of each token; nil: no limit
	taken    *limit.Limiter
	failures *failures
}

// New makes a server. ready is called for each request of /readyz and must not wait.
func New(metrics *Metrics, ready func() []Check, log *slog.Logger) *Server {
	metrics.watchReady(ready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		checks := ready()
		status := http.StatusOK
		if worst(checks) == Failed {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, report(checks))
	})
	mux.Handle("GET /metrics", metrics.handler(log))
	return newServer(mux, log)
}

// NewControl makes a server of the API for a socket that only those can open who may do everything.
func NewControl(api *API, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	s := newServer(mux, log)
	s.http.RegisterOnShutdown(api.end)
	return s
}

func newServer(mux *http.ServeMux, log *slog.Logger) *Server {
	return &Server{
		mux: mux, log: log, failures: newFailures(), taken: limit.NewLimiter(limit.Rate{}, maxTokens),
		http: http.Server{
			Handler: mux, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: time.Minute,
			MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
}

// Mount adds the API, once, before Serve. It needs tokens: see UseTokens.
func (s *Server) Mount(api *API) {
	s.mux.HandleFunc("GET "+descriptionPath, describe)
	s.mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		if t, ok := s.authorize(w, r); ok && s.paced(w, &t) {
			w.Header().Set(scopesHeader, t.scopeList())
			api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, &t)))
		}
	})
	s.http.RegisterOnShutdown(api.end)
}

// LimitRate bounds the requests of each token in a minute, so many of them at once; 0: not at all. It
// may be called at any time.
func (s *Server) LimitRate(perMinute int) {
	s.rate.Store(&limit.Rate{Count: perMinute, Per: time.Minute, Burst: perMinute})
}

// UseTokens lets those into the API who have one of the tokens; nil: nobody. It may be called at any
// time.
func (s *Server) UseTokens(tokens *Tokens) { s.tokens.Store(tokens) }

// report is the answer of /readyz: a line for all, then one for each part, the worst first.
func report(checks []Check) string {
	var b strings.Builder
	switch worst(checks) {
	case Failed:
		b.WriteString("not ready\n")
	case Degraded:
		b.WriteString("ready, degraded\n")
	case OK:
		b.WriteString("ready\n")
	}
	for state := Failed; state >= OK; state-- {
		for _, check := range checks {
			if check.State == state {
				fmt.Fprintf(&b, "%-8s  %s: %s\n", check.State, check.Part, check.Detail)
			}
		}
	}
	return b.String()
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // who has gone does not read it
}

// Serve answers requests on l until l is closed (the error says so) or Shutdown (nil).
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listeners and waits for running requests, or until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
		return err
	}
	return nil
}
