package web_test

import (
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// BenchmarkRecipient is what the metrics cost for each recipient, on all processors.
func BenchmarkRecipient(b *testing.B) {
	m, err := web.NewMetrics(web.Build{}, web.Sources{})
	if err != nil {
		b.Fatal(err)
	}
	reply := esmtp.Reply{Code: 250}
	for _, c := range []struct {
		name string
		took time.Duration
	}{{"known", 0}, {"asked", 200 * time.Millisecond}} {
		d := policy.Decision{
			Result: &verify.Result{
				Verdict: verify.Deliverable, Reason: verify.MailboxExists, Provider: "google", Cached: true,
			},
			Action: policy.Accept, Rule: "built-in: everything else", Elapsed: c.took,
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m.Recipient(&d, true, reply)
				}
			})
		})
	}
}
