package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openTerminal opens a pseudo-terminal (ptmx(4)): master is the emulator's side.
func openTerminal(t *testing.T, width, height int) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	var number int
	withFD(t, master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	setSize(t, master, width, height)
	return master, slave
}

// withFD uses the descriptor of a file without making it block, as Fd would.
func withFD(t *testing.T, file *os.File, fn func(fd int) error) {
	t.Helper()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
}

func setSize(t *testing.T, master *os.File, width, height int) {
	t.Helper()
	withFD(t, master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
			Col: uint16(width), Row: uint16(height),
		})
	})
}

func settings(t *testing.T, slave *os.File) (s unix.Termios) {
	t.Helper()
	withFD(t, slave, func(fd int) error {
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			s = *got
		}
		return err
	})
	return s
}

// seat is a person in front of a terminal.
type seat struct {
	t             *testing.T
	screen        *emulated
	master, slave *os.File
	before        unix.Termios
	changed       chan struct{}
	read          chan struct{} // closed when nothing more comes
	cmd           *exec.Cmd
	done          chan error
}

func newSeat(t *testing.T, width, height int) *seat {
	t.Helper()
	s := &seat{
		t: t, screen: newEmulated(width, height), changed: make(chan struct{}, 1),
		read: make(chan struct{}), done: make(chan error, 1),
	}
	s.master, s.slave = openTerminal(t, width, height)
	s.before = settings(t, s.slave)
	go func() {
		defer close(s.read)
		buffer := make([]byte, 64<<10)
		for {
			n, err := s.master.Read(buffer)
			if err != nil {
				return
			}
			s.screen.write(buffer[:n])
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.slave.Close()
		_ = s.master.Close()
		<-s.read
	})
	return s
}

// sitDown starts `rcptgate top` on a terminal of its own.
func sitDown(t *testing.T, config string, width, height int, env ...string) *seat {
	t.Helper()
	s := newSeat(t, width, height)
	bin, err := exec.LookPath("rcptgate")
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(bin, "top", "--config", config, "--interval", "200ms")
	s.cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "LC_ALL=C.UTF-8", "NO_COLOR="}, env...)...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.ended() // it was killed
		}
	})
	return s
}

// sees waits until the screen is as it should. The deadline is only there so that a fault ends.
func (s *seat) sees(what string, is func(screen string) bool) string {
	s.t.Helper()
	late := time.After(30 * time.Second)
	for {
		if text := s.screen.text(); is(text) {
			return text
		}
		select {
		case <-s.changed:
		case err := <-s.done:
			s.t.Fatalf("top has ended, %v, before %s:\n%s", err, what, s.screen.text())
		case <-late:
			s.t.Fatalf("the screen does not show %s:\n%s", what, s.screen.text())
		}
	}
}

// reads waits for texts, all of them on the screen at once.
func (s *seat) reads(texts ...string) string {
	s.t.Helper()
	return s.sees(strings.Join(texts, ", "), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

func (s *seat) types(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *seat) resize(width, height int) {
	s.t.Helper()
	s.screen.resize(width, height)
	setSize(s.t, s.master, width, height)
}

func (s *seat) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// ended waits for the end of the process.
func (s *seat) ended() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(30 * time.Second):
		s.t.Fatalf("top does not end:\n%s", s.screen.text())
		return nil
	}
}

// left holds the terminal to what it was before.
func (s *seat) left() {
	s.t.Helper()
	s.sees("what was there before", func(string) bool { return s.screen.given() })
	if now := settings(s.t, s.slave); now != s.before {
		s.t.Errorf("the terminal was %+v, is %+v", s.before, now)
	}
	s.screen.check(s.t)
}

// topConfig is a gate in a simulated internet that can be asked over its control socket.
func topConfig(t *testing.T, upstream, state string) string {
	t.Helper()
	return worldConfig("127.0.0.1:0", upstream, testWorld(t)) +
		"[policy]\nstate_directory = \"" + state + "\"\n[policy.journal]\nredact = \"off\"\n"
}

// refuse has the gate refuse a recipient.
func refuse(t *testing.T, address string, recipients ...string) {
	t.Helper()
	d := openDialogue(t, "tcp", address)
	d.say("EHLO client.example.org", "250")
	d.say("MAIL FROM:<news@example.org>", "250")
	for _, rcpt := range recipients {
		d.say("RCPT TO:<"+rcpt+">", "550 5.1.1 ")
	}
	d.say("QUIT", "221")
}

