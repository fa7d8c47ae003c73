package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

// logBoth writes a line with the gate's handler and with slog's.
func logBoth(json bool, write func(slog.Handler)) (ours, theirs string) {
	var a, b bytes.Buffer
	write(newLineHandler(&a, json))
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	if json {
		write(slog.NewJSONHandler(&b, options))
	} else {
		write(slog.NewTextHandler(&b, options))
	}
	return a.String(), b.String()
}

func checkLine(t *testing.T, write func(slog.Handler)) {
	t.Helper()
	for _, json := range []bool{false, true} {
		if ours, theirs := logBoth(json, write); ours != theirs {
			t.Errorf("json %v\n got %q\nwant %q", json, ours, theirs)
		}
	}
}

// oddStrings are those that a format may have to write in another way.
var oddStrings = []string{
	"", "word", "two words", `"quoted"`, `back\slash`, "a=b", "tab\t", "line\n", "nul\x00", "\x7f", "\xff",
	"b…@example.com", "…", "ünïcode", "日本語", "\u00a0", "\u2028", "\u202e", "\ufffd", "<a&b>", "a/b", "'", "`", "{}",
}

// TestLineHandler: every line is the one that slog would have written.
func TestLineHandler(t *testing.T) {
	now := time.Now()
	times := []time.Time{
		now, now.UTC(), now.Truncate(time.Second), now.Truncate(time.Second).Add(120 * time.Millisecond),
		now.Truncate(time.Second).Add(1),
		{},
		now.Add(time.Hour),
	}
	values := []slog.Value{
		slog.IntValue(-1), slog.Int64Value(math.MinInt64), slog.Uint64Value(math.MaxUint64),
		slog.BoolValue(true), slog.BoolValue(false), slog.DurationValue(time.Second), slog.TimeValue(now),
		slog.AnyValue(errors.New("an error")), slog.AnyValue([]string{"a"}), slog.AnyValue(nil),
		slog.GroupValue(slog.String("a", "b"), slog.Int("c", 1)), slog.GroupValue(),
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, 0.95, 0.1, 1e-4, 9.9e-5, 1e-7, 123456.5, 1e6, 1e21, -0.5,
		math.NaN(), math.Inf(1), math.SmallestNonzeroFloat64,
	} {
		values = append(values, slog.Float64Value(f))
	}
	for _, s := range oddStrings {
		values = append(values, slog.StringValue(s))
	}
	for _, at := range times {
		checkLine(t, func(h slog.Handler) { _ = h.Handle(context.Background(), slog.NewRecord(at, slog.LevelWarn, "m", 0)) })
	}
	for _, v := range values {
		checkLine(t, func(h slog.Handler) {
			r := slog.NewRecord(now, slog.LevelInfo+1, "two words", 0)
			r.AddAttrs(slog.String("first", "x"), slog.Attr{Key: "key", Value: v}, slog.Int("last", 1))
			_ = h.Handle(context.Background(), r)
			with := h.WithAttrs(nil).WithAttrs([]slog.Attr{slog.String("pkg", "proxy")}).
				WithAttrs([]slog.Attr{{Key: "key", Value: v}, slog.Int("n", 2)})
			_ = with.Handle(context.Background(), r)
			_ = with.WithGroup("g").Handle(context.Background(), r)
			_ = with.WithGroup("g").WithAttrs([]slog.Attr{{Key: "key", Value: v}}).Handle(context.Background(), r)
		})
	}
	for _, s := range oddStrings {
		checkLine(t, func(h slog.Handler) {
			r := slog.NewRecord(now, slog.LevelDebug, s, 0)
			r.AddAttrs(slog.Int(s, 1), slog.Attr{})
			_ = h.Handle(context.Background(), r)
		})
	}
}

// FuzzLineHandler: whatever stands in a line, it is slog's.
func FuzzLineHandler(f *testing.F) {
	for i, s := range oddStrings {
		f.Add(s, s, int64(i), float64(i)/7)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, key, value string, i int64, x float64) {
		checkLine(t, func(h slog.Handler) {
			r := slog.NewRecord(now.Add(time.Duration(i)), slog.LevelInfo, value, 0)
			r.AddAttrs(slog.String(key, value), slog.Int64("i", i), slog.Float64("x", x))
			_ = h.Handle(context.Background(), r)
			_ = h.WithAttrs([]slog.Attr{slog.String("k", value), slog.Float64(key, x)}).Handle(context.Background(), r)
		})
	})
}

