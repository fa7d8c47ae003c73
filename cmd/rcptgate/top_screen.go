package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Control sequences of xterm, which all terminals of today know: the alternate screen, no cursor, no
// line that goes on in the next row; and back.
const (
	topEnterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	topLeaveScreen = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// topScreen is a terminal of which a program has the whole screen, between enter and leave.
type topScreen struct {
	in, out *os.File
	color   bool

	saved *term.State // how the terminal was; nil: it is so
	shown []string    // the rows as they are; nil: not known
}

// enter takes the screen, or takes it again when somebody else may have used it: leave then gives
// back what was there the first time.
func (s *topScreen) enter() error {
	saved, err := term.MakeRaw(int(s.in.Fd()))
	if err != nil {
		return failed(fmt.Sprintf("the terminal cannot be set up: %v", err), "use --once")
	}
	if s.saved == nil {
		s.saved = saved
	}
	s.shown = nil
	s.write(topEnterScreen)
	return nil
}

// leave gives the screen back as it was. It may be called twice.
func (s *topScreen) leave() {
	if s.saved == nil {
		return
	}
	s.write(topLeaveScreen)
	_ = term.Restore(int(s.in.Fd()), s.saved) // a terminal that has gone needs nothing
	s.saved = nil
}

// size is that of the terminal; 80 by 24 if it does not say.
func (s *topScreen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// repaint makes the next frame draw all of it.
func (s *topScreen) repaint() { s.shown = nil }

// draw shows a frame: the rows that are not there yet, in one write.
func (s *topScreen) draw(frame []topLine) {
	if s.saved == nil {
		return
	}
	var b strings.Builder
	if s.shown == nil || len(s.shown) != len(frame) {
		b.WriteString("\x1b[2J")
		s.shown = make([]string, len(frame))
	}
	for i, line := range frame {
		if row := line.paint(s.color); row != s.shown[i] {
			fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[K", i+1, row)
			s.shown[i] = row
		}
	}
	if b.Len() > 0 {
		s.write(b.String())
	}
}

// write writes to the terminal. One that has gone is noticed where keys are read.
func (s *topScreen) write(text string) { _, _ = s.out.WriteString(text) }

// topEscapeTime is how long the rest of a key's sequence may take to come.
const topEscapeTime = 50 * time.Millisecond

// readKeys hands over keys until wake can be read, which ends it, or the terminal has gone.
func (s *topScreen) readKeys(wake *os.File, keys chan<- topKey, ended <-chan struct{}) {
	var rest []byte
	buffer := make([]byte, 1024)
	for {
		ready, woken := s.wait(wake, len(rest) > 0)
		switch {
		case woken:
			return
		case !ready: // it does not go on: so it was the key Escape, or half a character
			escape := rest[0] == 0x1b
			rest = nil
			if escape && !sendKey(keys, topEscape, ended) {
				return
			}
			continue
		}
		n, err := s.in.Read(buffer)
		if err != nil || n == 0 {
			sendKey(keys, topInterrupt, ended)
			return
		}
		var got []topKey
		got, rest = parseTopKeys(append(rest, buffer[:n]...))
		for _, key := range got {
			if !sendKey(keys, key, ended) {
				return
			}
		}
	}
}

func sendKey(keys chan<- topKey, key topKey, ended <-chan struct{}) bool {
	select {
	case keys <- key:
		return true
	case <-ended:
		return false
	}
}

// wait waits until there is something to read, or, with begun, until a begun sequence is one no more.
func (s *topScreen) wait(wake *os.File, begun bool) (ready, woken bool) {
	for {
		files := []unix.PollFd{
			{Fd: int32(s.in.Fd()), Events: unix.POLLIN}, //nolint:gosec // a descriptor is small
			{Fd: int32(wake.Fd()), Events: unix.POLLIN}, //nolint:gosec // a descriptor is small
		}
		limit := -1
		if begun {
			limit = int(topEscapeTime.Milliseconds())
		}
		n, err := unix.Poll(files, limit)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return true, false // reading tells what is wrong
		case files[1].Revents != 0:
			return false, true
		}
		return n > 0, false
	}
}
