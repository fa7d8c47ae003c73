package feedback

import "github.com/rcptgate/rcptgate/internal/esmtp"

// maxSenders is the number of messages after which the older half of the memory is dropped.
const maxSenders = 65_536

// sender is what the queue manager logs of a message.
type sender struct {
	address    esmtp.Address
	known      bool
	recipients int
}

// senders remembers the messages in the queue, by queue id. Two generations bound it: when the
// young one is full it becomes the old one, whose entries are then dropped but for those that were
// used.
type senders struct {
	size       int
	young, old map[string]sender
}

func newSenders(size int) senders {
	return senders{size: size, young: make(map[string]sender), old: make(map[string]sender)}
}

func (s *senders) put(id []byte, v sender) {
	if len(s.young) >= s.size {
		s.old = s.young
		s.young = make(map[string]sender)
	}
	s.young[string(id)] = v
}

func (s *senders) get(id []byte) (sender, bool) {
	if v, ok := s.young[string(id)]; ok {
		return v, true
	}
	v, ok := s.old[string(id)]
	if ok {
		s.put(id, v) // it waits in the queue: keep it
	}
	return v, ok
}

func (s *senders) remove(id []byte) {
	delete(s.young, string(id))
	delete(s.old, string(id))
}
