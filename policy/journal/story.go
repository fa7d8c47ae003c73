package journal

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	maxStory = 1000
	// longTransaction is how long the entries of a transaction may be apart.
	longTransaction = 2 * time.Hour
)

// Story is one entry with all others of its transaction, in the order in which they happened.
type Story struct {
	Entry Entry
	All   []Entry // with Entry; only the last 1000
}

// Story returns the entry with a reference and all others of its transaction: from memory, and from
// the files where memory has not all of them any more.
func (j *Journal) Story(ctx context.Context, ref string) (Story, bool) {
	entry, ok := j.find(ctx, ref)
	if !ok {
		return Story{}, false
	}
	f := storyFilter(&entry)
	all := j.Search(f)
	if j.forgot(&entry) {
		if filed, _, err := j.Archive().Search(ctx, f); err == nil {
			all = merge(all, filed)
		}
	}
	return newStory(entry, all), true
}

// merge adds to what memory has what only the files have, the newest first.
func merge(memory, filed []Entry) []Entry {
	type key struct {
		at             int64
		kind           Kind
		recipient, ref string
	}
	of := func(e *Entry) key { return key{e.Time.UnixMilli(), e.Kind, e.Recipient, e.Ref} }
	known := make(map[key]bool)
	for i := range memory {
		known[of(&memory[i])] = true
	}
	for i := range filed {
		if !known[of(&filed[i])] {
			memory = append(memory, filed[i])
		}
	}
	slices.SortStableFunc(memory, func(a, b Entry) int { return b.Time.Compare(a.Time) })
	return memory[:min(len(memory), maxStory)]
}

// forgot reports whether memory no longer has all of the entry's time.
func (j *Journal) forgot(e *Entry) bool {
	j.keep.Lock()
	defer j.keep.Unlock()
	if j.recent.items == 0 {
		return true
	}
	oldest := j.recent.spans[0]
	return e.Time.Add(-longTransaction).UnixMilli() <= oldest.marks[oldest.first].at
}

// Story is Journal.Story from the files alone.
func (a *Archive) Story(ctx context.Context, ref string) (s Story, ok bool, r ReadReport, err error) {
	entry, ok, r, err := a.Find(ctx, ref)
	if !ok || err != nil {
		return Story{}, false, r, err
	}
	all, r, err := a.Search(ctx, storyFilter(&entry))
	return newStory(entry, all), err == nil, r, err
}

func storyFilter(e *Entry) Filter {
	return Filter{
		Session: e.Session, Transaction: e.Transaction, Limit: maxStory,
		From: e.Time.Add(-longTransaction), To: e.Time.Add(longTransaction),
	}
}

func newStory(entry Entry, all []Entry) Story {
	slices.Reverse(all)
	if entry.Transaction == "" || len(all) == 0 {
		all = []Entry{entry}
	}
	return Story{Entry: entry, All: all}
}

// Explain writes the entry in full and then a line for each of the others. The error is w's.
func (s *Story) Explain(w io.Writer) error {
	if err := s.Entry.Explain(w); err != nil {
		return err
	}
	if len(s.All) < 2 {
		return nil
	}
	x := new(explainer)
	x.head("The whole transaction")
	for i := range s.All {
		e := &s.All[i]
		mark := " "
		if e.Ref == s.Entry.Ref && e.Ref != "" {
			mark = "*"
		}
		x.say(mark + " " + e.Time.UTC().Format("15:04:05.000") + "  " + e.Summary())
	}
	_, err := io.WriteString(w, x.String())
	return err
}

// Summary is the entry on one line, without its time.
func (e *Entry) Summary() string {
	var parts []string
	add := func(words, value string) {
		if value != "" {
			parts = append(parts, words+value)
		}
	}
	if e.Kind == KindMessage {
		add("message: ", summaryOutcome(e))
		add("reply ", e.Reply)
		return printable(strings.Join(parts, ", "))
	}
	action := e.Action
	if e.Shadow != "" {
		action += " (would " + e.Shadow + ")"
	}
	add("", strings.TrimSpace(e.Recipient+": "+action))
	add("rule ", e.Rule)
	add("", e.Reason)
	if e.Refused() {
		reply := e.Reply
		if e.Shadow != "" {
			reply = e.ShadowReply
		}
		add("reply ", reply)
	}
	add("ref ", e.Ref)
	return printable(strings.Join(parts, ", "))
}

func summaryOutcome(e *Entry) string {
	m := e.Message
	if m == nil {
		return "ended"
	}
	return fmt.Sprintf("%s%s, %d octets", outcomeWords(m.Outcome),
		prefixed(" as ", m.QueueID), m.Octets)
}

// message explains the end of a message.
func (x *explainer) message(e *Entry) {
	m := e.Message
	if m == nil {
		m = new(MessageEntry)
	}
	x.top("On " + when(e.Time) + " a message came to its end: " + outcomeWords(m.Outcome) + ".")
	x.head("The mail")
	x.line("Reference", e.Ref)
	x.about(e)
	x.line("From", m.FromDomain)
	x.line("Size", fmt.Sprintf("%d octets", m.Octets))
	x.line("Recipients", fmt.Sprintf("%d accepted, %d refused for now, %d for good",
		m.Accepted, m.Deferred, m.Refused))
	x.head("What became of it")
	x.line("Reply", e.Reply)
	x.line("Relay", m.Relay, prefixed(", which calls it ", m.QueueID))
	x.line("Error", m.Error)
	x.line("Took", wait(m.TotalMS), prefixed(", the relay ", wait(m.RelayMS)),
		prefixed(", the checks ", wait(m.CheckMS)))
	if len(m.Checks) > 0 || m.CheckAction != "" {
		x.head("What the checks of the message found")
		x.line("Decision", m.CheckAction)
	}
	for _, c := range m.Checks {
		x.line(c.Check, c.Level, prefixed(": ", c.Detail))
		x.line("", prefixed("reply ", c.Reply))
	}
	x.head("What to do")
	switch m.Outcome {
	case "passed":
		x.say("Nothing: the message was taken.")
	case "end_of_message":
		x.say("Nothing here: Postfix delivers what it took.")
	case "check_refused", "check_deferred":
		x.say("Mend what the checks found, above all where the level is defer or reject. A check that")
		x.say(`is too strict for your mail is set to "warn" or "log" in policy.message.checks.`)
	case "client_lost":
		x.say("The client sends it again, or not; nothing was delivered.")
	case "bad_content", "too_big":
		x.say("Mend what sends it: the reply says what is wrong.")
	default:
		x.say("See the relay's log" + prefixed(" for ", m.QueueID) + ".")
	}
}
