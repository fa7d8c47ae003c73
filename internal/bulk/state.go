package bulk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/verify"
)

// state is what is known of each address, by its number. It is what a journal says.
type state struct {
	answers []Answer
	asked   []uint8     // how often its mail server was asked, at most 255
	open    []bool      // is being asked
	first   []time.Time // greylisted since; nil until one is
	due     []time.Time
	texts   map[string]string
	fields  []string // room for those of a line
}

func newState(n int) *state {
	return &state{
		answers: make([]Answer, n), asked: make([]uint8, n), open: make([]bool, n),
		texts: make(map[string]string),
	}
}

// tornMost is how much of the end of a journal may be unreadable: what one batch and the line that
// outgrew it are.
const tornMost = 2 * journalBatch

// replay takes up what a journal of size octets has, whose first line must be header. good is how much
// of it can be read. A journal that is empty, or has only a part of the first line, is new.
func (s *state) replay(from io.Reader, size int64, header []byte) (good int64, err error) {
	r := bufio.NewReaderSize(from, 64<<10)
	for number := 1; ; number++ {
		raw, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, fmt.Errorf("cannot read the journal: %w", err)
		}
		line, ok := checkLine(raw)
		switch {
		case number == 1 && !ok && int64(len(raw)) == size && bytes.HasPrefix(appendLine(nil, header), raw):
			return 0, nil
		case number == 1 && !bytes.HasPrefix(line, []byte(journalMagic+"\t")):
			return 0, errNoJournal
		case number == 1 && !bytes.Equal(line, header):
			return 0, differs(line, header)
		case number == 1:
		case !ok && size-good > tornMost:
			return 0, damaged(number, errors.New("wrong checksum"))
		case !ok:
			return good, nil
		default:
			if err := s.take(line); err != nil {
				return 0, damaged(number, err)
			}
		}
		good += int64(len(raw))
	}
}

func damaged(line int, err error) error {
	return &listError{
		text: fmt.Sprintf("the journal is damaged in line %d: %v", line, err),
		hint: "begin anew with --restart; addresses that have been asked about will be asked about again",
	}
}

// differs says why the journal is that of another run.
func differs(got, want []byte) error {
	g, w := strings.SplitN(string(got), "\t", 5), strings.SplitN(string(want), "\t", 5)
	const hint = "give the same list and options as before to resume, or begin anew with --restart"
	switch {
	case len(g) != 5 || g[1] != w[1]:
		return &listError{text: "the journal was written by another version of rcptgate", hint: hint}
	case g[2] != w[2]:
		return &listError{text: "the journal belongs to another list, or the list was changed", hint: hint}
	case g[4] != w[4]:
		return &listError{text: fmt.Sprintf("the check began with other options: %s, now %s", g[4], w[4]), hint: hint}
	}
	return &listError{text: "the journal belongs to another list", hint: hint}
}

// take takes up one line.
func (s *state) take(line []byte) error {
	fields := s.fields[:0]
	for field := range strings.SplitSeq(string(line), "\t") {
		fields = append(fields, field)
	}
	s.fields = fields
	if len(fields) < 2 || len(fields[0]) != 1 {
		return errors.New("no line of a journal")
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil || n < 0 || n >= len(s.answers) {
		return fmt.Errorf("there is no address %q", fields[1])
	}
	at, fields := int32(n), fields[2:] //nolint:gosec // less than maxRows
	switch kind := line[0]; {
	case kind == lineAsking && len(fields) == 0:
		s.ask(at)
	case kind == lineBack && len(fields) == 0:
		s.back(at)
	case kind == lineLater && len(fields) == 2:
		first, err1 := strconv.ParseInt(fields[0], 10, 64)
		due, err2 := strconv.ParseInt(fields[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		s.later(at, time.Unix(first, 0), time.Unix(due, 0))
	case kind == lineAnswer:
		a, err := parseAnswer(fields)
		if err != nil {
			return err
		}
		s.answer(at, a)
	default:
		return fmt.Errorf("line %q with %d fields", kind, len(fields))
	}
	return nil
}

func (s *state) ask(n int32) {
	s.open[n] = true
	if s.asked[n] < 255 {
		s.asked[n]++
	}
}

func (s *state) back(n int32) {
	if s.open[n] && s.asked[n] > 0 {
		s.asked[n]--
	}
	s.open[n] = false
}

func (s *state) later(n int32, first, due time.Time) {
	if s.first == nil {
		s.first, s.due = make([]time.Time, len(s.answers)), make([]time.Time, len(s.answers))
	}
	s.open[n], s.first[n], s.due[n] = false, first, due
}

func (s *state) answer(n int32, a Answer) {
	a.Reason = verify.Reason(s.text(string(a.Reason)))
	a.Verdict = verify.Verdict(s.text(string(a.Verdict)))
	a.Provider, a.MX = s.text(a.Provider), s.text(a.MX)
	s.open[n], s.answers[n] = false, a
	if s.first != nil {
		s.first[n] = time.Time{}
	}
}

// text returns the one copy of a text that many answers have.
func (s *state) text(t string) string {
	if one, ok := s.texts[t]; ok {
		return one
	}
	t = strings.Clone(t)
	s.texts[t] = t
	return t
}

// since is when an address was first greylisted; zero if it is not.
func (s *state) since(n int32) time.Time {
	if s.first == nil {
		return time.Time{}
	}
	return s.first[n]
}
