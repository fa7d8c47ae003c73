package reply_test

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// known is one line of testdata/replies.txt.
type known struct {
	label reply.Label
	in    reply.Input
}

func knownReplies(tb testing.TB) []known {
	tb.Helper()
	f, err := os.Open("testdata/replies.txt")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []known
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); line != "" && line[0] != '#' {
			all = append(all, parseKnown(tb, line))
		}
	}
	if len(all) < 300 {
		tb.Fatalf("only %d replies", len(all))
	}
	return all
}

func parseKnown(tb testing.TB, line string) known {
	tb.Helper()
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 || len(fields[3]) < 4 {
		tb.Fatalf("not LABEL STAGE PROVIDER REPLY: %q", line)
	}
	text := fields[3]
	code, err := strconv.Atoi(text[:3])
	if err != nil {
		tb.Fatalf("%q: %v", line, err)
	}
	var lines []string
	for l := range strings.SplitSeq(text, `\n`) {
		if rest, ok := strings.CutPrefix(l, text[:3]); ok {
			l = rest[min(1, len(rest)):]
		}
		lines = append(lines, l)
	}
	r := esmtp.Reply{Code: code, Lines: lines}
	k := known{reply.Label(fields[0]), reply.Input{
		Code: code, Enhanced: r.Enhanced(), Text: r.Text(), Stage: reply.Stage(fields[1]),
	}}
	if fields[2] != "-" {
		k.in.Provider = fields[2]
	}
	return k
}

// TestReplies judges replies of real servers. What is proof there must be about the mailbox,
// or its domain, and what is about us must not be.
func TestReplies(t *testing.T) {
	for _, k := range knownReplies(t) {
		c := reply.Classify(k.in)
		if c.Label != k.label {
			t.Errorf("%s %d %q: %s by %s; want %s", k.in.Stage, k.in.Code, k.in.Text, c.Label, c.Rule, k.label)
		}
		switch c.Label {
		case reply.MailboxUnknown, reply.MailboxDisabled, reply.DomainUnknown, reply.Moved:
		default:
			if c.Proof {
				t.Errorf("%q: proof of %s by %s", k.in.Text, c.Label, c.Rule)
			}
		}
		check(t, k.in)
	}
}

// TestUnknownProves holds that a refusal of the mailbox in clear words is proof, whoever
// says it: that is what a gate is for.
func TestUnknownProves(t *testing.T) {
	clear, proven := 0, 0
	for _, k := range knownReplies(t) {
		if k.label != reply.MailboxUnknown || k.in.Code/100 != 5 || k.in.Stage != reply.StageRcpt {
			continue
		}
		clear++
		if c := reply.Classify(k.in); c.Proof {
			proven++
		} else {
			t.Logf("no proof: %d %q by %s", k.in.Code, k.in.Text, c.Rule)
		}
	}
	if proven*100 < clear*90 {
		t.Errorf("%d of %d refusals are proof; want 90 %%", proven, clear)
	}
}

func BenchmarkClassify(b *testing.B) {
	all := knownReplies(b)
	reply.Classify(all[0].in) // compiles the rules
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		reply.Classify(all[i].in)
		if i++; i == len(all) {
			i = 0
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "replies/s")
}
