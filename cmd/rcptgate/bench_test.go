package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// BenchmarkGate sends mail through a whole gate in this process, with 20 sessions: a message is an
// operation. Allocations and profiles include the two ends, which allocate next to nothing.
// `rcptgate bench` tells how the gate compares; this tells where its time goes:
//
//	go test -run='^$' -bench=Gate/1_MB -benchmem -cpuprofile=cpu.out ./cmd/rcptgate
func BenchmarkGate(b *testing.B) {
	lab := &benchLab{world: benchWorld()}
	b.Cleanup(lab.world.Close)
	var err error
	if lab.at, err = lab.world.Listen(b.Context()); err != nil {
		b.Fatal(err)
	}
	g := serveInProcess(b, lab)
	if err := lab.warmUp(b.Context(), g); err != nil {
		b.Fatal(err)
	}
	recipients := bench.Recipients(benchRecipients, benchDomains, benchDomain)
	run := func(name string, w bench.Work) {
		b.Run(strings.ReplaceAll(name, ",", ""), func(b *testing.B) {
			b.ReportAllocs()
			// Not b.Loop: the messages are spread over sessions that run side by side.
			r := bench.Load{
				Work: w, Address: g.address, Recipients: recipients, Messages: int64(b.N),
			}.Run(b.Context())
			if r.Errors > 0 {
				b.Fatal(r.First)
			}
			b.SetBytes(int64(w.Size))
		})
	}
	for _, goal := range benchGoals() {
		run(goal.name, goal.work())
	}
	run("warm recipients", benchWarm())
}

// serveInProcess runs serve as the command does, until the end of the benchmark.
func serveInProcess(b *testing.B, lab *benchLab) *benchGate {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sink := make(chan error, 1)
	go func() { sink <- bench.Sink(ctx, l) }()
	g := &benchGate{config: filepath.Join(b.TempDir(), "gate.toml")}
	if g.address, err = freeAddress(ctx); err != nil {
		b.Fatal(err)
	}
	if g.http, err = freeAddress(ctx); err != nil {
		b.Fatal(err)
	}
	if err := lab.write(g, l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	// The signal must not end this process, whoever gets it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	ended := make(chan int, 1)
	go func() { ended <- run([]string{"serve", "--config", g.config}, nil, nowhere, nowhere) }()
	b.Cleanup(func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			b.Error(err)
		}
		if code := <-ended; code != exitDone {
			b.Errorf("serve ended with %d", code)
		}
		signal.Stop(signals)
		cancel()
		if err := <-sink; err != nil {
			b.Error(err)
		}
		_ = nowhere.Close()
	})
	if err := waitListening(ctx, g.address); err != nil {
		b.Fatal(err)
	}
	return g
}
