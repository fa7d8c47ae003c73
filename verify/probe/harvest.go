package probe

import (
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/limit"
)

// Whoever may send through the gate could have it find out which mailboxes a domain has, by asking
// for a dictionary of names, and the domain's servers would see us as the harvester and block us. So
// the recipients of one domain that are refused are counted, and too many of them end the asking for
// a while. Mail to people is not met by it: each recipient that is accepted makes up for half a
// refused one, so that a list of which a third is dead is asked for at any speed.
//
// refusalCost is the events of the Limiter that a refusal takes; an acceptance gives one back.
const refusalCost = 2

// refusalRate lets burst recipients in a row be refused, and then one a second. Below 0 is no limit.
func refusalRate(burst int) limit.Rate {
	if burst < 0 {
		return limit.Rate{}
	}
	return limit.Rate{Count: refusalCost, Per: time.Second, Burst: refusalCost * burst}
}

// harvested reports whether so many recipients of domain were refused lately that it is not asked.
func (p *Pool) harvested(domain string) bool {
	return p.refusals.Wait(domain, time.Now(), refusalCost) > 0
}

// count keeps the account of domain after an answer to RCPT. A 4yz says nothing either way.
func (p *Pool) count(domain string, answer esmtp.Reply) {
	switch {
	case answer.Permanent():
		p.refusals.Charge(domain, time.Now(), refusalCost)
	case answer.Positive():
		p.refusals.Charge(domain, time.Now(), -1)
	}
}
