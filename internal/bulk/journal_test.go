package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

const testHeader = "rcptgate-check\t1\tabc\t8\tcolumn 1"

func testAnswer(n int32) Answer {
	return Answer{
		Verdict: verify.Deliverable, Reason: verify.MailboxExists, Confidence: 0.98, Deliverability: 0.5,
		Provider: "google", MX: fmt.Sprintf("mx%d.example.com", n), Code: 250, Checked: time.Unix(1_800_000_000, 0),
	}
}

// testJournal is a journal with a bit of everything.
func testJournal() []byte {
	b := appendLine(nil, []byte(testHeader))
	a := testAnswer(3)
	for _, line := range [][]byte{
		numberLine(lineAsking, 1), numberLine(lineAsking, 3), answerLine(3, &a), numberLine(lineAsking, 5),
		numberLine(lineBack, 5), numberLine(lineAsking, 7), laterLine(7, time.Unix(10, 0), time.Unix(70, 0)),
	} {
		b = appendLine(b, line)
	}
	return b
}

func replay(s *state, all []byte) (good int, err error) {
	n, err := s.replay(bytes.NewReader(all), int64(len(all)), []byte(testHeader))
	return int(n), err
}

func TestReplay(t *testing.T) {
	s, all := newState(8), testJournal()
	good, err := replay(s, all)
	if err != nil || good != len(all) {
		t.Fatalf("%d of %d octets, %v", good, len(all), err)
	}
	if !s.open[1] || s.open[3] || s.open[5] || s.open[7] || s.asked[1] != 1 || s.asked[5] != 0 || s.asked[7] != 1 {
		t.Errorf("open %v, asked %v", s.open, s.asked)
	}
	if s.answers[3] != testAnswer(3) || s.answers[1] != (Answer{}) {
		t.Errorf("answers %+v", s.answers)
	}
	if s.since(7) != time.Unix(10, 0) || s.due[7] != time.Unix(70, 0) || !s.since(3).IsZero() {
		t.Errorf("greylisted %v, until %v", s.first, s.due)
	}
}

// TestTorn: wherever a crash cuts a journal, the lines before the cut are read and nothing else.
func TestTorn(t *testing.T) {
	all := testJournal()
	for n := range all {
		s := newState(8)
		good, err := replay(s, all[:n])
		if want := bytes.LastIndexByte(all[:n], '\n') + 1; err != nil || good != want {
			t.Errorf("cut at %d: %d octets, %v; want %d", n, good, err, want)
		}
	}
}

func TestDamaged(t *testing.T) {
	long := testJournal()
	for len(long) < 2*tornMost {
		long = appendLine(long, numberLine(lineAsking, 0))
	}
	flipped := bytes.Clone(long)
	flipped[len(testJournal())+3] ^= 1
	for name, test := range map[string]struct {
		journal []byte
		fault   string
	}{
		"far from the end": {flipped, "damaged in line 9: wrong checksum"},
		"number":           {appendLine(testJournal(), []byte("?\t8")), `damaged in line 9: there is no address "8"`},
		"kind":             {appendLine(testJournal(), []byte("!\t1")), "damaged in line 9: line '!'"},
		"answer":           {appendLine(testJournal(), []byte("=\t1\tgood")), "damaged in line 9: 1 fields, not 8"},
		"no journal":       {[]byte("id,mail\n1,a@example.com\n"), "no journal of rcptgate check"},
		"one line":         {[]byte("my only copy"), "no journal of rcptgate check"},
		"list":             {appendLine(nil, []byte("rcptgate-check\t1\tabd\t8\tcolumn 1")), "another list"},
		"version":          {appendLine(nil, []byte("rcptgate-check\t2\tabc\t8\tcolumn 1")), "another version"},
		"options": {
			appendLine(nil, []byte("rcptgate-check\t1\tabc\t8\tcolumn 2")),
			"other options: column 2, now column 1",
		},
	} {
		_, err := replay(newState(8), test.journal)
		if err == nil || !strings.Contains(err.Error(), test.fault) || !Usage(err) || Hint(err) == "" {
			t.Errorf("%s: error %v with hint %q, want %q", name, err, Hint(err), test.fault)
		}
	}
}

// FuzzReplay: of any octets, what is read is what the lines with a right checksum say, and reading goes
// on from there as if there had been nothing behind.
func FuzzReplay(f *testing.F) {
	f.Add(testJournal())
	f.Add(testJournal()[:200])
	f.Add(appendLine(testJournal(), []byte("~\t2\t-9223372036854775808\t1")))
	f.Add(appendLine(testJournal(), []byte("=\t2\tunknown\tx\tNaN\t1\t\t\t0\t0")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, all []byte) {
		s := newState(8)
		good, err := replay(s, all)
		if err != nil {
			if !Usage(err) || Hint(err) == "" {
				t.Fatalf("error without a next step: %v", err)
			}
			return
		}
		if good < 0 || good > len(all) || good > 0 && all[good-1] != '\n' {
			t.Fatalf("%d of %d octets", good, len(all))
		}
		// Writing the answers again gives the same ones.
		more := bytes.Clone(all[:good])
		if good == 0 {
			more = appendLine(nil, []byte(testHeader))
		}
		for n := range int32(8) {
			if a := s.answers[n]; a.Verdict != "" {
				more = appendLine(more, answerLine(n, &a))
			}
		}
		again := newState(8)
		if n, err := replay(again, more); err != nil || n != len(more) {
			t.Fatalf("%d of %d octets, %v", n, len(more), err)
		}
		for n := range again.answers {
			if again.answers[n] != s.answers[n] {
				t.Fatalf("%+v became %+v", s.answers[n], again.answers[n])
			}
		}
	})
}

// TestJournalFile: what wait returned for is in the file, from many goroutines, and a torn end is cut
// off before the next line.
func TestJournalFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	file, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	j := newJournal(file)
	if err := j.write([]byte(testHeader)); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for n := range int32(8) {
		writers.Go(func() {
			line := numberLine(lineAsking, n)
			for range 20 {
				if err := j.write(line); err != nil {
					t.Error(err)
				}
			}
			if all, err := os.ReadFile(path); err != nil || bytes.Count(all, appendLine(nil, line)) != 20 {
				t.Errorf("address %d: %d lines on disk, %v", n, bytes.Count(all, line), err)
			}
		})
	}
	writers.Wait()
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := append(bytes.Clone(before), appendLine(nil, []byte("?\t1"))[:rand.IntN(11)]...)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if file, err = openJournal(path); err != nil {
		t.Fatal(err)
	}
	s := newState(8)
	if err := readJournal(file, s, []byte(testHeader)); err != nil {
		t.Fatal(err)
	}
	j = newJournal(file)
	if err := errors.Join(j.write(numberLine(lineBack, 4)), j.close()); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(appendLine(before, numberLine(lineBack, 4))) {
		t.Errorf("behind a torn end: %q, %v", after[len(before):], err)
	}
	if s.asked[4] != 20 || !s.open[4] {
		t.Errorf("asked %v", s.asked)
	}
}

// TestEmptyJournal: to begin anew empties journals only.
func TestEmptyJournal(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, string(testJournal()): true, string(testJournal()[:30]): true, "my only copy": false,
		"12345678 my only copy of it": false,
	} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		err = emptyJournal(file)
		_ = file.Close()
		left, readErr := os.ReadFile(path)
		if readErr != nil || ok != (err == nil) || ok != (len(left) == 0) && text != "" {
			t.Errorf("%.20q: error %v, %d octets are left", text, err, len(left))
		}
	}
}
