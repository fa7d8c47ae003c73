package verify_test

import (
	"fmt"
	"testing"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// BenchmarkCached is a verdict from memory, by as many goroutines as there are CPUs.
func BenchmarkCached(b *testing.B) {
	w := newWorld(b, verify.Config{}, mxsim.Config{}, site("example.com", mxsim.CatchAll()))
	defer w.close()
	questions := make([]verify.Question, 1000)
	for i := range questions {
		questions[i] = w.question(fmt.Sprintf("user%d@example.com", i))
		w.v.Verify(b.Context(), questions[i])
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if r := w.v.Verify(b.Context(), questions[i%len(questions)]); !r.Cached {
				b.Errorf("%s: %s", r.Address, r.Reason)
			}
		}
	})
}

// BenchmarkProbed is a verdict by a probe of a server in memory, over kept sessions.
func BenchmarkProbed(b *testing.B) {
	w := newWorld(b, verify.Config{CacheOctets: 4 << 10}, mxsim.Config{}, site("example.com", mxsim.CatchAll()))
	defer w.close()
	q := w.question("user@example.com")
	b.ReportAllocs()
	for b.Loop() {
		w.v.Forget(q.Address)
		if r := w.v.Verify(b.Context(), q); r.Verdict != verify.Deliverable {
			b.Fatalf("%s: %s", r.Address, r.Reason)
		}
	}
}
