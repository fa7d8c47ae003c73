// Package web is the gate's HTTP server: whether it lives, whether it is ready, and its metrics.
//
//	m := web.NewMetrics(web.Sources{Connections: server.Open})
//	s := web.New(m, func() []web.Check { ... }, log)
//	go s.Serve(listener)
//	defer s.Shutdown(ctx)
//
// # Endpoints
//
//	/healthz   200 while the process answers at all
//	/readyz    200 if mail can pass, else 503; the reasons as text, a line for each part
//	/metrics   all metrics in the text format of Prometheus
//
// There is nothing to change and nothing secret here: no addresses of people, no mail. Everybody
// who can connect may read it all, so the listener belongs on loopback or behind a firewall.
//
// # Limits
//
// A request has 16 KiB of headers, no body, and 10 s. Label values come from closed sets and from
// the configuration (upstreams, names of rules), so the number of series is bounded by it.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
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
	http http.Server
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
	return &Server{http: http.Server{
		Handler: mux, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

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
