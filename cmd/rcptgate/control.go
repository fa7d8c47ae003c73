package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
)

// controller speaks the API of package web: to the gate that runs, over its control socket, or to
// what has been opened in its place.
type controller struct {
	ctx  context.Context // of the command; a signal ends it
	http *http.Client
	ends []func() error // in order
	// alone: no gate runs.
	alone bool
}

// withControl runs fn with the gate that a configuration describes. If none runs, it opens in its
// place what open does.
func withControl(
	cmd *cobra.Command, path string, open func(*config.Config, *slog.Logger) (*alone, error),
	fn func(c *controller) error,
) error {
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &controller{ctx: ctx}
	err = c.open(cfg, open, newLogger(cmd.ErrOrStderr(), quietLog(cfg)))
	if err == nil {
		err = fn(c)
	}
	for _, end := range c.ends {
		if e := end(); e != nil && err == nil {
			err = failed(e.Error(), "is the disk full?")
		}
	}
	if ctx.Err() != nil {
		return failed("interrupted", "")
	}
	return err
}

// open connects to the gate, or stands in for it.
func (c *controller) open(
	cfg *config.Config, open func(*config.Config, *slog.Logger) (*alone, error), log *slog.Logger,
) error {
	path, isUnix := cfg.ControlSocket().Unix()
	if isUnix {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		conn, err := dial(c.ctx, "", "")
		switch {
		case err == nil:
			_ = conn.Close()
			c.use(dial)
			return nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED):
			return failed(fmt.Sprintf("cannot open the control socket %s: %v", path, rootCause(err)),
				"run this as the user that runs rcptgate, such as `sudo -u rcptgate rcptgate ...`")
		}
	}
	stand, err := open(cfg, log)
	if err != nil {
		return err
	}
	c.alone = true
	parts := stand.parts
	server := web.NewControl(web.NewAPI(func() web.Parts { return parts }, log), log)
	pipes := newPipeListener()
	served := make(chan error, 1)
	go func() { served <- server.Serve(pipes) }()
	c.use(pipes.dial)
	c.ends = append(c.ends, func() error {
		return errors.Join(server.Shutdown(context.WithoutCancel(c.ctx)), <-served)
	}, stand.close)
	return nil
}

func (c *controller) use(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	transport := &http.Transport{DialContext: dial, DisableCompression: true}
	c.http = &http.Client{Transport: transport}
	c.ends = append(c.ends, func() error { transport.CloseIdleConnections(); return nil })
}

// ask sends in as JSON, nothing if it is nil, and decodes the answer into out.
func (c *controller) ask(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return failed(err.Error(), "")
		}
		body = bytes.NewReader(data)
	}
	answer, err := c.send(method, path, "application/json", "application/json", body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return failed(fmt.Sprintf("the answer of the gate cannot be read: %v", err),
			"is it of another version? `rcptgate version`")
	}
	return nil
}

// send sends a request and returns the body of the answer, to be closed. A problem that comes back
// is the error.
func (c *controller) send(
	method, path, kind, accept string, body io.Reader,
) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(c.ctx, method, "http://rcptgate"+path, body)
	if err != nil {
		return nil, failed(err.Error(), "")
	}
	if body != nil {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("Accept", accept)
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, failed(fmt.Sprintf("the gate does not answer: %v", rootCause(err)),
			"does it run? see its log")
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer func() { _ = answer.Body.Close() }()
	var p web.Problem
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&p); err != nil || p.Detail == "" {
		return nil, failed("the gate answers "+answer.Status,
			"is it of another version? `rcptgate version`")
	}
	return nil, &refusal{failure: problemFailure(&p), problem: &p}
}

// refusal is a failure that has come back as a problem.
type refusal struct {
	*failure

	problem *web.Problem
}

// Unwrap is what is printed.
func (r *refusal) Unwrap() error { return r.failure }

// problemFailure is a problem for the person who gave the command.
func problemFailure(p *web.Problem) *failure {
	if p.Status == http.StatusBadRequest {
		return usageError(p.Detail, p.Hint)
	}
	return failed(p.Detail, p.Hint)
}

// pipeListener takes connections from the process itself.
type pipeListener struct {
	conns chan net.Conn
	ended chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept waits for the next dial.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. It is called once: by http.Server, which sees to it.
func (l *pipeListener) Close() error { close(l.ended); return nil }

// Addr is a name only.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "in process", Net: "unix"} }
