package message

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxMemory is what one message may hold, in octets.
const maxMemory = 512 << 10

// stream makes a message of any size without holding it: head, then fill n times, then tail.
type stream struct {
	head, fill, tail string
	n                int
}

// writeTo writes the message, and calls look now and then and at the end.
func (s stream) writeTo(run *Run, look func()) {
	run.Write([]byte(s.head))
	look()
	piece := []byte(strings.Repeat(s.fill, max(1, 32<<10/len(s.fill))))
	pieces := s.n*len(s.fill)/len(piece) + 1
	for i := range pieces {
		run.Write(piece[:min(s.n*len(s.fill)-i*len(piece), len(piece))])
		if i < 8 || i%(pieces/8+1) == 0 {
			look()
		}
	}
	run.Write([]byte(s.tail))
	look()
}

// hostile are messages made to cost much; what of their signatures is found does not matter here.
func hostile(tb testing.TB) map[string]stream {
	tb.Helper()
	head := newsletter(time.Now())
	signed := sign(tb, head)
	five := signed
	for range maxSignatures - 1 {
		five = sign(tb, five)
	}
	field := func(name string) string { return crlf(name + ": ") }
	signature := "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s2048; " +
		"h=from; bh=AAAA; b=AAAA\r\n"
	folded := field("To") + "a@example.com" + strings.Repeat(",\r\n a@example.com", 990) + "\r\n"
	manyFolded := sign(tb, folded+strings.TrimPrefix(head, "To: "))
	return map[string]stream{
		"10 MB of header fields":     {"", "X-Field: some text that is quite long, as it happens\r\n", "\r\n" + head, 200_000},
		"10 MB in one field":         {field("Subject"), "xxxxxxxx\r\n ", "\r\n" + head, 1_000_000},
		"10 MB in one header line":   {field("Subject"), "xxxxxxxxxx", "\r\n" + head, 1_000_000},
		"1,000 signatures":           {"", signature, head, 1000},
		"100,000 signatures":         {"", signature, head, 100_000},
		"100,000 fields":             {"", "A: b\r\n", head, 100_000},
		"1,000,000 tiny lines":       {"", "\r\n", "", 1_000_000},
		"10 MB of NULs":              {"", "\x00", "", 10_000_000},
		"10 MB of NULs in a body":    {signed, "\x00", "", 10_000_000},
		"240 kB of folded lines":     {signed[:len(signed)-20], "\r\n x", "\r\n\r\n", 60_000},
		"990 folded recipients":      {manyFolded, "text\r\n", "", 1000},
		"words in a signed field":    {field("Subject"), "a ", "\r\n" + signature + head, 30_000},
		"a thousand signed names":    {"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s2048; bh=AA; b=AA; h=from", ":to", "\r\n" + head, 1000},
		"deep comments":              {"From: ", "(", "\r\n" + head, 60_000},
		"a long From":                {"From: ", "a@example.com, ", "\r\n" + head, 4000},
		"a long List-Unsubscribe":    {"List-Unsubscribe: ", "<https://example.com/>, ", "\r\n" + head, 2000},
		"10 MB of blank lines":       {signed, "\r\n", "the end\r\n", 5_000_000},
		"10 MB of blanks":            {signed, "  ", "the end\r\n", 5_000_000},
		"10 MB of blank-only lines":  {five, " \r\n", "the end\r\n", 3_000_000},
		"10 MB of CR":                {signed, "\r", "\r\n", 10_000_000},
		"10 MB of LF":                {signed, "\n", "\r\n", 10_000_000},
		"10 MB of dots":              {signed, "..\r\n", "", 2_500_000},
		"10 MB in one line":          {signed, "x", "\r\n", 10_000_000},
		"40 MB with five signatures": {five, "The quick brown fox jumps over the lazy dog.\r\n", "", 900_000},
		"nested MIME":                {head[:len(head)-40], "--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n", "", 100_000},
	}
}

// TestHostile measures what such messages hold while many of them are under way, and that they end.
// Not parallel: it looks at the heap.
func TestHostile(t *testing.T) {
	resolver, _ := resolver(t, zone(t)...)
	checker := newChecker(t, config(Reject), resolver, nil)
	check(t, checker, envelope(t), wire(sign(t, newsletter(time.Now()))), 1000) // fills the caches
	all := hostile(t)
	var order []string
	for name := range all {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			began := time.Now()
			run := checker.Begin(envelope(t))
			peak := newPeak()
			all[name].writeTo(run, func() { peak.look(run) })
			report := run.Finish(context.Background())
			most, allocated := peak.most, peak.garbage()
			t.Logf("%-28s %4d KiB held at most, %5d KiB allocated, %5d ms: %s", name, most>>10, allocated>>10,
				time.Since(began).Milliseconds(), names(report))
			for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
				}
				runtime.Gosched()
			}
			if most > maxMemory {
				t.Errorf("it held %d octets", most)
			}
			size := uint64(len(all[name].head) + all[name].n*len(all[name].fill))
			if allocated > 16<<20+16*size {
				t.Errorf("it allocated %d octets for a message of %d", allocated, size)
			}
		})
	}
}

// peak is the most that somebody holds, of what collections of garbage leave of the heap. It looks
// while nobody works: what is allocated during a collection would count as held.
type peak struct {
	base, allocated uint64
	most            uint64
}

func newPeak() *peak {
	runtime.GC() // pools are emptied in two steps
	p := &peak{}
	p.base, p.allocated = live()
	return p
}

