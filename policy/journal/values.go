package journal

import (
	"slices"
	"time"
	"unsafe"
)

// blockItems is how many items a block has: 20 KiB.
const blockItems = 64

// freeBlocks is how many blocks stay for what comes, of those that have been used.
const freeBlocks = 32

// block is a piece of the queue first and of memory later: items stay where they were written, and
// are made lines of when somebody reads them.
type block struct {
	form  *form // in which its lines are written
	n     int   // how many items there are; Journal.in guards it
	marks [blockItems]mark
	items [blockItems]item
}

// mark is what has to be known of an item when it leaves: beside the others, because the items
// themselves have left the caches by then.
type mark struct {
	at      int64 // Unix time in ms
	octets  int32 // about what it takes in memory
	refused bool
}

// form is how addresses are written. It does not change.
type form struct {
	mode   string
	secret []byte
}

// values keeps the last items. Its limits hold to the items of one gathering.
type values struct {
	maxItems  int
	maxOctets int64

	spans  []span // oldest first
	items  int
	octets int64
	views  int // how many are open
}

// span is the items of a block that are kept, from first to end.
type span struct {
	*block

	first, end int
}

// add adds items of a block, behind those that were added before.
func (v *values) add(b *block, first, end int) {
	for i := first; i < end; i++ {
		v.octets += int64(b.marks[i].octets)
	}
	v.items += end - first
	if n := len(v.spans); n > 0 && v.spans[n-1].block == b {
		v.spans[n-1].end = end
	} else if first < end {
		v.spans = append(v.spans, span{block: b, first: first, end: end})
	}
}

// trim brings the items within the limits. Those that have to go are handed to evict first. Blocks
// that may be written over are appended to free.
func (v *values) trim(free []*block, evict func(*block, int)) []*block {
	for v.items > 0 && (v.items > v.maxItems || v.octets > v.maxOctets) {
		s := &v.spans[0]
		if s.marks[s.first].refused {
			evict(s.block, s.first)
		}
		free = v.drop(free)
	}
	return free
}

// drop forgets the oldest item.
func (v *values) drop(free []*block) []*block {
	s := &v.spans[0]
	v.octets -= int64(s.marks[s.first].octets)
	v.items--
	if s.first++; s.first < s.end {
		return free
	}
	if s.end == blockItems && v.views == 0 { // nothing comes into it any more, and nobody reads it
		free = append(free, s.block)
	}
	v.spans = slices.Delete(v.spans, 0, 1)
	return free
}

// expire forgets what is older than a time, and leaves nothing of it.
func (v *values) expire(before time.Time, free []*block) []*block {
	limit := before.UnixMilli()
	for v.items > 0 {
		s := v.spans[0]
		if s.marks[s.first].at >= limit {
			break
		}
		if v.views == 0 {
			s.items[s.first] = item{}
		}
		free = v.drop(free)
	}
	return free
}

// view is the items at one time. They may be read while others come, until closeView: no block is
// written over that a view may show.
func (v *values) view() []span {
	v.views++
	return slices.Clone(v.spans)
}

func (v *values) closeView() { v.views-- }

// size is about what an item takes in memory, in octets: with all texts, though it may share them.
func (it *item) size() int32 {
	n := int(unsafe.Sizeof(item{})+unsafe.Sizeof(origin{})) + it.octets +
		2*len(it.recipient.Domain()) + len(it.recipient.Local()) + len(it.ref)
	n += textsSize(it.reply.Lines)
	if r := &it.result; r.said != nil {
		n += len(r.mx) + textsSize(r.reply.Lines)
		if r.domain != nil {
			n += int(unsafe.Sizeof(*r.domain))
		}
	}
	if it.extra != nil {
		n += it.extra.size()
	}
	if it.message != nil {
		n += it.message.size()
	}
	return int32(min(n, 1<<30)) //nolint:gosec // it is bounded
}

func (x *extra) size() int {
	n := int(unsafe.Sizeof(*x)) + textsSize(x.shadowReply.Lines) + textsSize(x.marks) +
		textsSize(x.headers)
	if s := x.suppression; s != nil {
		n += int(unsafe.Sizeof(*s)) + len(s.Address) + len(s.Evidence) + len(s.Source) + len(s.Scope)
	}
	if o := x.override; o != nil {
		n += int(unsafe.Sizeof(*o)) + len(o.Name) + len(o.Note)
	}
	if h := x.hold; h != nil {
		n += int(unsafe.Sizeof(*h)) + len(h.Name) + len(h.Key) + len(h.Detail)
	}
	return n
}

func (m *Message) size() int {
	n := int(unsafe.Sizeof(*m)) + len(m.Error) + len(m.QueueID) + len(m.FromDomain)
	for i := range m.Findings {
		f := &m.Findings[i]
		n += int(unsafe.Sizeof(*f)) + len(f.Detail) + textsSize(f.Reply.Lines)
	}
	return n
}

func textsSize(texts []string) (n int) {
	for _, s := range texts {
		n += int(unsafe.Sizeof(s)) + len(s)
	}
	return n
}
