package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/feedback"
	"github.com/rcptgate/rcptgate/verify/health"
)

// checkProbing tells whether mail servers are asked, and who does not want to be.
func checkProbing(v *verification) web.Check {
	blocked, paused := paused(v)
	return probingCheck(v.verifier.Mode(), blocked, paused)
}

func probingCheck(mode verify.Mode, blocked, paused string) web.Check {
	check := web.Check{Part: "probing", Detail: "mail servers can be asked"}
	switch {
	case mode.ByItself:
		check.State = web.Degraded
		check.Detail = fmt.Sprintf("passive by itself, off since %s, unknown recipients pass: %s",
			dateOf(mode.Since), mode.Detail)
		return check
	case mode.Passive:
		check.Detail = "passive: no mail server is asked (verify.mode)"
		return check
	case blocked != "":
		check.State = web.Degraded
		check.Detail = blocked + " refused this host and is left alone; its unknown recipients pass"
		if paused != "" {
			check.Detail += "; paused too: " + paused
		}
	case paused != "":
		check.Detail += "; left alone for a while: " + paused
	}
	return check
}

// paused lists who is not asked now: the providers that refused this host, and all others. Small
// sites are only counted, for everybody may read this.
func paused(v *verification) (blocked, others string) {
	var refused, list []string
	sites := 0
	for _, p := range v.verifier.Pauses() {
		name := providerOf(v.settings.Providers, p.Group)
		switch {
		case name == otherSites:
			sites++
		case p.Reason == verify.BlockedIP:
			refused = append(refused, fmt.Sprintf("%s (until %s)", name, dateOf(p.Until)))
		default:
			list = append(list, fmt.Sprintf("%s (until %s)", name, dateOf(p.Until)))
		}
	}
	if sites > 0 {
		list = append(list, counted(sites, "other site", "other sites"))
	}
	return strings.Join(refused, ", "), strings.Join(list, ", ")
}

func counted[T int | uint64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// checkOwn tells what is wrong with the addresses that probes leave from: the worst of it, and how
// much more there is. A notice is no reason to look after it in a hurry.
func checkOwn(findings []health.Finding, last time.Time, ok bool) web.Check {
	check := web.Check{Part: "own address", Detail: "not looked after (verify.health, verify.mode)"}
	switch {
	case !ok:
		return check
	case len(findings) == 0 && last.IsZero():
		check.Detail = "not looked at yet"
		return check
	case len(findings) == 0:
		check.Detail = "nothing is wrong with it, looked at " + dateOf(last)
		return check
	}
	worst := findings[0]
	check.Detail = worst.What + "; to do: " + worst.Fix
	if !strings.Contains(worst.What, worst.Subject) {
		check.Detail = worst.Subject + ": " + check.Detail
	}
	if more := len(findings) - 1; more > 0 {
		check.Detail += fmt.Sprintf(" (and %d more: see the log)", more)
	}
	if worst.Severity != health.Notice {
		check.State = web.Degraded
	} else {
		check.Detail = "no warning, but a notice: " + check.Detail
	}
	return check
}

// checkRelayLog tells how far the relay's log was read and what came of it.
func (s *service) checkRelayLog(stats verify.Stats) web.Check {
	status, ok := s.gate.learning.status()
	return relayLogCheck(status, ok, stats)
}

func relayLogCheck(status feedback.Status, ok bool, stats verify.Stats) web.Check {
	check := web.Check{Part: "relay log", Detail: "none is read (verify.feedback.relay_log)"}
	if !ok {
		return check
	}
	learned := stats.Delivered + stats.Deferred + stats.Bounced
	switch {
	case status.Fault != "":
		check.State = web.Degraded
		check.Detail = fmt.Sprintf("not read since %s, nothing is learned: %s",
			dateOf(status.Failed), status.Fault)
	case status.Last.IsZero():
		check.Detail = "read, nothing new in it yet"
	default:
		check.Detail = fmt.Sprintf("read until %s, %s learned", dateOf(status.Last),
			counted(learned, "delivery", "deliveries"))
	}
	if status.Fault == "" && learned == 0 {
		check.Detail += why(status.Counts, stats.Ignored)
	}
	return check
}

// why nothing was learned from lines that were read.
func why(c feedback.Counts, ignored uint64) string {
	switch {
	case c.Lines == 0 || c.Deliveries == 0 && c.Lines < 100:
		return ""
	case c.Deliveries == 0:
		return "; no line is of a delivery: is it the relay's log, and does verify.feedback.labels fit?"
	case ignored > 0:
		return "; those in it went to other servers than the recipients' own (a smarthost?)"
	case c.Internal+c.Excluded == c.Deliveries:
		return "; those in it went to the relay's own mailboxes, filters and smarthosts"
	}
	return ""
}

// checkStore tells whether what is known outlives the gate.
func checkStore(store *cache.Store) web.Check {
	ok, detail := store.Status()
	check := web.Check{Part: "cache", Detail: detail}
	if !ok {
		check.State = web.Degraded
	}
	return check
}
