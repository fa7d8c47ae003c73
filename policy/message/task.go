package message

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// crew is the goroutines that work for a message.
type crew struct {
	sync.WaitGroup

	log *slog.Logger
}

// task is one piece of work that goes on beside the message; value may be read once done is closed.
type task[T any] struct {
	done  chan struct{}
	value T
	ok    bool // there is one
}

// begin starts work in a goroutine of the crew. The work has to end soon after ctx. A fault of ours
// or of a library, which reads what strangers write, is logged and leaves the task without a value.
func begin[T any](ctx context.Context, workers *crew, work func(context.Context) T) *task[T] {
	t := &task[T]{done: make(chan struct{})}
	workers.Go(func() {
		defer close(t.done)
		defer func() {
			if fault := recover(); fault != nil {
				workers.log.Error("internal error in a check of a message; please report it",
					"error", fmt.Sprint(fault), "stack", string(debug.Stack()))
			}
		}()
		t.value = work(ctx)
		t.ok = true
	})
	return t
}

// get is the value if it is there. A nil task has none.
func (t *task[T]) get() (value T, ok bool) {
	if t == nil {
		return value, false
	}
	select {
	case <-t.done:
		return t.value, t.ok
	default:
		return value, false
	}
}

// wait waits for the value, until ctx ends. A nil task has none.
func (t *task[T]) wait(ctx context.Context) (value T, ok bool) {
	if t == nil {
		return value, false
	}
	select {
	case <-t.done:
	case <-ctx.Done():
	}
	return t.get()
}
