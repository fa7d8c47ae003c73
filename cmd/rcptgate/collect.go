package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent trades memory for time: what is alive is a few megabytes, and collecting each time
	// it has doubled would be many times a second under load.
	gcPercent = 300
	quietTick = 250 * time.Millisecond
	quietRate = 256 << 10 // octets allocated in a tick: less is quiet
	// worthwhile is the garbage for which a quiet gate collects at once.
	worthwhile = 2 << 20
)

// collect lets the garbage collector run less often under load, and makes up for it when the load
// is over: then the memory goes back to the system at once, instead of after minutes. It runs
// until ctx ends. GOGC in the environment switches it off.
func collect(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	read := func() uint64 {
		metrics.Read(samples)
		return samples[0].Value.Uint64()
	}
	last := read()
	collected := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := read()
		if now-last < quietRate && now-collected > worthwhile {
			debug.FreeOSMemory()
			now = read()
			collected = now
		}
		last = now
	}
}
