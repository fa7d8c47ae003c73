package verify

import "time"

// Mode is whether a Verifier asks mail servers now.
type Mode struct {
	// Passive: nobody is asked; verdicts come from memory and from deliveries.
	Passive bool
	// ByItself: the gate went passive because no mail server can be reached, and leaves it when a
	// trial, which the next recipient in ten minutes is, reaches one.
	ByItself bool
	Since    time.Time // with ByItself
	Detail   string    // why, and what to do, for people
}

// Mode tells whether mail servers are asked now, and if not, why.
func (v *Verifier) Mode() Mode {
	if v.settings.Load().cfg.Passive {
		return Mode{Passive: true, Detail: `verify.mode = "passive": no mail server is asked`}
	}
	open, since, detail := v.breaker.state()
	return Mode{Passive: open, ByItself: open, Since: since, Detail: detail}
}
