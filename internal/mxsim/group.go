package mxsim

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// group owns the listeners, connections and goroutines of a server and ends them together.
type group struct {
	groupMu sync.Mutex
	cancel  context.CancelFunc
	ctx     context.Context // the life of the server, not of a call
	open    map[io.Closer]struct{}
	wg      sync.WaitGroup
}

func (g *group) start() {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(context.Background())
		g.open = make(map[io.Closer]struct{})
	}
}

func (g *group) release(c io.Closer) {
	_ = c.Close()
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	delete(g.open, c)
}

// serve is run for a connection.
func (g *group) serve(conn net.Conn, f func(ctx context.Context)) { g.run(conn, f) }

// hold makes stop close c.
func (g *group) hold(c io.Closer) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	if g.ctx == nil || g.ctx.Err() != nil {
		_ = c.Close()
		return
	}
	g.open[c] = struct{}{}
}

// run runs f in a goroutine of the group; c, if there is one, is closed like a connection.
func (g *group) run(c io.Closer, f func(ctx context.Context)) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	if g.ctx == nil || g.ctx.Err() != nil {
		if c != nil {
			_ = c.Close()
		}
		return
	}
	if c != nil {
		g.open[c] = struct{}{}
	}
	g.wg.Go(func() {
		if c != nil {
			defer g.release(c)
		}
		f(g.ctx)
	})
}

// accept serves the connections of a listener until stop.
func (g *group) accept(l net.Listener, each func(net.Conn)) {
	g.groupMu.Lock()
	defer g.groupMu.Unlock()
	if g.ctx == nil || g.ctx.Err() != nil {
		_ = l.Close()
		return
	}
	g.open[l] = struct{}{}
	g.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			each(conn)
		}
	})
}

func (g *group) stop() {
	g.groupMu.Lock()
	if g.ctx == nil {
		g.groupMu.Unlock()
		return
	}
	g.cancel()
	for c := range g.open {
		_ = c.Close()
	}
	g.groupMu.Unlock()
	g.wg.Wait()
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
