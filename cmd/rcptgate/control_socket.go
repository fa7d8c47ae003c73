package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/rcptgate/rcptgate/internal/config"
)

// listenControl opens the control socket, for its owner alone (0600): who may open it may do
// everything. An empty endpoint gives nil.
func listenControl(ctx context.Context, endpoint config.Endpoint) (net.Listener, error) {
	if endpoint == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	path, ok := endpoint.Unix()
	if !ok {
		return nil, usageError(fmt.Sprintf("http.control_socket: %q is no Unix socket", string(endpoint)),
			`write "unix:/run/rcptgate/control.sock"; for TCP there is http.listen with http.tokens_file`)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, listenFailure(endpoint, err)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, failed(fmt.Sprintf("cannot listen on %s: another file is in its place", endpoint),
			"remove it, or set http.control_socket")
	}
	// Between bind and chmod anybody could connect: so it is made where nobody can look, and moved.
	hidden, err := os.MkdirTemp(filepath.Dir(path), ".c")
	if err != nil {
		return nil, listenFailure(endpoint, err)
	}
	defer func() { _ = os.RemoveAll(hidden) }()
	made := filepath.Join(hidden, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", made)
	if err != nil {
		return nil, listenFailure(endpoint, err)
	}
	unix, ok := l.(*net.UnixListener)
	if ok {
		unix.SetUnlinkOnClose(false) // it would look at its old place
	}
	own := &controlListener{Listener: l, path: path}
	if err = os.Chmod(made, 0o600); err == nil {
		own.file, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = l.Close()
		return nil, listenFailure(endpoint, err)
	}
	return own, nil
}

// controlListener removes its file when it is closed.
type controlListener struct {
	net.Listener

	path string
	file os.FileInfo
	once sync.Once
}

// Close closes the listener and removes its file, if it is still its own.
func (l *controlListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return err
}

// Addr is where clients find it.
func (l *controlListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
