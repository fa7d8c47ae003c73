package message

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestOldResolver: a message that began before a change of the configuration is checked to its end by
// the resolver of that time, which is closed behind it and not before.
func TestOldResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, _ := resolver(t, zone(t)...)
		after, _ := resolver(t, zone(t)...)
		checker := newChecker(t, config(Reject), before, nil)
		run := checker.Begin(envelope(t))
		drained, err := checker.Reconfigure(config(Reject), after)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			drained(context.Background())
			before.Close()
		}()
		synctest.Wait()
		run.Write(wire(sign(t, newsletter(time.Now()))))
		if report := run.Finish(t.Context()); report.Action != ActionPass {
			t.Errorf("the open message: %s", details(report))
		}
		<-closed
		if report := check(t, checker, envelope(t), wire(sign(t, newsletter(time.Now()))), 99); report.Action !=
			ActionPass {
			t.Errorf("the next message: %s", details(report))
		}
		left := checker.Begin(envelope(t))
		again, err := checker.Reconfigure(config(Warn), after)
		if err != nil {
			t.Fatal(err)
		}
		left.Close()
		left.Close()
		again(t.Context())
	})
}
