package senders

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestTogether: recipients that are counted together count as they do one by one.
func TestTogether(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing": {}, "hygiene": enforce(),
		"limits": {Limits: []Limit{{Name: "l", Per: "sender", Recipients: []string{"40/hour"}}}, Hygiene: enforce().Hygiene},
	} {
		t.Run(name, func(t *testing.T) {
			single, together := newTable(t, cfg), newTable(t, cfg)
			together.seed = single.seed // who displaces whom depends on it
			rnd := rand.New(rand.NewPCG(1, 2))
			now := start()
			for message := range 400 {
				id := Identity{Sender: fmt.Sprintf("s%d@example.com", rnd.IntN(3)), Client: "192.0.2.1", SenderDomain: "example.com"}
				if rnd.IntN(3) == 0 {
					id = Identity{Login: "alice"}
				}
				now = now.Add(time.Duration(rnd.IntN(20)) * time.Second)
				var c Together
				together.Begin(&c, id, now)
				first := true
				for range rnd.IntN(150) {
					one, other := single.Take(id, first, now), c.Take(first)
					if one != other {
						t.Fatalf("message %d: alone %+v, together %+v", message, one, other)
					}
					if one.Kind != Free {
						continue
					}
					first = false
					rcpt, invalid := fmt.Sprintf("r%d@example.net", rnd.IntN(500)), rnd.IntN(30) == 0
					single.Checked(id, rcpt, invalid, now)
					c.Checked(rcpt, invalid)
				}
				c.Settle()
				if a, b := single.Counters(id, now), together.Counters(id, now); a != b {
					t.Fatalf("message %d: alone %+v, together %+v", message, a, b)
				}
			}
			if n := single.Len(); n != together.Len() || n < 2 {
				t.Errorf("%d keys alone, %d together", n, together.Len())
			}
		})
	}
}

// TestTogetherNil: a table that is not there lets everything pass.
func TestTogetherNil(t *testing.T) {
	var table *Table
	var c Together
	table.Begin(&c, Identity{Login: "a"}, start())
	if hold := c.Take(true); hold != (Hold{}) {
		t.Error(hold)
	}
	c.Checked("b@example.com", true)
	c.Settle()
}

func BenchmarkTogether(b *testing.B) {
	table, now := newTable(b, enforce()), start()
	id := Identity{Sender: "news@example.com", Client: "192.0.2.1", SenderDomain: "example.com"}
	rcpts := make([]string, 50)
	for i := range rcpts {
		rcpts[i] = fmt.Sprintf("r%d@example.net", i)
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			for i, rcpt := range rcpts {
				table.Take(id, i == 0, now)
				table.Checked(id, rcpt, false, now)
			}
		}
	})
	b.Run("together", func(b *testing.B) {
		var c Together
		for b.Loop() {
			table.Begin(&c, id, now)
			for i, rcpt := range rcpts {
				c.Take(i == 0)
				c.Checked(rcpt, false)
			}
			c.Settle()
		}
	})
}
