package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// What is alive is a few megabytes, and collecting each time it has doubled would be many times a
	// second under load: garbage may be up to spare octets, but no more than mostPercent of what is
	// alive and no less than leastPercent. A larger share would also spread what lives long, as
	// connections that wait, over memory that then cannot be given back.
	spare                     = 12 << 20
	leastPercent, mostPercent = 50, 300

	quietTick = 250 * time.Millisecond
	quietRate = 256 << 10 // octets allocated in a tick: less is quiet
	// worthwhile is the garbage for which a quiet gate collects at once.
	worthwhile = 2 << 20
)

// percent is the garbage that may be, of what is alive.
func percent(alive uint64) int {
	return int(min(max(spare*100/max(alive, 1), leastPercent), mostPercent))
}

// collect lets the garbage collector run less often under load, and makes up for it when the load
// is over: then the memory goes back to the system at once, instead of after minutes. It runs
// until ctx ends. GOGC in the environment switches it off.
func collect(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	now := mostPercent
	defer debug.SetGCPercent(debug.SetGCPercent(now))
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	m := newMeter()
	last := m.allocated()
	collected := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		total := m.allocated()
		// To set it stops the world for a moment: not for a little.
		if want := percent(m.alive()); want != now && (want < now*3/4 || want > now*4/3) {
			debug.SetGCPercent(want)
			now = want
		}
		if total-last < quietRate && total-collected > worthwhile {
			debug.FreeOSMemory()
			total = m.allocated()
			collected = total
		}
		last = total
	}
}

// meter reads what the garbage collector knows.
type meter struct{ samples []metrics.Sample }

func newMeter() *meter {
	return &meter{[]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}}
}

// allocated reads anew, and returns the octets allocated so far.
func (m *meter) allocated() uint64 {
	metrics.Read(m.samples)
	return m.samples[0].Value.Uint64()
}

// alive is what the last collection found alive, as of the last reading.
func (m *meter) alive() uint64 { return m.samples[1].Value.Uint64() }