// TestLinesInTurn: lines have nothing of the lines before, however much they are like them.
func TestLinesInTurn(t *testing.T) {
	values := []slog.Value{
		slog.IntValue(0), slog.Uint64Value(0), slog.BoolValue(false), slog.Float64Value(0),
		slog.Float64Value(math.Copysign(0, -1)), slog.Float64Value(math.NaN()), slog.Float64Value(0.5),
		slog.IntValue(1), slog.Uint64Value(1), slog.BoolValue(true), slog.Float64Value(1),
		slog.StringValue(""), slog.StringValue("1"), slog.StringValue("true"),
		slog.StringValue(strings.Repeat("x", 200)), slog.StringValue("two words"),
		slog.StringValue("tab\t"), slog.DurationValue(1),
	}
	keys := []string{"a", "b", "a b", ""}
	now := time.Now()
	checkLine(t, func(h slog.Handler) {
		other := h.WithAttrs([]slog.Attr{slog.String("pkg", "other")})
		for i := range 20_000 {
			r := slog.NewRecord(now, slog.LevelInfo, "m", 0)
			for k := range 1 + i%maxPlain {
				n := (i + 1) * (k + 7) * 31 / 5 // some as before, some not
				r.AddAttrs(slog.Attr{Key: keys[n/90%len(keys)], Value: values[n/20%len(values)]})
			}
			if i%3 == 0 {
				_ = other.Handle(context.Background(), r)
			} else {
				_ = h.Handle(context.Background(), r)
			}
		}
	})
}

// lineAttrs are those of an ordinary line about a recipient.
func lineAttrs() []slog.Attr {
	return []slog.Attr{
		slog.String("recipient", "u…@example.com"), slog.String("action", "accept"),
		slog.String("rule", "builtin-accept"), slog.String("verdict", "deliverable"),
		slog.String("reason", "mailbox_exists"), slog.Float64("confidence", 0.95),
		slog.String("mx", "mx1.example.com"), slog.String("stage", "rcpt"),
		slog.Bool("cached", true), slog.Int64("wait_ms", 0),
	}
}

// TestLineWithoutGarbage: an ordinary line allocates nothing, and is not left to slog's handler.
func TestLineWithoutGarbage(t *testing.T) {
	for _, json := range []bool{false, true} {
		h := newLineHandler(io.Discard, json)
		attrs, now := lineAttrs(), time.Now()
		if n := testing.AllocsPerRun(100, func() {
			if done, err := h.write(now, slog.LevelInfo, "recipient", attrs); !done || err != nil {
				t.Fatal("not written: ", err)
			}
		}); n != 0 {
			t.Errorf("json %v: %v allocations a line", json, n)
		}
	}
}

// BenchmarkLogLine is the line of a recipient like the one before, but for its address and server.
func BenchmarkLogLine(b *testing.B) {
	attrs := lineAttrs()
	next := func(i int) {
		attrs[0] = slog.String("recipient", [...]string{"a…@d1.example.com", "b…@d2.example.com"}[i&1])
		attrs[6] = slog.String("mx", [...]string{"mx1.example.com", "mx2.example.com", "mx3.example.com"}[i%3])
	}
	b.Run("ours", func(b *testing.B) {
		h, ctx, i := newLineHandler(newLogWriter(io.Discard), false), context.Background(), 0
		b.ReportAllocs()
		for b.Loop() {
			next(i)
			i++
			_ = h.HandleAttrs(ctx, time.Now(), slog.LevelInfo, "recipient", attrs)
		}
	})
	b.Run("slog", func(b *testing.B) {
		l, ctx, i := slog.New(slog.NewTextHandler(newLogWriter(io.Discard), nil)), context.Background(), 0
		b.ReportAllocs()
		for b.Loop() {
			next(i)
			i++
			l.LogAttrs(ctx, slog.LevelInfo, "recipient", attrs...)
		}
	})
}
