package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// topSoon is how long a frame may wait for more to show: a flood of refusals is drawn ten times a
// second.
const topSoon = 100 * time.Millisecond

// topSource tells of the gate. A *topGate does.
type topSource interface {
	// ask is the state of the gate, and what views need.
	ask(ctx context.Context, views ...topView) topAnswers
	// follow tells of refusals until ctx ends.
	follow(ctx context.Context, pause time.Duration, news chan<- topNews)
}

// top is the live view. The goroutine of run owns it all but what channels hand over.
type top struct {
	screen *topScreen
	gate   topSource
	model  topModel

	running sync.WaitGroup
	faults  chan error        // of goroutines that panicked
	asks    chan topView      // what to ask for, from now on
	answers chan topViewFacts // what was answered
	news    chan topNews
	keys    chan topKey
	frame   <-chan time.Time // when the next frame is due; nil: nothing has changed
	signals chan os.Signal
}

// topViewFacts is what a view was asked for.
type topViewFacts struct {
	view    topView
	answers topAnswers
}

// run shows the gate until somebody quits. Whatever happens, the terminal is given back.
func (t *top) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	t.faults, t.asks = make(chan error, 1), make(chan topView, 1)
	t.answers, t.news, t.keys = make(chan topViewFacts), make(chan topNews), make(chan topKey)
	t.signals = make(chan os.Signal, 16)
	signal.Notify(t.signals, syscall.SIGWINCH, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP,
		syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT)
	defer signal.Stop(t.signals)
	woken, wake, err := os.Pipe()
	if err != nil {
		cancel()
		return failed(fmt.Sprintf("cannot make a pipe: %v", err), "see the limit of open files: ulimit -n")
	}
	if err = t.screen.enter(); err != nil {
		cancel()
		_, _ = woken.Close(), wake.Close()
		return err
	}
	defer func() {
		cause := topPanic(recover(), debug.Stack)
		cancel()
		_ = wake.Close() // which ends the reading of keys
		t.running.Wait()
		_ = woken.Close()
		t.screen.leave()
		if cause != nil {
			err = cause
		}
	}()
	t.spawn(func() { t.screen.readKeys(woken, t.keys, ctx.Done()) })
	t.spawn(func() { t.askAlways(ctx) })
	t.spawn(func() { t.gate.follow(ctx, t.model.every, t.news) })
	return t.loop(ctx)
}

// spawn runs fn, which run waits for. A panic becomes the end of all of it: elsewhere than in run it
// would leave the terminal as it is.
func (t *top) spawn(fn func()) {
	t.running.Go(func() {
		defer func() {
			if err := topPanic(recover(), debug.Stack); err != nil {
				select {
				case t.faults <- err:
				default: // one is enough
				}
			}
		}()
		fn()
	})
}

// topPanic is a panic as a failure, nil if there was none.
func topPanic(cause any, stack func() []byte) error {
	if cause == nil {
		return nil
	}
	return failed(fmt.Sprintf("top has a fault of its own: %s\n%s", escaped(fmt.Sprint(cause)), stack()),
		"please report it with these lines; the gate itself is not touched by it")
}

// askAlways asks the gate again and again, and at once for another view.
func (t *top) askAlways(ctx context.Context) {
	tick := time.NewTicker(t.model.every)
	defer tick.Stop()
	view := topNow
	for {
		facts := topViewFacts{view, t.gate.ask(ctx, view)}
		select {
		case t.answers <- facts:
		case <-ctx.Done():
			return
		}
		select {
		case view = <-t.asks:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// loop shows what comes.
func (t *top) loop(ctx context.Context) error {
	t.draw()
	clock := time.NewTicker(time.Second) // it moves even if the gate does not
	defer clock.Stop()
	for {
		select {
		case key := <-t.keys:
			if t.do(t.model.key(key)) {
				return nil
			}
			t.draw()
		case facts := <-t.answers:
			t.model.answered(&facts.answers, facts.view)
			t.soon()
		case news := <-t.news:
			t.model.heard(&news)
			t.soon()
		case s := <-t.signals:
			if end, err := t.signal(s); end {
				return err
			}
		case <-clock.C:
			t.soon()
		case <-t.frame:
			t.draw()
		case err := <-t.faults:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// do does what a key asks for, and reports whether it is the end.
func (t *top) do(what topDo) (end bool) {
	switch what {
	case topQuit:
		return true
	case topAsk:
		select { // the newest wish counts
		case <-t.asks:
		default:
		}
		t.asks <- t.model.wants()
	case topStop:
		t.stop()
	case topRepaint:
		t.screen.repaint()
	default: // topStay
	}
	return false
}

// signal does what a signal asks for.
func (t *top) signal(s os.Signal) (end bool, err error) {
	switch s {
	case syscall.SIGWINCH:
		t.screen.repaint()
		t.draw()
	case syscall.SIGTSTP:
		t.stop()
	case syscall.SIGCONT:
		if err := t.screen.enter(); err != nil {
			return true, err
		}
		t.draw()
	default:
		return true, failed("ended by the signal "+s.String(), "")
	}
	return false, nil
}

// stop gives the terminal back and stops the process, as Ctrl-Z does. SIGCONT goes on.
func (t *top) stop() {
	t.screen.leave()
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) // it cannot be refused
}

// soon draws a frame, if none is due already.
func (t *top) soon() {
	if t.frame == nil {
		t.frame = time.After(topSoon)
	}
}

func (t *top) draw() {
	t.frame = nil
	t.model.now = time.Now()
	t.model.width, t.model.height = t.screen.size()
	t.screen.draw(t.model.frame())
}
