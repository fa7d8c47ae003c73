package journal

import (
	"slices"
	"time"
)

// segmentSize is what a ring grows and shrinks by, in octets.
const segmentSize = 256 << 10

// perLine is what a line takes in a ring besides its octets.
const perLine = 32

// ring keeps the last lines. It is octets and no pointers, so that the collector has nothing to do
// with them. Its limits hold to one segment.
type ring struct {
	maxLines  int
	maxOctets int64

	segments []*segment // oldest first; only the first may be half used up
	lines    int
	octets   int64
	spare    *segment
	views    int // how many are open
}

// segment is a piece of a ring.
type segment struct {
	data  []byte
	lines []lineRef
	first int // of lines, the oldest one that is kept
}

// lineRef is where a line is.
type lineRef struct {
	from, to int
	at       int64 // Unix time in ms
	refused  bool
}

// push adds a line, for which the oldest may have to go.
func (r *ring) push(line []byte, at int64, refused bool) {
	n := int64(len(line) + perLine)
	if r.maxLines <= 0 || n > r.maxOctets {
		return
	}
	for r.lines > 0 && (r.lines >= r.maxLines || r.octets+n > r.maxOctets) {
		r.drop()
	}
	s := r.last(len(line))
	from := len(s.data)
	s.data = append(s.data, line...)
	s.lines = append(s.lines, lineRef{from: from, to: len(s.data), at: at, refused: refused})
	r.lines++
	r.octets += n
}

// last is the segment that has room.
func (r *ring) last(octets int) *segment {
	if n := len(r.segments); n > 0 {
		if s := r.segments[n-1]; len(s.data)+octets <= cap(s.data) {
			return s
		}
	}
	s := r.spare
	r.spare = nil
	if s == nil || cap(s.data) < octets {
		s = &segment{data: make([]byte, 0, max(segmentSize, octets))}
	}
	r.segments = append(r.segments, s)
	return s
}

// drop forgets the oldest line.
func (r *ring) drop() {
	s := r.segments[0]
	ref := s.lines[s.first]
	s.first++
	r.lines--
	r.octets -= int64(ref.to - ref.from + perLine)
	if s.first < len(s.lines) {
		return
	}
	r.segments = slices.Delete(r.segments, 0, 1)
	if cap(s.data) == segmentSize && r.views == 0 {
		s.data, s.lines, s.first = s.data[:0], s.lines[:0], 0
		r.spare = s
	}
}

// expire forgets what is older than a time.
func (r *ring) expire(before time.Time) {
	limit := before.UnixMilli()
	for r.lines > 0 && r.segments[0].lines[r.segments[0].first].at < limit {
		r.drop()
	}
}

// shrink brings the ring within new limits.
func (r *ring) shrink(maxLines int, maxOctets int64) {
	r.maxLines, r.maxOctets = maxLines, maxOctets
	for r.lines > 0 && (r.lines > r.maxLines || r.octets > r.maxOctets) {
		r.drop()
	}
}

// view is the lines at one time. They may be read while the ring goes on, until close: no segment
// is written over that a view may show.
func (r *ring) view() []segment {
	r.views++
	view := make([]segment, len(r.segments))
	for i, s := range r.segments {
		view[i] = *s
	}
	return view
}

func (r *ring) closeView() { r.views-- }
