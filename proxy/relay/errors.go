package relay

import (
	"errors"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// Error is a failure of the relay or of the way to it, with the reply that the client gets:
// always 4yz, so that the client tries again.
type Error struct {
	Reply   esmtp.Reply
	Unknown bool // the message was sent but its reply did not come: it may have been taken
	Err     error
}

// Error says what happened, for the log.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

func failure(e esmtp.EnhancedCode, text string, err error) *Error {
	return &Error{Reply: esmtp.NewReply(451, e, text), Err: err}
}

// unreachable is the failure of all upstreams.
func unreachable(errs []error) *Error {
	err := errors.Join(errs...)
	if err == nil {
		err = errors.New("no upstream is configured; see relay.upstreams")
	}
	return failure(esmtp.EnhancedCode{4, 4, 1}, "The mail relay cannot be reached, try again later", err)
}
