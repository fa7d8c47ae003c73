package senders

// recent remembers which recipients a sender was counted for, so that each counts once in a window.
// It is a hash table of lines, as a processor's cache is: what does not fit into its line displaces
// what is oldest there. So it never fails and has a bound; what was displaced may count again. The
// zero value is empty.
type recent struct{ lines []line }

// line holds eight marks: 64 octets.
type line [8]mark

// mark is one recipient with one outcome.
type mark struct {
	tag       uint32 // 30 bits of its hash, 1, and 1 if it is invalid; 0: free
	hour, day uint16 // the steps in which it was counted last, cut to 16 bits
}

// validLines is how many lines valid recipients may fill (64 of them). There are many more of them
// than invalid ones, and less depends on them: one that is counted twice makes the share smaller.
const validLines = 8

// note says whether a recipient is to be counted, in the window of the hour and in that of the day,
// and remembers that it was. h is its hash; most is how many lines the invalid may fill.
func (r *recent) note(h uint64, invalid bool, c clock, most int) (inHour, inDay bool) {
	tag := uint32(h&0xfffffffc) | 2 // never 0
	if invalid {
		tag |= 1
	} else {
		most = min(most, validLines)
	}
	hourStep, dayStep := uint16(c.step[hour]&0xffff), uint16(c.step[day]&0xffff)
	if r.lines == nil {
		r.lines = make([]line, 1)
	}
	l := r.line(tag)
	for i := range l {
		if m := &l[i]; m.tag == tag {
			inDay = gone(m.day, dayStep)
			inHour = inDay || gone(m.hour, hourStep) // 16 bits of hours come round in 227 days
			if inHour {
				m.hour = hourStep
			}
			if inDay {
				m.day = dayStep
			}
			return inHour, inDay
		}
	}
	for {
		if m := r.line(tag).victim(invalid, hourStep, dayStep); m != nil {
			*m = mark{tag: tag, hour: hourStep, day: dayStep}
			return true, true
		}
		if len(r.lines) < most {
			r.grow()
			continue
		}
		if m := r.line(tag).oldest(invalid, hourStep); m != nil {
			*m = mark{tag: tag, hour: hourStep, day: dayStep}
		}
		return true, true
	}
}

// gone reports whether what was counted in step s has left a window whose newest step is now.
func gone(s, now uint16) bool {
	d := int16(now - s) //nolint:gosec // wraps on purpose
	return d >= slots || d <= -slots
}

func (r *recent) line(tag uint32) *line { return &r.lines[int(tag>>2)&(len(r.lines)-1)] }

// grow doubles the lines.
func (r *recent) grow() {
	old := r.lines
	r.lines = make([]line, 2*len(old))
	for _, l := range old {
		for _, m := range l {
			if m.tag != 0 {
				*r.line(m.tag).free() = m
			}
		}
	}
}

// free is a free place of a line that has one.
func (l *line) free() *mark {
	i := 0
	for l[i].tag != 0 && i < len(l)-1 {
		i++
	}
	return &l[i]
}

// victim is a place that costs nothing: a free one, one whose recipient has left both windows, or,
// for an invalid recipient, that of the oldest valid one. Nil if there is none.
func (l *line) victim(invalid bool, hourStep, dayStep uint16) *mark {
	for i := range l {
		if m := &l[i]; m.tag == 0 || gone(m.day, dayStep) {
			return m
		}
	}
	if invalid {
		return l.oldest(false, hourStep)
	}
	return nil
}

// oldest is the mark with this outcome that was counted first; nil if there is none.
func (l *line) oldest(invalid bool, hourStep uint16) *mark {
	var best *mark
	for i := range l {
		m := &l[i]
		if (m.tag&1 == 1) == invalid && (best == nil || hourStep-m.hour > hourStep-best.hour) {
			best = m
		}
	}
	return best
}
