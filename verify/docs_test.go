package verify

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

var updateDocs = flag.Bool("update", false, "write the generated parts of docs/how-it-decides.md")

const decidesPage = "../docs/how-it-decides.md"

// TestDecidesPage holds the numbers of docs/how-it-decides.md to the code. After a change:
//
//	go test ./verify -run DecidesPage -update
func TestDecidesPage(t *testing.T) {
	data, err := os.ReadFile(decidesPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for name, part := range map[string]string{
		"weights": pageWeights(), "reasons": pageReasons(t), "accept-all": pageAcceptAll(),
		"greylisting": pageGreylisting(), "waves": pageWaves(), "limits": pageLimits(),
	} {
		begin := "<!-- generated: " + name + " -->\n"
		before, rest, found := strings.Cut(page, begin)
		old, after, closed := strings.Cut(rest, "<!-- end -->")
		if !found || !closed {
			t.Errorf("%s has no part %q", decidesPage, name)
			continue
		}
		now := "\n" + part + "\n"
		if old != now && !*updateDocs {
			t.Errorf("%s: the part %q is not what the code says; run go test ./verify -run DecidesPage -update",
				decidesPage, name)
		}
		page = before + begin + now + "<!-- end -->" + after
	}
	svg, err := os.ReadFile("../docs/pictures/accept-all.svg")
	if err != nil {
		t.Fatal(err)
	}
	for k := 1; k <= 2; k++ {
		d := domainFacts{invents: uint8(k), invent: time.Now().Unix()}
		if p := fmt.Sprintf("%.3f", d.acceptsAll(priorAcceptAll, time.Now())); !strings.Contains(string(svg), ">"+p+": ") {
			t.Errorf("accept-all.svg does not say %s", p)
		}
	}
	if n := strings.Count(page, "<!-- generated: "); n != 6 {
		t.Errorf("%d generated parts", n)
	}
	if *updateDocs {
		if err := os.WriteFile(decidesPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pageSpan writes a time span in its largest unit, as people do.
func pageSpan(d time.Duration) string {
	for _, unit := range []struct {
		span time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= unit.span && d%unit.span == 0 {
			n := int(d / unit.span)
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
		if rest := d % unit.span; d > unit.span && unit.span > time.Second {
			return pageSpan(d-rest) + " " + pageSpan(rest)
		}
	}
	return d.String()
}

func percent(p float64) string { return strconv.FormatFloat(100*p, 'f', -1, 64) + " %" }

func pageWeights() string {
	var b strings.Builder
	b.WriteString("| evidence | weight | with it alone, mail arrives |\n|---|---|---|\n")
	row := func(evidence string, weight float64) {
		fmt.Fprintf(&b, "| %s | %+.1f | %.1f %% |\n", evidence, weight, 100*sigmoid(logit(prior)+weight))
	}
	everybody := max(weightOfAcceptance(1), 0) // no "-0.0"
	row("nothing: an ordinary recipient", 0)
	row("250 at RCPT, of a server that refuses others", weightOfAcceptance(0))
	row("250 at RCPT, nothing known of the domain", weightOfAcceptance(priorAcceptAll))
	row("250 at RCPT, of a domain that accepts everybody", everybody)
	for _, trusted := range []float64{0.99, unknownTrust, 0.85} {
		row(fmt.Sprintf("a refusal of this mailbox, of a provider believed to %.2f", trusted), weightOfRefusal(trusted))
	}
	row("the same, the mailbox is switched off or moved (0.97)", weightOfRefusal(unknownTrust)+weightSoftRefusal)
	row(`"this mailbox gets too much mail": it exists`, weightBusy)
	row("greylisted, where unknown ones are refused at once", weightGreylisted)
	row("mail was delivered", weightDelivered)
	row("mail bounced, though it used to arrive", weightBounced)
	row("mail bounced twice, or never arrived", weightBouncedTwice)
	fmt.Fprintf(&b, "\nAll of it fades with a half-life of %s. Of what happened before, %s counts beside an answer "+
		"that says\nsomething about the mailbox (a weight of %.1f or more). A proof refuses only while the sum says that "+
		"mail\narrives with at most %s; else the verdict is unknown, `disputed`.\n",
		pageSpan(evidenceHalf), percent(superseded), conclusive, percent(refuseBelow))
	return b.String()
}

// pageReasons is the table of reasons: rate and lifetimes, with the comments of the constants.
func pageReasons(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "result.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{}.withDefaults()
	life := lifetimes{
		positiveRefresh: cfg.PositiveRefresh, positiveExpire: cfg.PositiveExpire,
		negativeRefresh: cfg.NegativeRefresh, negativeExpire: cfg.NegativeExpire,
		temporaryExpire: cfg.TemporaryExpire,
	}
	var b strings.Builder
	b.WriteString("| reason | means | verdict | sure | mail arrives | remembered |\n|---|---|---|---|---|---|\n")
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		value, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		name, err := strconv.Unquote(value.Value)
		if err != nil {
			t.Error(err)
		}
		n++
		means := strings.TrimSpace(cmp.Or(spec.Comment.Text(), spec.Doc.Text()))
		means = strings.TrimSuffix(strings.TrimPrefix(means, spec.Names[0].Name+": "), ".")
		means = strings.NewReplacer("\n", " ", "<", `\<`, "|", `\|`).Replace(means)
		r := rate(Reason(name))
		sure := "-"
		if r.confidence > 0 {
			sure = fmt.Sprintf("%.2f", r.confidence)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %.2f | %s |\n", name, means, r.verdict, sure, r.deliverability,
			pageLife(life.of(because(Reason(name)), time.Hour)))
		return true
	})
	if n < 30 {
		t.Errorf("result.go has %d reasons", n)
	}
	return b.String()
}

func pageLife(refresh, expire time.Duration) string {
	switch {
	case expire == 0:
		return "no"
	case refresh == expire:
		return pageSpan(expire)
	}
	return pageSpan(expire) + ", asked again after " + pageSpan(refresh)
}

func pageAcceptAll() string {
	now := time.Now()
	var b strings.Builder
	b.WriteString("| what was seen | accepts everybody with |\n|---|---|\n")
	row := func(seen string, d domainFacts) {
		fmt.Fprintf(&b, "| %s | %.3f |\n", seen, d.acceptsAll(priorAcceptAll, now))
	}
	row("nothing", domainFacts{})
	for k, seen := range []string{
		"an invented recipient was accepted", "two, in different sessions", "three",
	} {
		row(seen, domainFacts{invents: uint8(k + 1), invent: now.Unix()})
	}
	for _, n := range []int{10, 50, 200} {
		var d domainFacts
		for i := range n {
			d.accept(strconv.Itoa(i))
		}
		row(fmt.Sprintf("%d different recipients of ordinary mail were accepted, none refused", n), d)
	}
	refused := domainFacts{}
	refused.refuse("nobody", "example.com", now)
	row("one mailbox was refused as unknown", refused)
	fmt.Fprintf(&b, "\nFrom %.2f on, a 250 there says nothing; up to %.2f the domain counts as selective. "+
		"An invented\nrecipient is asked for again after %s if it was accepted, after %s if the answer\n"+
		"did not tell, and under another name after %s; at most %d times as long as the domain keeps\n"+
		"its mail hosts. What is known of a domain is worth half after %s.\n",
		acceptsAllFrom, selectiveUpTo, pageSpan(inventConfirm), pageSpan(inventFailed),
		pageSpan(inventEvery), inventMost, pageSpan(factsHalf))
	return b.String()
}

func pageGreylisting() string {
	var steps []string
	for _, step := range greySteps() {
		steps = append(steps, pageSpan(step))
	}
	return fmt.Sprintf("Asked again after: %s.\n", strings.Join(steps, ", "))
}

func pageWaves() string {
	return fmt.Sprintf("Within %s, at one provider, one of these:\n\n"+
		"- of %d addresses that used to work, surely more than %s are refused, and more than five times as many as usual\n"+
		"- of %d such addresses, nearly all (%s)\n"+
		"- of any %d addresses in a row no more than one is accepted, where most used to be\n\n"+
		"At most %d addresses of one domain count: who closes a company closes all its mailboxes at once. It is over "+
		"when\nless than %s of %d answers are refusals.\n",
		pageSpan(waveWindow), waveKnown, percent(waveKnownShare), waveFew, percent(waveFewShare), waveAll, domainMost,
		percent(waveCalm), waveOver)
}

func pageLimits() string {
	return fmt.Sprintf("- One client may have %d recipients asked about at a time, and name %d different ones an hour "+
		"that do not\n  exist; beyond it nobody is asked for it.\n"+
		"- One domain may have 1/%d of all questions under way, for its servers may hang.\n"+
		"- When mail servers of %d different networks time out within %s and none answers, our own way out is\n  closed: "+
		"nobody is asked any more, but for a trial every %s.\n",
		clientFlights, clientUnknown, domainShare, breakerNetworks, pageSpan(breakerWindow), pageSpan(breakerTrial))
}