// TestTop watches a real gate with real mail through it.
func TestTop(t *testing.T) {
	_, upstream := testRelay(t)
	toml := topConfig(t, upstream, filepath.Join(t.TempDir(), "state"))
	gate := startServe(t, toml)
	address := gate.listening("smtp")
	gate.logged("ready")
	refuse(t, address, "nobody@example.com")

	s := sitDown(t, gate.path, 80, 24)
	s.reads("rcptgate ", "ready", " 1 Now ", "nobody@example.com", " up, ", "LAST MINUTE", "rejected", "half within ",
		"0 held, 0 throttled", "q quit")
	s.types("4")
	s.reads("RECIPIENT", "REF", "nobody@example.com")
	refuse(t, address, "zoe@rude.example.com")
	s.reads("@rude.example.com", "nobody@example.com")

	s.types("/RUDE")
	s.sees("the filter", func(screen string) bool {
		return strings.Contains(screen, "/RUDE") && strings.Contains(screen, "@rude.example.com") &&
			!strings.Contains(screen, "nobody@")
	})
	s.types("\x1b")
	s.reads("nobody@example.com", "q quit")

	s.types("p")
	s.reads(" paused ")
	refuse(t, address, "late@example.com")
	if screen := s.reads("1 more refused"); strings.Contains(screen, "late@") {
		t.Errorf("it moves while it is paused:\n%s", screen)
	}
	s.types("p")
	s.reads("late@example.com")
	s.types("?")
	s.reads("rcptgate why REF")
	s.types("q")
	s.sees("the view", func(screen string) bool { return !strings.Contains(screen, "why REF") })

	for _, size := range [][2]int{{60, 20}, {200, 50}, {40, 12}, {16, 5}, {1, 1}, {80, 24}} {
		s.resize(size[0], size[1])
		for range topViews {
			s.types("\t")
		}
		s.types("?\x1b[C\x1b[D4")
		if size[0] > 1 {
			s.reads("Refusals")
			s.screen.check(t)
		}
	}
	s.reads("late@example.com", "RECIPIENT", "q quit")
	s.types("q")
	if err := s.ended(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.left()
	gate.stop()
}

// TestTopNarrow: nothing of any view is wider than 60 columns, whatever is in it.
func TestTopNarrow(t *testing.T) {
	_, upstream := testRelay(t)
	gate := startServe(t, topConfig(t, upstream, filepath.Join(t.TempDir(), "state")))
	address := gate.listening("smtp")
	gate.logged("ready")
	refuse(t, address, strings.Repeat("x", 60)+"@example.com", "a@rude.example.com")
	s := sitDown(t, gate.path, 60, 20)
	s.reads("1 Now", "xxxxxxxxxxxx", "@rude.example.com", "q quit")
	for key, text := range map[string]string{
		"2": "PROVIDER", "3": "SENDER", "4": "RECIPIENT", "5": "configuration",
	} {
		s.types(key)
		s.reads(text, "q quit")
	}
	s.types("\x03")
	if err := s.ended(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.left()
	gate.stop()
}

// TestTopLosesTheGate: it says so, and goes on with the next one.
func TestTopLosesTheGate(t *testing.T) {
	_, upstream := testRelay(t)
	toml := topConfig(t, upstream, filepath.Join(t.TempDir(), "state"))
	gate := startServe(t, toml)
	gate.logged("ready")
	s := sitDown(t, gate.path, 80, 24, "NO_COLOR=1")
	s.reads("ready", "relay")
	gate.stop()
	s.reads("no answer since ", "the gate does not answer: ", "trying again")
	next := startServe(t, toml)
	address := next.listening("smtp")
	next.logged("ready")
	s.sees("the next gate", func(screen string) bool {
		return strings.Contains(screen, "ready") && !strings.Contains(screen, "no answer")
	})
	s.types("4")
	s.reads("4 Refusals", "nothing was refused yet")
	refuse(t, address, "nobody@example.com")
	s.reads("nobody@example.com")
	s.signal(syscall.SIGTERM)
	if exit, ok := errors.AsType[*exec.ExitError](s.ended()); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("exit: %v", exit)
	}
	s.reads("ended by the signal terminated")
	s.left()
	next.stop()
}

// TestTopStops: Ctrl-Z gives the terminal back until the shell goes on with it.
func TestTopStops(t *testing.T) {
	_, upstream := testRelay(t)
	gate := startServe(t, topConfig(t, upstream, filepath.Join(t.TempDir(), "state")))
	gate.logged("ready")
	s := sitDown(t, gate.path, 80, 24)
	for _, stop := range []func(){
		func() { s.types("\x1a") }, func() { s.signal(syscall.SIGTSTP) },
	} {
		s.reads("ready", "q quit")
		stop()
		// Who goes on with it before it has stopped would let it stop for good.
		if err := unix.Waitid(unix.P_PID, s.cmd.Process.Pid, nil, unix.WSTOPPED, nil); err != nil {
			t.Fatal(err)
		}
		s.left()
		s.signal(syscall.SIGCONT)
		s.sees("the screen taken again", func(string) bool { return !s.screen.given() })
	}
	s.reads("ready", "q quit")
	s.types("q")
	if err := s.ended(); err != nil {
		t.Errorf("exit: %v", err)
	}
	s.left()
	gate.stop()
}

// panicking is a source with a fault.
type panicking struct{ ask1, follow1 bool }

func (p panicking) ask(context.Context, ...topView) topAnswers {
	if p.ask1 {
		panic("a fault \x1b[31m in ask")
	}
	return topAnswers{err: errTopStreamEnded}
}

func (p panicking) follow(ctx context.Context, _ time.Duration, _ chan<- topNews) {
	if p.follow1 {
		panic("a fault \x1b[31m in follow")
	}
	<-ctx.Done()
}

// TestTopPanics: a fault of its own leaves the terminal as it was, and is told.
func TestTopPanics(t *testing.T) {
	for name, source := range map[string]panicking{
		"ask": {ask1: true}, "follow": {follow1: true}, "draw": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeat(t, 80, 24)
			view := top{
				screen: &topScreen{in: s.slave, out: s.slave}, gate: source,
				model: topModel{every: time.Second},
			}
			if name == "draw" {
				view.model.view = -1 // which has no name
			}
			err := view.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "top has a fault of its own: ") ||
				!strings.Contains(err.Error(), "top_") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%v", err)
			}
			s.left()
		})
	}
}

