package dns

import (
	"slices"
	"testing"
	"testing/synctest"
)

// TestAskedIsTold: what the servers were asked, and not what the cache knew.
func TestAskedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{reply: zone(t, "a.test. 300 IN MX 10 mx.test.", "mx.test. 300 IN A 5.9.0.1")}
		r := s.resolver(t)
		var got []string
		r.asked = func(qtype string, status Status) { got = append(got, qtype+" "+status.String()) }
		r.MX(t.Context(), "a.test")
		r.MX(t.Context(), "a.test")
		r.TXT(t.Context(), "a.test")
		r.MX(t.Context(), "none.test")
		synctest.Wait()
		if want := []string{"MX NOERROR", "TXT NODATA", "MX NXDOMAIN"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
