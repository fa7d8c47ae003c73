package senders

// recent remembers which recipients a sender was counted for, so that each counts once in a window.
// It is a hash table of small lines, as the cache of a processor is, in which each recipient has
// its place in one of two lines. What does not fit displaces what is oldest there. So it has a
// bound; what was displaced may count again. The zero value is empty.
type recent struct{ lines []line }

// line holds eight marks: 64 octets.
type line [8]mark

// mark is one recipient with one outcome.
type mark struct {
	tag       uint32 // 30 bits of its hash, 1, and 1 if it is invalid; 0: free
	hour, day uint16 // the steps in which it was counted last, cut to 16 bits
}

// validLines is how many lines valid recipients may fill (128 of them). There are many more of them
// than invalid ones, and less depends on them: one that is counted twice makes the share smaller.
const validLines = 16

// note says whether a recipient is to be counted, in the window of the hour and in that of the day,
// and remembers that it was. h is its hash; most is how many lines the invalid may fill.
func (r *recent) note(h uint64, invalid bool, c clock, most int) (inHour, inDay bool) {
	now := mark{
		tag:  uint32(h&0xfffffffc) | 2, // never 0
		hour: uint16(c.step[hour] & 0xffff), day: uint16(c.step[day] & 0xffff),
	}
	if invalid {
		now.tag |= 1
	} else {
		most = min(most, validLines)
	}
	if r.lines == nil {
		r.lines = make([]line, 1)
	}
	for _, l := range r.places(now.tag) {
		for i := range l {
			if m := &l[i]; m.tag == now.tag {
				if inHour = gone(m.hour, now.hour); inHour {
					m.hour = now.hour
				}
				if inDay = gone(m.day, now.day); inDay {
					m.day = now.day
				}
				return inHour, inDay
			}
		}
	}
	for !r.put(now) {
		switch {
		case len(r.lines) < validLines:
		case r.displace(now, false):
			return true, true
		case len(r.lines) < most:
		default:
			if invalid {
				r.displace(now, true)
			}
			return true, true
		}
		r.grow(now)
	}
	return true, true
}

// gone reports whether what was counted in step s has left a window whose newest step is now. Hours
// come round in 227 days: who was counted so long ago, and not since, may not count at once.
func gone(s, now uint16) bool {
	d := int16(now - s) //nolint:gosec // wraps on purpose
	return d >= slots || d <= -slots
}

// places are the two lines, maybe the same, in which a mark can be.
func (r *recent) places(tag uint32) [2]*line {
	mask := len(r.lines) - 1
	return [2]*line{&r.lines[int(tag>>2)&mask], &r.lines[int(tag>>17)&mask]}
}

// put finds a place for m that is free, or whose recipient has left both windows, in the line that
// has more of them.
func (r *recent) put(m mark) bool {
	var place *mark
	most := 0
	for _, l := range r.places(m.tag) {
		var last *mark
		n := 0
		for i := range l {
			if l[i].tag == 0 || gone(l[i].day, m.day) && gone(l[i].hour, m.hour) {
				last = &l[i]
				n++
			}
		}
		if n > most {
			place, most = last, n
		}
	}
	if place != nil {
		*place = m
	}
	return place != nil
}

// displace puts m in the place of what was counted first of one outcome, if there is any.
func (r *recent) displace(m mark, invalid bool) bool {
	var oldest *mark
	for _, l := range r.places(m.tag) {
		for i := range l {
			o := &l[i]
			if (o.tag&1 == 1) == invalid && (oldest == nil || m.hour-o.hour > m.hour-oldest.hour) {
				oldest = o
			}
		}
	}
	if oldest != nil {
		*oldest = m
	}
	return oldest != nil
}

// grow doubles the lines. What has left both windows is forgotten, and so is what finds no place
// any more, which is rare.
func (r *recent) grow(now mark) {
	old := r.lines
	r.lines = make([]line, 2*len(old))
	for _, l := range old {
		for _, m := range l {
			if m.tag == 0 || gone(m.day, now.day) && gone(m.hour, now.hour) {
				continue
			}
			r.put(m)
		}
	}
}
