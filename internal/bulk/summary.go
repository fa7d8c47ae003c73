package bulk

import (
	"cmp"
	"slices"

	"github.com/rcptgate/rcptgate/verify"
)

// Summary counts the answers of different addresses.
type Summary struct {
	Verdicts  map[verify.Verdict]int
	Reasons   []Count // by verdict and reason, the most first
	Providers []Count // the most first; "" is where it is not known
	// Stopped are the domains of which nobody else was asked about, because too many of those that
	// were do not exist. GivenUp are the sites and domains that let nobody pass.
	Stopped, GivenUp []string
}

// Count is how many addresses have something in common.
type Count struct {
	Verdict verify.Verdict
	Reason  verify.Reason
	Name    string
	N       int
}

// Summary sums up. Addresses without an answer do not count.
func (r *Run) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Summary{
		Verdicts: make(map[verify.Verdict]int),
		Stopped:  slices.Clone(r.turns.stopped), GivenUp: slices.Clone(r.turns.given),
	}
	reasons, providers := make(map[Count]int), make(map[Count]int)
	for i := range r.state.answers {
		a := &r.state.answers[i]
		if a.Verdict == "" {
			continue
		}
		s.Verdicts[a.Verdict]++
		reasons[Count{Verdict: a.Verdict, Reason: a.Reason}]++
		providers[Count{Name: a.Provider}]++
	}
	s.Reasons, s.Providers = sorted(reasons), sorted(providers)
	slices.Sort(s.Stopped)
	slices.Sort(s.GivenUp)
	s.GivenUp = slices.Compact(s.GivenUp)
	return s
}

func sorted(counts map[Count]int) []Count {
	all := make([]Count, 0, len(counts))
	for c, n := range counts {
		c.N = n
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Verdict, b.Verdict),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Name, b.Name))
	})
	return all
}