// live collects the garbage and returns what is left, and what was allocated ever.
func live() (octets, allocated uint64) {
	runtime.GC()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// look waits until the verifier has nothing to do, and looks.
func (p *peak) look(run *Run) {
	if run != nil && run.verifier != nil {
		for s := run.verifier.body; ; runtime.Gosched() {
			s.mu.Lock()
			idle := s.gone || s.read == len(s.octets) && len(s.more) == 0
			s.mu.Unlock()
			if idle {
				break
			}
		}
	}
	if now, _ := live(); now > p.base {
		p.most = max(p.most, now-p.base)
	}
}

// garbage is what was allocated since the beginning.
func (p *peak) garbage() uint64 {
	_, now := live()
	return now - p.allocated
}

// TestBlankLines: many blank lines are fine; they need not be endless.
func TestBlankLines(t *testing.T) {
	resolver, _ := resolver(t, zone(t)...)
	cfg := config(Off)
	cfg.Levels[DKIM] = Reject
	checker := newChecker(t, cfg, resolver, nil)
	for n, found := range map[int]string{1000: "", 40_000: "", 60_000: "dkim"} {
		octets := wire(sign(t, newsletter(time.Now())+strings.Repeat("\r\n", n)+"the end\r\n"))
		if report := check(t, checker, envelope(t), octets, 10_000); names(report) != found {
			t.Errorf("%d lines: %s", n, details(report))
		}
	}
}

// TestAffordable: what the library does at the end of a message is bounded beforehand.
func TestAffordable(t *testing.T) {
	words := func(n int) string { return strings.Repeat("a ", n) }
	signature := "DKIM-Signature: d=example.com; s=x; h=from:to\r\n"
	for _, c := range []struct {
		name   string
		header string
		n      int
	}{
		{"five", strings.Repeat(signature, 9) + "To: x\r\n", 5},
		{"a long field", strings.Repeat(signature, 9) + "To: " + strings.Repeat("x", 30_000) + "\r\n", 2},
		{"a very long field", strings.Repeat(signature, 9) + "To: " + strings.Repeat("x", 60_000) + "\r\n", 1},
		{"many words", strings.Repeat(signature, 9) + "To: " + words(3000) + "\r\n", 2},
		{"too many words", signature + "To: " + words(20_000) + "\r\n", 0},
		{"not signed", signature + "Cc: " + words(20_000) + "\r\n", 1},
		{"1000 recipients", signature + "To: a@example.com" + strings.Repeat(",\r\n Bob Smith <bob@example.net>", 999) + "\r\n", 1},
		{"too many names", strings.Replace(signature, "from", words(201)+strings.Repeat(":to", 201), 1), 0},
	} {
		list, fault := choose(parseHeader([]byte(c.header)), "example.com")
		if len(list) != c.n || (fault != "") != (c.n == 0) {
			t.Errorf("%s: %d signatures, %q", c.name, len(list), fault)
		}
	}
}

// TestManyAtOnce holds many messages at their most expensive moment.
func TestManyAtOnce(t *testing.T) {
	resolver, _ := resolver(t, zone(t)...)
	checker := newChecker(t, config(Reject), resolver, nil)
	octets := wire(sign(t, newsletter(time.Now())+strings.Repeat("text and more text\r\n", 50_000)))
	const n = 50
	runs := make([]*Run, n)
	peak := newPeak()
	for i := range runs {
		runs[i] = checker.Begin(envelope(t))
		runs[i].Write(octets[:len(octets)-10])
	}
	peak.look(nil)
	for _, run := range runs {
		run.Write(octets[len(octets)-10:])
		if report := run.Finish(context.Background()); report.Action != ActionPass {
			t.Errorf("%s", details(report))
		}
	}
	most, allocated := peak.most, peak.garbage()
	t.Logf("%d KiB a message held at most, %d KiB allocated", most/n>>10, allocated/n>>10)
	if most/n > maxMemory {
		t.Errorf("%d octets a message", most/n)
	}
}

func BenchmarkMessage(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 1600)[:100_000-1500]
	plain := newsletter(time.Now())
	for _, c := range []struct {
		name   string
		octets []byte
		level  map[Check]Level
	}{
		{"1KB/form", wire(plain), map[Check]Level{Form: Reject, LineLength: Reject}},
		{"1KB/all", wire(plain), all(Log)},
		{"1KB/RSA-2048", wire(sign(b, plain)), all(Log)},
		{"100KB/form", wire(plain + text), map[Check]Level{Form: Reject, LineLength: Reject}},
		{"100KB/RSA-2048", wire(sign(b, plain+text)), all(Log)},
		{"100KB/two", wire(sign(b, sign(b, plain+text))), all(Log)},
		{"10MB/RSA-2048", wire(sign(b, plain+strings.Repeat(text, 100))), all(Log)},
	} {
		b.Run(c.name, func(b *testing.B) {
			resolver, _ := resolver(b, zone(b)...)
			cfg := config(Off)
			cfg.Levels = c.level
			checker := newChecker(b, cfg, resolver, nil)
			env := envelope(b)
			b.SetBytes(int64(len(c.octets)))
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				run := checker.Begin(env)
				for part := range slices.Chunk(c.octets, 32<<10) {
					run.Write(part)
				}
				run.Finish(context.Background())
			}
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	head := []byte(newsletter(time.Now()))
	head = head[:bytes.Index(head, []byte("\r\n\r\n"))+4]
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"header", func() { parseHeader(head) }},
		{"author", func() { readAuthor(parseHeader(head), &Envelope{}) }},
		{"record", func() { parseRecord("v=DMARC1; p=reject; sp=none; rua=mailto:dmarc@example.com") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.f()
			}
		})
	}
}

func ExampleChecks() {
	for _, info := range Checks()[:3] {
		fmt.Println(info.Check, info.Bulk, info.Signed)
	}
	// Output:
	// form reject false
	// line_length reject false
	// header_size reject false
}
