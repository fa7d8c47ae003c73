package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
)

// The packages that log, as they stand in [log.levels] and, as "pkg", in each of their lines.
const (
	logProxy  = "proxy"
	logRelay  = "relay"
	logPolicy = "policy"
	logVerify = "verify"
	logProbe  = "probe"
	logDNS    = "dns"
)

// newLogger is the log of serve: one line an event, times in the local zone. What a package logs
// goes by that package's level.
func newLogger(w io.Writer, cfg config.Log) *slog.Logger {
	log, _ := newLeveledLogger(w, cfg)
	return log
}

// newLeveledLogger also returns the levels, which may change while the log is in use.
func newLeveledLogger(w io.Writer, cfg config.Log) (*slog.Logger, *logLevels) {
	levels := new(logLevels)
	levels.set(cfg)
	handler := newLineHandler(w, cfg.Format == "json")
	return slog.New(&levelHandler{Handler: handler, levels: levels}), levels
}

// logFor is the log of one package.
func logFor(log *slog.Logger, pkg string) *slog.Logger { return log.With("pkg", pkg) }

// logLevels are the levels of all packages: "" is that of what belongs to none.
type logLevels struct {
	current atomic.Pointer[map[string]slog.Level]
}

func (l *logLevels) set(cfg config.Log) {
	levels := map[string]slog.Level{"": slog.LevelInfo}
	for pkg, name := range map[string]string{
		"": cfg.Level, logProxy: cfg.Levels.Proxy, logRelay: cfg.Levels.Relay,
		logPolicy: cfg.Levels.Policy, logVerify: cfg.Levels.Verify, logProbe: cfg.Levels.Probe,
		logDNS: cfg.Levels.DNS,
	} {
		var level slog.Level
		if level.UnmarshalText([]byte(name)) == nil { // config allows no other names; "" is not one
			levels[pkg] = level
		}
	}
	l.current.Store(&levels)
}

func (l *logLevels) of(pkg string) slog.Level {
	levels := *l.current.Load()
	if level, ok := levels[pkg]; ok {
		return level
	}
	return levels[""]
}

// levelHandler lets a line pass by the level of its package.
type levelHandler struct {
	slog.Handler
	levels *logLevels
	pkg    string
}

// Enabled goes by the package's level.
func (h *levelHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.levels.of(h.pkg)
}

// HandleAttrs is Handle for those who would only make a record for it.
func (h *levelHandler) HandleAttrs(
	ctx context.Context, at time.Time, level slog.Level, message string, attrs []slog.Attr,
) error {
	if lines, ok := h.Handler.(*lineHandler); ok {
		return lines.HandleAttrs(ctx, at, level, message, attrs)
	}
	r := slog.NewRecord(at, level, message, 0)
	r.AddAttrs(attrs...)
	return h.Handle(ctx, r)
}

// WithAttrs learns from "pkg" whose log this is.
func (h *levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	pkg := h.pkg
	for _, attr := range attrs {
		if attr.Key == "pkg" {
			pkg = attr.Value.String()
		}
	}
	return &levelHandler{Handler: h.Handler.WithAttrs(attrs), levels: h.levels, pkg: pkg}
}

// WithGroup keeps the package.
func (h *levelHandler) WithGroup(name string) slog.Handler {
	return &levelHandler{Handler: h.Handler.WithGroup(name), levels: h.levels, pkg: h.pkg}
}
