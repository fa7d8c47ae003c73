package journal

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodLine = `{"v":1,"time":"2026-11-23T14:15:02Z","kind":"recipient","ref":"A"}` + "\n"

// TestRead: what cannot be understood is left out and said, and nothing else.
func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     ReadReport // without octets and words
		notes    string
	}{
		{"empty", "", ReadReport{}, ""},
		{"two", goodLine + goodLine, ReadReport{Entries: 2}, ""},
		{"no end, but whole", goodLine + strings.TrimSpace(goodLine), ReadReport{Entries: 2}, ""},
		{"torn", goodLine + goodLine[:40], ReadReport{Entries: 1, Torn: true}, "the last line is cut off and was left out"},
		{"torn, then another start", goodLine[:40] + "\n" + goodLine, ReadReport{Entries: 1, Bad: 1}, "1 line is no entry and was left out: unexpected end of JSON input"},
		{"CRLF and blank lines", "\r\n" + strings.TrimSpace(goodLine) + "\r\n\n", ReadReport{Entries: 1}, ""},
		{"newer", strings.Replace(goodLine, `"v":1`, `"v":9,"x":1`, 1), ReadReport{Entries: 1, Newer: 1}, "1 entry has fields of another version, which are left out"},
		{"long", "{" + strings.Repeat(" ", maxLine) + "}\n" + goodLine, ReadReport{Entries: 1, Long: 1}, "1 line is too long and was left out"},
		{"long without an end", goodLine + strings.Repeat("x", 3*maxLine), ReadReport{Entries: 1, Long: 1}, "1 line is too long and was left out"},
		{"as long as may be", goodLine[:len(goodLine)-2] + strings.Repeat(" ", maxLine+1-len(goodLine)) + "}\n" + goodLine, ReadReport{Entries: 2}, ""},
		{"not JSON", "# a remark\nremarks\n", ReadReport{Bad: 2}, "2 lines are no entries and were left out: invalid character '#' looking for beginning of value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, err := Read(strings.NewReader(c.in), func(*Entry) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			if report.Octets != int64(len(c.in)) {
				t.Errorf("%d octets read of %d", report.Octets, len(c.in))
			}
			if notes := strings.Join(report.Notes(), "; "); notes != c.notes {
				t.Errorf("notes %q, want %q", notes, c.notes)
			}
			report.Octets, report.FirstBad = 0, ""
			if diff := cmp.Diff(c.want, report); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			checkBackward(t, []byte(c.in))
		})
	}
}

// checkBackward wants the same from the end as from the beginning.
func checkBackward(t *testing.T, in []byte) {
	t.Helper()
	var forward, back []Entry
	want, err := Read(bytes.NewReader(in), func(e *Entry) bool {
		forward = append(forward, *e)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	b := newBackward(bytes.NewReader(in), int64(len(in)))
	var got ReadReport
	var e Entry
	for {
		line, whole, long, err := b.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if long {
			got.Long++
		} else if got.take(line, whole, &e) {
			back = append(back, e)
		}
	}
	slices.Reverse(back)
	got.Octets, got.FirstBad = want.Octets, want.FirstBad
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("from the end: (-forward +back)\n%s", diff)
	}
	if diff := cmp.Diff(forward, back); diff != "" {
		t.Errorf("from the end: (-forward +back)\n%s", diff)
	}
}

// TestBackwardBlocks: lines across the blocks that are read.
func TestBackwardBlocks(t *testing.T) {
	var in []byte
	for n := range 3000 {
		line := strings.Replace(goodLine, `"A"`, `"`+strings.Repeat("x", n%700)+`"`, 1)
		if in = append(in, line...); n%500 == 3 {
			in = append(in, strings.Repeat("y", maxLine-200+n/10)+"\n"...)
		}
	}
	checkBackward(t, in)
	short := newBackward(bytes.NewReader(in[:100]), int64(len(in)))
	if _, _, _, err := short.next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a file that got shorter: %v", err)
	}
}

// FuzzRead: any octets are read without harm, the same from both ends, every line is accounted for,
// and what is an entry can be explained without a raw octet.
func FuzzRead(f *testing.F) {
	f.Add([]byte(goodLine + goodLine[:30]))
	f.Add([]byte(`{"v":3,"time":"2026-11-23T14:15:02Z","kind":"message","message":{"checks":[{"check":"` +
		"\u202e" + `"}]},"zzz":[[{}]]}` + "\n\n\r\n{}\n"))
	f.Add([]byte(`{"v":1,"time":"0000-01-01T00:00:00Z","kind":"recipient","shadow":"reject","recipient":"-x","reason":"a_b","domain":{"tries":1},"retry_after_s":99999999999999999,"wait_ms":-1}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4*maxLine {
			return
		}
		checkBackward(t, in)
		var r Reporter
		report, err := Read(bytes.NewReader(in), func(e *Entry) bool {
			var out strings.Builder
			story := newStory(*e, []Entry{*e, *e})
			if err := story.Explain(&out); err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(out.String()+e.Summary(), "\n") {
				if printable(line) != line {
					t.Fatalf("not printable: %q", line)
				}
			}
			r.Add(e)
			return true
		})
		if err != nil || report.Octets != int64(len(in)) {
			t.Fatalf("%d octets of %d, %v", report.Octets, len(in), err)
		}
		lines := 0
		for line := range bytes.SplitSeq(in, []byte("\n")) {
			if len(bytes.TrimSuffix(line, []byte("\r"))) > 0 {
				lines++
			}
		}
		counted := report.Entries + report.Bad + report.Long
		if report.Torn {
			counted++
		}
		if counted != lines {
			t.Fatalf("%d lines, %+v", lines, report)
		}
		sum := r.Report()
		if err := sum.WriteTable(io.Discard); err != nil {
			t.Fatal(err)
		}
		if err := sum.WriteCSV(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}
