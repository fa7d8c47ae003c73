package journal

// begin gives room for an item, under the lock that end releases; nil: there is none.
func (j *Journal) begin() (*block, int) {
	j.in.Lock()
	if j.closed || j.waiting >= int(j.queue.Load()) {
		j.in.Unlock()
		j.lost.Add(1)
		return nil, 0
	}
	var b *block
	if n := len(j.pending); n > 0 {
		b = j.pending[n-1]
	}
	if b == nil || b.n == blockItems || b.form != j.form {
		b = j.nextBlock()
	}
	j.waiting++
	b.n++
	return b, b.n - 1
}

// nextBlock begins another block.
func (j *Journal) nextBlock() *block {
	var b *block
	if n := len(j.free); n > 0 {
		b, j.free = j.free[n-1], j.free[:n-1]
	} else {
		b = new(block)
	}
	b.n, b.form = 0, j.form
	j.pending = append(j.pending, b)
	return b
}

// end is for the item that begin gave.
func (j *Journal) end(b *block, i int) {
	it := &b.items[i]
	b.marks[i] = mark{at: it.at, octets: it.size(), refused: it.refused()}
	first := j.waiting == 1
	j.in.Unlock()
	if first {
		j.delay.Reset(gatherDelay)
	}
}

// take is what is pending: first is the first item of the first block, last the end of those of the
// last one. It gives back the blocks that have been used.
func (j *Journal) take() (batch []*block, first, last int) {
	j.in.Lock()
	defer j.in.Unlock()
	n := min(len(j.used), max(0, freeBlocks-len(j.free)))
	j.free = append(j.free, j.used[:n]...)
	clear(j.used)
	j.used = j.used[:0]
	if j.waiting == 0 {
		return nil, 0, 0
	}
	batch, first, j.waiting, j.first = j.pending, j.first, 0, 0
	j.pending = j.spare[:0]
	j.spare = nil
	tail := batch[len(batch)-1]
	if last = tail.n; last < blockItems {
		j.pending, j.first = append(j.pending, tail), last
	}
	return batch, first, last
}
