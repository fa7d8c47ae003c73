package senders

import (
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
	"unsafe"
)

// TestRecent holds the memory against a map, with as many recipients as it has room for: each
// counts again when it has left the window, and not before.
func TestRecent(t *testing.T) {
	type outcome struct {
		name    int
		invalid bool
	}
	rnd, seed := rand.New(rand.NewPCG(3, 4)), maphash.MakeSeed()
	var r recent
	hours, days := map[outcome]int64{}, map[outcome]int64{}
	now := start()
	for range 20_000 {
		now = now.Add(time.Duration(rnd.IntN(200)) * time.Second)
		c := clockAt(now)
		o := outcome{rnd.IntN(8), rnd.IntN(2) == 0}
		last, known := hours[o]
		wantHour := !known || c.step[hour]-last >= slots
		last, known = days[o]
		wantDay := !known || c.step[day]-last >= slots
		inHour, inDay := r.note(maphash.String(seed, strconv.Itoa(o.name)), o.invalid, c, 32)
		if inHour != wantHour || inDay != wantDay {
			t.Fatalf("%v: %v, %v; want %v, %v", o, inHour, inDay, wantHour, wantDay)
		}
		if wantHour {
			hours[o] = c.step[hour]
		}
		if wantDay {
			days[o] = c.step[day]
		}
	}
}

// TestRecentRoom: most of the room is of use.
func TestRecentRoom(t *testing.T) {
	var r recent
	rnd := rand.New(rand.NewPCG(7, 8))
	hashes := make([]uint64, 100)
	for i := range hashes {
		hashes[i] = rnd.Uint64()
		r.note(hashes[i], false, clockAt(start()), 32)
	}
	again := 0
	for _, h := range hashes {
		if inHour, _ := r.note(h, false, clockAt(start()), 32); inHour {
			again++
		}
	}
	if again > 0 {
		t.Errorf("%d of %d are forgotten, with room for %d", again, len(hashes), validLines*len(line{}))
	}
}

// TestRecentBounded: a flood of recipients stays within its room, and one of valid recipients does
// not displace the invalid.
func TestRecentBounded(t *testing.T) {
	var r recent
	seed, c := maphash.MakeSeed(), clockAt(start())
	note := func(name string, invalid bool) bool {
		inHour, inDay := r.note(maphash.String(seed, name), invalid, c, 32)
		if inHour != inDay {
			t.Fatal("within one step both windows are the same")
		}
		return inHour
	}
	for i := range 10_000 {
		note("v"+strconv.Itoa(i), false)
	}
	if n := len(r.lines); n != validLines {
		t.Errorf("%d lines of valid recipients", n)
	}
	for i := range 50 {
		note("i"+strconv.Itoa(i), true)
	}
	for i := range 10_000 {
		note("w"+strconv.Itoa(i), false)
	}
	again := 0
	for i := range 50 {
		if note("i"+strconv.Itoa(i), true) {
			again++
		}
	}
	if again > 0 {
		t.Errorf("%d of 50 invalid recipients are forgotten", again)
	}
	for i := range 10_000 {
		note("j"+strconv.Itoa(i), true)
	}
	if n := len(r.lines) * int(unsafe.Sizeof(line{})); n != 2048 {
		t.Errorf("%d octets", n)
	}
}
