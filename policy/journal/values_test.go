package journal

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
)

// TestReuse: an item that is written over an older one has nothing of it.
func TestReuse(t *testing.T) {
	tx := transaction(t)
	full := suppressed(t, register.HardBounce)
	full.Marks, full.Headers, full.Result = []string{"risky"}, []string{"X-A: b"}, unknownMailbox()
	full.Hold, full.Override = held(t).Hold, overridden(t, register.AllowProvider, "google").Override
	full.Shadow, full.ShadowReply, full.Elapsed = policy.Reject, reply452, time.Second
	bare := &policy.Decision{Recipient: address(t, "anna@example.com"), Action: policy.Accept}
	c := newCommon()
	dirty := func() *item {
		it := new(item)
		it.decision(c, at, tx, full, reply452, true)
		it.message = &Message{Outcome: "passed"}
		return it
	}
	other := &policy.Transaction{}
	got, want := dirty(), new(item)
	got.decision(c, at, other, bare, ok250, false)
	want.decision(c, at, other, bare, ok250, false)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("a decision: %+v, want %+v", got, want)
	}
	m := &Message{Outcome: "refused", Reply: reply452, Ref: "AAAA2222"}
	got, want = dirty(), new(item)
	got.end(c, at, other, m)
	want.end(c, at, other, m)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("a message: %+v, want %+v", got, want)
	}
}

// TestViewStays: what a search reads is not written over while it reads, though all of it has gone.
func TestViewStays(t *testing.T) {
	j := open(t, Config{Recent: 100, Refusals: -1})
	tx := transaction(t)
	put := func(from int) {
		for n := range 3 * blockItems {
			j.record(tx, refused(t, "bob@example.net", fmt.Sprintf("R%d", from+n)))
			if n%50 == 0 {
				j.gather()
			}
		}
		j.gather()
	}
	put(0)
	last, seen := 3*blockItems, 0
	j.Each(Filter{}, func(e *Entry) bool {
		if seen%10 == 0 {
			put(1000)
		}
		last--
		seen++
		if want := fmt.Sprintf("R%d", last); e.Ref != want {
			t.Errorf("%s, want %s", e.Ref, want)
		}
		return true
	})
	if seen != 100 {
		t.Errorf("%d entries, want 100", seen)
	}
}
