package feedback

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// logDir is a log and its writer, a syslog daemon that does not notice that its file was renamed
// until it is told to open it again.
type logDir struct {
	t       *testing.T
	path    string
	writer  *os.File
	name    string // of the writer's file by now
	written int    // lines
	clock   time.Time
}

func newLogDir(t *testing.T) *logDir {
	t.Helper()
	d := &logDir{
		t: t, path: filepath.Join(t.TempDir(), "mail.log"), clock: time.Now().Add(-24 * time.Hour),
	}
	t.Cleanup(func() { d.close() })
	return d
}

func (d *logDir) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *logDir) close() {
	if d.writer != nil {
		d.check(d.writer.Close())
		d.writer = nil
	}
}

// reopen is what HUP does.
func (d *logDir) reopen() {
	d.t.Helper()
	d.close()
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	d.check(err)
	d.writer, d.name = f, d.path
	d.touch(d.path)
}

// touch gives a file the next second, so that the order of files does not hang on the disk's clock.
func (d *logDir) touch(name string) {
	d.t.Helper()
	d.clock = d.clock.Add(time.Second)
	d.check(os.Chtimes(name, d.clock, d.clock))
}

func (d *logDir) text(s string) {
	d.t.Helper()
	_, err := d.writer.WriteString(s)
	d.check(err)
	d.touch(d.name)
}

func line(n int) string {
	return fmt.Sprintf("Nov 24 11:00:00 mail.example.com postfix/smtp[%d]: %d: %s", n, n, strings.Repeat("x", n%90))
}

func (d *logDir) lines(n int) {
	d.t.Helper()
	for range n {
		d.written++
		d.text(line(d.written) + "\n")
	}
}

// shift makes place for a new mail.log.1.
func (d *logDir) shift() {
	d.t.Helper()
	for i := 8; i >= 1; i-- {
		from := d.path + "." + strconv.Itoa(i)
		if _, err := os.Stat(from); err == nil {
			to := d.path + "." + strconv.Itoa(i+1)
			d.check(os.Rename(from, to))
			if d.name == from {
				d.name = to
			}
		}
	}
}

func (d *logDir) rename() {
	d.t.Helper()
	d.shift()
	d.check(os.Rename(d.path, d.path+".1"))
	d.name = d.path + ".1"
}

func (d *logDir) copyTruncate() {
	d.t.Helper()
	d.shift()
	b, err := os.ReadFile(d.path)
	d.check(err)
	d.check(os.WriteFile(d.path+".1", b, 0o600))
	d.touch(d.path + ".1")
	d.check(os.Truncate(d.path, 0))
	d.touch(d.path)
}

// reader is a tail with what it has read.
type reader struct {
	t    *testing.T
	tail *tail
	got  []int
	junk []string
}

func newReader(t *testing.T, path string, history bool) *reader {
	t.Helper()
	r := &reader{t: t, tail: newTail(path, history)}
	t.Cleanup(r.close)
	return r
}

func (r *reader) close() {
	if r.tail.file != nil {
		_ = r.tail.file.Close()
	}
}

func (r *reader) handle(b []byte) {
	_, rest, _ := strings.Cut(string(b), "]: ")
	digits, _, _ := strings.Cut(rest, ":")
	n, err := strconv.Atoi(digits)
	if err != nil || string(b) != line(n) {
		r.junk = append(r.junk, string(b))
		return
	}
	r.got = append(r.got, n)
}

// poll polls until nothing is new at once.
func (r *reader) poll() {
	r.t.Helper()
	for more := true; more; {
		var err error
		if more, err = r.tail.poll(r.handle); err != nil && !os.IsNotExist(err) {
			r.t.Fatal(err)
		}
	}
}

// settle polls often enough to move through all rotated files.
func (r *reader) settle() {
	r.t.Helper()
	for range 10 * (quietPolls + 1) {
		r.poll()
	}
}

// restart goes on from the position, as a new process.
func (r *reader) restart() {
	position := r.tail.position()
	r.close()
	r.tail = newTail(r.tail.path, false)
	r.tail.resume(position)
}

// want checks that the lines from to to were read, each once and in order.
func (r *reader) want(from, to int) {
	r.t.Helper()
	var want []int
	for n := from; n <= to; n++ {
		want = append(want, n)
	}
	if !slices.Equal(r.got, want) || len(r.junk) > 0 {
		r.t.Fatalf("read %v and %q, want %d to %d", r.got, r.junk, from, to)
	}
}

func TestFirstStart(t *testing.T) {
	d := newLogDir(t)
	d.reopen()
	d.lines(3)
	d.text(line(4)[:20])
	end, all := newReader(t, d.path, false), newReader(t, d.path, true)
	end.poll()
	all.poll()
	d.text(line(4)[20:] + "\n")
	d.written = 4
	d.lines(2)
	end.poll()
	all.poll()
	end.want(4, 6)
	all.want(1, 6)

	// A file that is not there yet is new, all of it.
	d = newLogDir(t)
	r := newReader(t, d.path, false)
	r.poll()
	d.reopen()
	d.lines(2)
	r.poll()
	r.want(1, 2)
}

