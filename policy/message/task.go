package message

import (
	"context"
	"sync"
)

// task is one piece of work that goes on beside the message; value may be read once done is closed.
type task[T any] struct {
	done  chan struct{}
	value T
}

// begin starts work in a goroutine that wg waits for. The work has to end soon after ctx.
func begin[T any](ctx context.Context, wg *sync.WaitGroup, work func(context.Context) T) *task[T] {
	t := &task[T]{done: make(chan struct{})}
	wg.Go(func() {
		defer close(t.done)
		t.value = work(ctx)
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
		return t.value, true
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
