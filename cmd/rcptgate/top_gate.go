package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy/journal"
)

const (
	// topAnswer is how long the gate has for an answer.
	topAnswer = 5 * time.Second
	// topRefusals is how many refusals are kept, and asked for at the beginning.
	topRefusals = 500
	// topMinutes is what the history is asked for: an hour, and the minute that goes on.
	topMinutes = 61
	// topSenders is how many senders are asked for, the worst first.
	topSenders = 200
)

// topView is one of the views, in the order of their keys.
type topView int

const (
	topNow topView = iota
	topProviders
	topSendersView
	topRefusalsView
	topHealth
	topViews // how many there are
)

// topAnswers is what the gate answered at one time. What was not asked for is nil.
type topAnswers struct {
	at        time.Time
	status    *web.StatusAnswer
	history   *web.HistoryAnswer
	providers *web.Providers
	senders   *web.Senders
	// notes say why a view has nothing.
	notes [topViews]string
	// err: the gate has not answered.
	err error
}

// topGate asks the running gate.
type topGate struct{ control *controller }

// openTopGate finds the control socket of a configuration. That nobody answers there is no fault yet.
func openTopGate(ctx context.Context, cfg *config.Config) (*topGate, error) {
	path, ok := cfg.ControlSocket().Unix()
	if !ok {
		return nil, failed("the configuration has no control socket to ask the gate at",
			"set policy.state_directory to a directory, such as /var/lib/rcptgate, or http.control_socket")
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	switch {
	case err == nil:
		_ = conn.Close() // it was only a trial
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, os.ErrInvalid):
		return nil, failed(fmt.Sprintf("cannot open the control socket %s: %v", path, rootCause(err)),
			"run this as the user that runs rcptgate, such as `sudo -u rcptgate rcptgate top`")
	}
	control := &controller{ctx: ctx}
	control.use(dial)
	return &topGate{control}, nil
}

func (g *topGate) close() {
	for _, end := range g.control.ends {
		_ = end() // of connections that nobody waits for
	}
}

// with is the same gate for requests under another context.
func (g *topGate) with(ctx context.Context) *controller {
	return &controller{ctx: ctx, http: g.control.http}
}

// ask asks for the state of the gate, and for what views need.
func (g *topGate) ask(ctx context.Context, views ...topView) topAnswers {
	ctx, cancel := context.WithTimeout(ctx, topAnswer)
	defer cancel()
	c := g.with(ctx)
	a := topAnswers{at: time.Now(), status: &web.StatusAnswer{}}
	if a.err = c.ask(http.MethodGet, "/v1/status", nil, a.status); a.err != nil {
		return a
	}
	for _, view := range views {
		var (
			path string
			err  error
		)
		switch view {
		case topNow:
			path, a.history = "/v1/history", &web.HistoryAnswer{}
			err = c.ask(http.MethodPost, path, web.HistoryRequest{Points: topMinutes}, a.history)
		case topProviders:
			path, a.providers = "/v1/providers", &web.Providers{}
			err = c.ask(http.MethodGet, path, nil, a.providers)
		case topSendersView:
			path, a.senders = "/v1/senders/search", &web.Senders{}
			err = c.ask(http.MethodPost, path, web.SearchSenders{Limit: topSenders}, a.senders)
		default: // the stream tells of refusals, the state of health
		}
		if err == nil {
			continue
		}
		if a.notes[view], a.err = topNote(path, err); a.err != nil {
			return a
		}
	}
	return a
}

// topNote is why the gate does not tell something, unless it has not answered at all.
func topNote(path string, err error) (string, error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		return "", err
	}
	p := refused.problem
	if p.Status == http.StatusNotFound || p.Status == http.StatusMethodNotAllowed {
		return "this gate is older than this command: it does not know " + path +
			"; restart it with the same version", nil
	}
	return p.Error(), nil
}

// recent asks for the last refusals, the oldest first.
func (g *topGate) recent(ctx context.Context) ([]journal.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, topAnswer)
	defer cancel()
	var found web.Decisions
	asked := topSearch()
	asked.Limit = topRefusals
	if err := g.with(ctx).ask(http.MethodPost, "/v1/decisions/search", asked, &found); err != nil {
		return nil, err
	}
	list := make([]journal.Entry, 0, len(found.Entries))
	for i := range found.Entries {
		list = append(list, found.Entries[len(found.Entries)-1-i])
	}
	return list, nil
}

// topSearch is the refusals of recipients.
func topSearch() web.SearchDecisions {
	return web.SearchDecisions{Kind: journal.KindRecipient, Refused: true}
}
