package feedback

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	// maxEntry is the longest line of journalctl that is read: a message of 16 KiB, escaped.
	maxEntry = 64 << 10
	// maxStderr of journalctl's words are kept for the log.
	maxStderr = 400

	minRestart = time.Second
	maxRestart = time.Minute
	// stopWait is how long journalctl may take to end when it is told to.
	stopWait = 2 * time.Second
	// badCursors is how often in a row journalctl may end without an entry before its cursor is
	// given up for a time.
	badCursors = 3
)

// command is journalctl under way.
type command interface {
	// lines is its output, until it ends.
	lines() io.Reader
	// wait releases it, and returns why it ended.
	wait() error
}

// journal reads the systemd journal through journalctl: the library of systemd is C, and its file
// format is its own affair.
type journal struct {
	start   func(ctx context.Context, args []string) (command, error)
	history bool
	at      cursor
}

// cursor is a position in the journal.
type cursor struct {
	Cursor string `json:"cursor"`
	// Time is that of the entry, in microseconds since 1970: where to begin if the journal does not
	// know the cursor any more.
	Time uint64 `json:"time"`
}

func newJournal(history bool) *journal { return &journal{start: startJournalctl, history: history} }

func (j *journal) resume(position []byte) {
	var at cursor
	if len(position) > 0 && json.Unmarshal(position, &at) == nil && isCursor(at.Cursor) {
		j.at = at
	}
}

func (j *journal) position() []byte {
	b, _ := json.Marshal(j.at) // of a string and a number: it cannot fail
	return b
}

// isCursor refuses what is no cursor, which is opaque but for its alphabet.
func isCursor(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 1024
}

// args are those of journalctl; they never pass a shell. An entry up to and including skip was read
// before.
func (j *journal) args(byTime bool) (args []string, skip uint64) {
	args = []string{
		"--output=json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER", "--follow", "--quiet",
	}
	switch {
	case j.at.Cursor != "" && !byTime:
		args = append(args, "--no-tail", "--after-cursor="+j.at.Cursor)
	case j.at.Time != 0:
		skip = j.at.Time
		since := strconv.FormatUint(j.at.Time/1e6, 10)
		args = append(args, "--no-tail", "--since=@"+since)
	case j.history:
		args = append(args, "--no-tail")
	default:
		args = append(args, "--lines=0")
	}
	// The facility that Postfix logs with (syslog_facility = mail). Any user can write to the
	// journal; this keeps only chance away, not malice.
	return append(args, "SYSLOG_FACILITY=2"), skip
}

func (j *journal) run(ctx context.Context, f *Follower, observe func(Observation)) {
	delay, failures := minRestart, 0
	for ctx.Err() == nil {
		entries, err := j.session(ctx, f, observe, failures >= badCursors)
		if ctx.Err() != nil {
			return
		}
		if entries > 0 {
			delay, failures = minRestart, 0
		} else {
			failures++
		}
		f.fault("journalctl ended: "+err.Error(), "let the user of this service read the journal (group "+
			"systemd-journal or adm), or set verify.feedback.relay_log to a file")
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, maxRestart)
	}
}

// session runs journalctl until it ends, and returns how many entries it gave and why it ended.
func (j *journal) session(
	ctx context.Context, f *Follower, observe func(Observation), byTime bool,
) (entries int, err error) {
	args, skip := j.args(byTime)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, err := j.start(ctx, args)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewReaderSize(cmd.lines(), maxEntry)
	for {
		line, err := readEntry(lines)
		if err != nil {
			break
		}
		e, ok := parseEntry(line)
		if !ok || e.at <= skip {
			continue
		}
		entries++
		if entries == 1 {
			f.fault("", "")
		}
		at := time.UnixMicro(int64(e.at)) //nolint:gosec // of 63 bits, see parseEntry
		if o, ok := f.parser.entry(e.label, e.message, at); ok {
			observe(o)
		}
		j.at = cursor{Cursor: e.cursor, Time: e.at}
		f.moved()
	}
	cancel()
	if err = cmd.wait(); err == nil {
		err = errors.New("without an error")
	}
	return entries, err
}

// readEntry reads one line; of one that is too long, the beginning, which is no JSON.
func readEntry(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	for more := err; errors.Is(more, bufio.ErrBufferFull); {
		_, more = r.ReadSlice('\n')
		line, err = nil, more
	}
	return line, err
}

type entry struct {
	label, message []byte
	cursor         string
	at             uint64
}

// parseEntry reads one entry of journalctl --output=json.
func parseEntry(line []byte) (e entry, ok bool) {
	var raw struct {
		Cursor  string          `json:"__CURSOR"`
		Time    string          `json:"__REALTIME_TIMESTAMP"`
		Message json.RawMessage `json:"MESSAGE"`
		Label   json.RawMessage `json:"SYSLOG_IDENTIFIER"`
	}
	if json.Unmarshal(line, &raw) != nil || !isCursor(raw.Cursor) {
		return entry{}, false
	}
	e.cursor = raw.Cursor
	var err error
	if e.at, err = strconv.ParseUint(raw.Time, 10, 63); err != nil {
		return entry{}, false
	}
	e.label, e.message = journalText(raw.Label), journalText(raw.Message)
	return e, true
}

// journalText reads the value of a field: a string, or where it is not UTF-8 an array of octets. It
// is nil for others: null stands for one that was left out.
func journalText(raw json.RawMessage) []byte {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return nil
		}
		return []byte(s)
	}
	var octets []uint16
	if json.Unmarshal(raw, &octets) != nil {
		return nil
	}
	b := make([]byte, 0, len(octets))
	for _, o := range octets {
		if o > 0xff {
			return nil
		}
		b = append(b, byte(o))
	}
	return b
}

// journalctl is the real command.
type journalctl struct {
	cmd    *exec.Cmd
	stdout io.Reader
	stderr firstWords
}

func startJournalctl(ctx context.Context, args []string) (command, error) {
	j := &journalctl{cmd: exec.CommandContext(ctx, "journalctl", args...)}
	j.cmd.WaitDelay = stopWait
	j.cmd.Stderr = &j.stderr
	var err error
	if j.stdout, err = j.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return j, j.cmd.Start()
}

func (j *journalctl) lines() io.Reader { return j.stdout }

func (j *journalctl) wait() error {
	err := j.cmd.Wait()
	if words := strings.TrimSpace(string(j.stderr.b)); words != "" {
		return errors.New(words)
	}
	return err
}

// firstWords keeps the first words of what is written to it.
type firstWords struct{ b []byte }

func (t *firstWords) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), maxStderr-len(t.b))]...)
	return len(p), nil
}
