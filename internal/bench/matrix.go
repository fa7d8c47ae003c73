package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Target is a server to be measured.
type Target struct {
	Name    string
	Address string
	Tree    Tree // PID 0: its CPU time is not read
	Refused int  // see Load
}

// Cell is one kind of work and what is measured on it.
type Cell struct {
	Work
	Recipients []string
	Duration   time.Duration // of one round
	Without    []string      // names of targets to leave out
}

// Matrix measures targets side by side: in each round every cell goes to every target, in an order
// that changes from round to round. A short round goes before, to warm up, and does not count.
type Matrix struct {
	Targets []Target
	Rounds  int
	Note    func(string) // told about what happens, for a person who waits; may be nil
}

// Sample is what one target did with one cell in one round.
type Sample struct {
	Rate     float64       // messages a second
	Rcpts    float64       // recipients a second
	CPU      time.Duration // of the target for one message
	Median   time.Duration // of one message
	P99      time.Duration
	Messages int64
	Errors   int64
}

// Samples are the rounds of one cell by the name of the target; every target that was measured has
// one for each round.
type Samples map[string][]Sample

// Run measures the cells. The result has one element for each.
func (m *Matrix) Run(ctx context.Context, cells []Cell) ([]Samples, error) {
	out := make([]Samples, len(cells))
	for i := range out {
		out[i] = make(Samples)
	}
	for round := range m.Rounds + 1 {
		if m.Note != nil && round > 0 {
			m.Note(fmt.Sprintf("round %d of %d", round, m.Rounds))
		}
		for i, c := range cells {
			for k := range m.Targets {
				t := &m.Targets[(k+round)%len(m.Targets)]
				if slices.Contains(c.Without, t.Name) {
					continue
				}
				s, err := m.measure(ctx, t, c, round)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.Name, t.Name, err)
				}
				if round > 0 {
					out[i][t.Name] = append(out[i][t.Name], s)
				}
			}
		}
	}
	return out, nil
}

const warmUp = 150 * time.Millisecond

func (m *Matrix) measure(ctx context.Context, t *Target, c Cell, round int) (Sample, error) {
	load := Load{
		Work: c.Work, Address: t.Address, Recipients: c.Recipients, Duration: c.Duration,
		Refused: t.Refused,
	}
	if round == 0 {
		load.Duration = min(load.Duration, warmUp)
	}
	before, err := t.cpu()
	if err != nil {
		return Sample{}, err
	}
	r := load.Run(ctx)
	after, err := t.cpu()
	switch {
	case ctx.Err() != nil:
		return Sample{}, ctx.Err()
	case err != nil:
		return Sample{}, err
	case r.Messages == 0:
		return Sample{}, fmt.Errorf("not one message went through: %w", r.First)
	case r.Errors > 0 && m.Note != nil:
		m.Note(fmt.Sprintf("%s: %s: %d errors, the first: %v", c.Name, t.Name, r.Errors, r.First))
	}
	return Sample{
		Rate:     float64(r.Messages) / r.Wall.Seconds(),
		Rcpts:    float64(r.Recipients) / r.Wall.Seconds(),
		CPU:      (after - before) / time.Duration(r.Messages),
		Median:   r.Message.Quantile(0.5),
		P99:      r.Message.Quantile(0.99),
		Messages: r.Messages, Errors: r.Errors,
	}, nil
}

func (t *Target) cpu() (time.Duration, error) {
	if t.Tree.PID == 0 {
		return 0, nil
	}
	return t.Tree.CPU()
}

// Ratio is a ratio of two targets over the rounds. The zero value says that there is none.
type Ratio struct{ Median, Min, Max float64 }

// Ratio compares a target with another on one number of their samples, round by round.
func (s Samples) Ratio(target, base string, of func(Sample) float64) Ratio {
	a, b := s[target], s[base]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if x := of(b[i]); x > 0 {
			ratios = append(ratios, of(a[i])/x)
		}
	}
	if len(ratios) == 0 {
		return Ratio{}
	}
	return Ratio{Median: Median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios)}
}

// Median of one number of a target's samples; 0 if it has none.
func (s Samples) Median(target string, of func(Sample) float64) float64 {
	values := make([]float64, 0, len(s[target]))
	for _, sample := range s[target] {
		values = append(values, of(sample))
	}
	return Median(values)
}

// ByRate and ByCPU pick a number of a Sample.
func ByRate(s Sample) float64 { return s.Rate }

// ByRcpts is recipients a second.
func ByRcpts(s Sample) float64 { return s.Rcpts }

// ByCPU is CPU seconds for one message.
func ByCPU(s Sample) float64 { return s.CPU.Seconds() }

// Median of values, 0 if there are none. The mean of the two in the middle for an even number.
func Median[T ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