// TestTopNeedsATerminal: also, what it says where there is no gate.
func TestTopNeedsATerminal(t *testing.T) {
	d := newDesk(t)
	d.steps([]step{
		{"top", 2, ``, `top needs a terminal.*--once`},
		{"top --interval 1ms", 2, ``, `--interval: 1ms is not from 200ms to 1m`},
		{"top --once", 1, ``, `the gate does not answer: .*does it run`},
		{"top x", 2, ``, `takes no arguments`},
	})
	d.write("gate.toml", "[proxy]\nhostname = \"gate.example.com\"\n[relay]\nupstreams = [\"127.0.0.1:9\"]\n")
	d.steps([]step{{"top --once", 1, ``, `no control socket.*policy.state_directory`}})
}

// TestTopOnce: a script sees everything, and no control characters.
func TestTopOnce(t *testing.T) {
	_, upstream := testRelay(t)
	gate := startServe(t, topConfig(t, upstream, filepath.Join(t.TempDir(), "state")))
	address := gate.listening("smtp")
	gate.logged("ready")
	refuse(t, address, "nobody@example.com", "a@rude.example.com")
	d := &desk{t: t, config: gate.path}
	code, out, errs := d.rcptgate("top", "--once")
	if code != exitDone || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		`(?m)^rcptgate \S+  ready`, `(?m)^Now\n`, `(?m)^  senders +0 held`, `(?m)^Providers\n`, `(?m)^Senders\n`,
		`client:127\.0\.0\.1`, `(?m)^Refusals\n`, `reject +nobody@example\.com +mailbox_unknown`,
		`(?m)^Health\n`, `(?m)^  relay +no upstream is known to be down`,
	} {
		if !matches(want, out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if strings.ContainsFunc(out, func(r rune) bool { return r < ' ' && r != '\n' }) {
		t.Errorf("control characters in %q", out)
	}
	gate.stop()
}

// TestTopSize: a terminal that does not say its size has the usual one.
func TestTopSize(t *testing.T) {
	_, slave := openTerminal(t, 0, 0)
	if !term.IsTerminal(int(slave.Fd())) {
		t.Fatal("no terminal")
	}
	if w, h := (&topScreen{out: slave}).size(); w != 80 || h != 24 {
		t.Errorf("%d by %d", w, h)
	}
}
