package mxsim

import (
	"maps"
	"strings"
)

// Tally is what clients did at a host or at a site.
type Tally struct {
	Connections int
	Quits       int // connections that the client ended with QUIT
	Dropped     int // connections that the host ended
	Rude        int // connections that the client ended without QUIT
	Open        int
	Rcpts       int // RCPT commands
	Refused     int // of them answered with 4xx or 5xx
	Messages    int // DATA commands that were answered with 354
}

func (t Tally) plus(u Tally) Tally {
	return Tally{
		Connections: t.Connections + u.Connections, Quits: t.Quits + u.Quits,
		Dropped: t.Dropped + u.Dropped, Rude: t.Rude + u.Rude, Open: t.Open + u.Open,
		Rcpts: t.Rcpts + u.Rcpts, Refused: t.Refused + u.Refused, Messages: t.Messages + u.Messages,
	}
}

// Tally counts what all clients did at a host.
func (r Record) Tally() Tally {
	t := Tally{Connections: len(r.Conns), Open: r.Open, Rude: len(r.WithoutQuit())}
	for _, c := range r.Conns {
		t.Quits += btoi(c.Quit)
		t.Dropped += btoi(c.Dropped)
		for _, cmd := range c.Commands {
			switch cmd.Stage {
			case Rcpt:
				t.Rcpts++
				t.Refused += btoi(!strings.HasPrefix(cmd.Reply, "2"))
			case Data:
				t.Messages += btoi(strings.HasPrefix(cmd.Reply, "354"))
			default:
			}
		}
	}
	return t
}

// Tally counts what all clients did at each host, by its name.
func (w *World) Tally() map[string]Tally {
	w.mu.Lock()
	hosts := maps.Clone(w.names)
	w.mu.Unlock()
	tallies := make(map[string]Tally, len(hosts))
	for _, h := range hosts {
		tallies[h.Name] = h.Record().Tally()
	}
	return tallies
}

// Sum adds tallies up.
func Sum(tallies map[string]Tally) Tally {
	var sum Tally
	for _, t := range tallies {
		sum = sum.plus(t)
	}
	return sum
}