func TestRotation(t *testing.T) {
	for name, rotate := range map[string]func(d *logDir, r *reader){
		"rename and create": func(d *logDir, r *reader) {
			d.rename()
			d.lines(2) // the writer has not noticed yet
			r.poll()
			d.reopen()
			d.lines(2)
		},
		"rename, created empty": func(d *logDir, r *reader) {
			d.rename()
			old := d.writer
			d.writer = nil
			d.reopen()
			r.settle()
			d.written++
			_, err := old.WriteString(line(d.written) + "\n")
			d.check(err)
			d.check(old.Close())
		},
		"dated": func(d *logDir, _ *reader) {
			d.check(os.Rename(d.path, strings.Replace(d.path, "mail.log", "mail-20261124.log", 1)))
			d.reopen()
		},
		"copied and truncated":              func(d *logDir, _ *reader) { d.copyTruncate() },
		"copied and truncated, then bigger": func(d *logDir, _ *reader) { d.copyTruncate(); d.lines(60) },
		"twice at once": func(d *logDir, _ *reader) {
			d.rename()
			d.reopen()
			d.lines(3)
			d.rename()
			d.reopen()
			d.lines(3)
		},
		"gone for a while": func(d *logDir, r *reader) {
			d.rename()
			d.close()
			r.settle()
			d.reopen()
		},
		"symbolic link": func(d *logDir, r *reader) {
			d.close()
			d.check(os.Rename(d.path, d.path+"-a"))
			d.check(os.Symlink(d.path+"-a", d.path))
			r.restart() // from now on it is a link
			r.settle()
			d.reopen()
			d.lines(2)
			r.poll()
			d.lines(1)
			d.close()
			d.check(os.WriteFile(d.path+"-b", nil, 0o600))
			d.check(os.Symlink(d.path+"-b", d.path+".new"))
			d.check(os.Rename(d.path+".new", d.path))
			d.reopen()
		},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " restarted ", restarted), func(t *testing.T) {
				d := newLogDir(t)
				d.reopen()
				r := newReader(t, d.path, true)
				d.lines(20)
				r.poll()
				d.lines(10) // not read yet when it happens
				rotate(d, r)
				d.lines(2)
				if restarted {
					r.restart()
				}
				r.settle()
				d.lines(2)
				r.settle()
				r.want(1, d.written)
			})
		}
	}
}

// A random history of writing, rotation, reading and restarts: each line is read once, in order.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		d := newLogDir(t)
		d.reopen()
		d.lines(1)
		r := newReader(t, d.path, true)
		r.poll()
		var rest string // of a line that was begun
		var did []string
		for range 40 {
			op := rnd.IntN(12)
			did = append(did, strconv.Itoa(op))
			switch {
			case op <= 3:
				if rest != "" {
					d.text(rest)
					rest = ""
				}
				d.lines(rnd.IntN(30))
			case op == 4 && rest == "":
				d.written++
				l := line(d.written) + "\n"
				cut := 1 + rnd.IntN(len(l)-1)
				d.text(l[:cut])
				rest = l[cut:]
			case op == 5 && rest == "" && d.name == d.path && d.written > 0:
				d.rename()
			case op == 6 && rest == "" && d.name != d.path:
				d.reopen()
			case op == 7 && rest == "" && d.name == d.path:
				if info, err := os.Stat(d.path); err == nil && info.Size() > sureHead {
					d.copyTruncate()
				}
			case op == 8:
				r.restart()
			default:
				r.poll()
			}
		}
		d.text(rest)
		if d.name != d.path {
			d.reopen()
		}
		d.lines(1)
		r.settle()
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d: %s", seed, strings.Join(did, " "))
				}
			}()
			r.want(1, d.written)
		}()
	}
}

func TestCompressedAreMissed(t *testing.T) {
	d := newLogDir(t)
	d.reopen()
	r := newReader(t, d.path, true)
	d.lines(20)
	r.poll()
	d.lines(5)
	d.rename()
	d.check(os.Rename(d.path+".1", d.path+".1.gz"))
	d.reopen()
	d.lines(2)
	r.restart()
	r.poll()
	if !r.tail.lost {
		t.Error("nobody is told that lines are missed")
	}
	r.got = slices.DeleteFunc(r.got, func(n int) bool { return n <= 20 })
	r.want(26, 27)
}

func TestLongLines(t *testing.T) {
	d := newLogDir(t)
	d.reopen()
	r := newReader(t, d.path, true)
	d.lines(1)
	d.text(strings.Repeat("y", 3*readSize))
	r.poll()
	if cap(r.tail.carry) > 2*(readSize+maxLine) {
		t.Errorf("%d octets are kept of a line without end", cap(r.tail.carry))
	}
	d.lines(0)
	d.text("\n")
	d.lines(1)
	d.text(strings.Repeat("z", maxLine+1))
	r.poll()
	r.restart()
	r.poll()
	d.text("zz\n")
	d.lines(2)
	r.settle()
	r.want(1, 4)
}

func TestPlacesOfOthers(t *testing.T) {
	for _, s := range []string{"", "x", "null", "{}", `{"offset":-1,"head":"x"}`, `{"head":"x","head_size":9999}`} {
		if p := parsePlace([]byte(s)); p != nil {
			t.Errorf("%q is a place: %+v", s, p)
		}
	}
	// The position of another file, or of no file at all: begin with what is there.
	d := newLogDir(t)
	d.reopen()
	d.lines(3)
	r := newReader(t, d.path, false)
	r.tail.resume([]byte(`{"offset":10,"head":"00","head_size":64}`))
	r.poll()
	r.want(1, 3)
}

func TestSiblings(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"mail.log", "mail.log.1", "mail.log-20261124", "mail-20261123.log", "mail.log.20261124-110000",
		"mail.err", "mail.log.2.gz", "mail.log.old", "mail.logx", "mail.log.", "mail", "mailx.log", "mail.log~",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, s := range siblings(filepath.Join(dir, "mail.log")) {
		got = append(got, filepath.Base(s.path))
	}
	slices.Sort(got)
	want := []string{"mail-20261123.log", "mail.log-20261124", "mail.log.1", "mail.log.20261124-110000"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
