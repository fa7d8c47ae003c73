package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/verify"
)

// The most lines of one kind in a summary.
const (
	summaryProviders = 10
	summaryDomains   = 5
)

// printBulkSummary tells what came of a list, and what to do about it.
func printBulkSummary(w io.Writer, list *bulk.List, p bulk.Progress, s bulk.Summary) {
	writef(w, "\n%s rows, %s different addresses of %s domains", thousands(list.Rows), thousands(list.Len()),
		thousands(list.Domains()))
	if n := list.Duplicates(); n > 0 {
		writef(w, "; duplicates: %s", thousands(n))
	}
	if list.Faulty > 0 {
		writef(w, "; rows without an address (syntax): %s", thousands(list.Faulty))
	}
	writef(w, "\n")
	for _, v := range []verify.Verdict{
		verify.Deliverable, verify.Undeliverable, verify.Risky, verify.Unknown,
	} {
		if s.Verdicts[v] == 0 {
			continue
		}
		writef(w, "\n%s %s (%s): %s\n", thousands(s.Verdicts[v]), v, percentOf(s.Verdicts[v], p.All), verdictAdvice(v))
		for _, c := range s.Reasons {
			if c.Verdict == v {
				writef(w, "  %9s  %-16s %s\n", thousands(c.N), c.Reason, reasonAdvice(c.Reason))
			}
		}
	}
	writef(w, "\nproviders:")
	for i, c := range s.Providers {
		if i == summaryProviders {
			writef(w, ", ...")
			break
		}
		name := c.Name
		if name == "" {
			name = "others"
		}
		writef(w, "%s %s %s", comma(i), name, thousands(c.N))
	}
	writef(w, "\n")
	printStopped(w, s)
}

func printStopped(w io.Writer, s bulk.Summary) {
	if len(s.Stopped) > 0 {
		writef(w, "\nnot asked to the end, because too many of those that were asked about do not exist: %s\n"+
			"  where did these addresses come from? made-up ones find out nothing, and have you blocked\n",
			some(s.Stopped))
	}
	if len(s.GivenUp) > 0 {
		writef(w, "\ngiven up, because nobody could be asked for too long (limits, or a pause that it wants): %s\n"+
			"  check the rest of their addresses another day\n", some(s.GivenUp))
	}
}

// some lists names, but not too many.
func some(names []string) string {
	if len(names) <= summaryDomains {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:summaryDomains], ", "), len(names)-summaryDomains)
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// verdictAdvice is what to do about a class of addresses.
func verdictAdvice(v verify.Verdict) string {
	switch v {
	case verify.Deliverable:
		return "send"
	case verify.Undeliverable:
		return "remove them, each bounce harms the sender"
	case verify.Risky:
		return "send only if you know where they come from, in small parts, and watch the bounces"
	default:
		return "nothing was learnt: neither good nor bad, do not remove them for it"
	}
}

func reasonAdvice(reason verify.Reason) string {
	if reason == bulk.Interrupted {
		return "it was being asked about when the check was cut off; check it another time"
	}
	text := reasonText(reason)
	if next := (verify.Result{Reason: reason}).NextStep(); next != "" && !strings.Contains(text, next) {
		text += "; " + next
	}
	return text
}
