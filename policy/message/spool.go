package message

import (
	"io"
	"sync"
	"time"
)

const (
	// spoolSize is how much of a body waits for the verifier, in octets.
	spoolSize = 96 << 10
	// maxHold is how long a body is held at most, in all, because its keys are not yet here.
	maxHold = time.Second
)

// spool hands octets from Write to the goroutine that verifies. Its memory is bounded by spoolSize:
// who writes more than that waits for the reader.
type spool struct {
	more, room chan struct{} // of one place each: something came, something was taken

	mu     sync.Mutex
	octets []byte
	read   int  // of octets
	ended  bool // nothing comes any more
	gone   bool // nobody reads any more
}

func newSpool(head []byte) *spool {
	return &spool{
		more: make(chan struct{}, 1), room: make(chan struct{}, 1), octets: head,
	}
}

// write appends p. late is called once p has waited for maxHold, less what *held says was waited
// before; it must bring about that somebody reads.
func (s *spool) write(p []byte, held *time.Duration, late func()) {
	for {
		n, gone := s.put(p)
		if p = p[n:]; gone || len(p) == 0 {
			return
		}
		began := time.Now()
		timer := time.NewTimer(maxHold - *held)
		select {
		case <-s.room:
			*held += time.Since(began)
		case <-timer.C:
			*held = maxHold
			late()
			<-s.room
		}
		timer.Stop()
	}
}

// put appends as much of p as there is room for.
func (s *spool) put(p []byte) (n int, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return 0, true
	}
	n = min(len(p), spoolSize-(len(s.octets)-s.read))
	if n <= 0 {
		return 0, false
	}
	if len(s.octets)+n > cap(s.octets) && s.read > 0 {
		s.octets = s.octets[:copy(s.octets, s.octets[s.read:])]
		s.read = 0
	}
	s.octets = append(s.octets, p[:n]...)
	notify(s.more)
	return n, false
}

// Read implements io.Reader for the verifier.
func (s *spool) Read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		n := copy(p, s.octets[s.read:])
		s.read += n
		if s.read == len(s.octets) {
			s.octets, s.read = s.octets[:0], 0
		}
		ended := s.ended
		s.mu.Unlock()
		if n > 0 {
			notify(s.room)
			return n, nil
		}
		if ended {
			return 0, io.EOF
		}
		<-s.more
	}
}

// end says that nothing comes any more. drop leaves out what is still there. The reader gets an
// io.EOF in any case: at another error package dkim leaves goroutines behind.
func (s *spool) end(drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if drop {
		s.octets, s.read = nil, 0
	}
	notify(s.more)
}

// leave says that nobody reads any more. Writers do not wait any longer.
func (s *spool) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.octets, s.read = true, nil, 0
	notify(s.room)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
