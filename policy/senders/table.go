package senders

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/internal/durable"
)

// Table is the counters, limits and states of all senders. It is safe for concurrent use; a nil
// *Table counts nothing and lets everything pass.
type Table struct {
	dir    *durable.Dir
	plan   atomic.Pointer[plan]
	seed   maphash.Seed
	shards [shardCount]shard

	changing sync.Mutex // Reconfigure
	stop     chan struct{}
	stopped  chan struct{}
	closing  sync.Once
	closeErr error
	saver    saver // of the goroutine that saves; Close has it afterwards
}

// New checks the configuration and reads the state that was saved in dir, which may be nil. The
// error is ConfigErrors. A file that cannot be read is reported in the log and keeps nothing up.
// New starts a goroutine, which Close ends.
func New(cfg Config, dir *durable.Dir) (*Table, error) {
	t, err := open(cfg, dir, time.Now())
	if err != nil {
		return nil, err
	}
	go t.run()
	return t, nil
}

// open is New without the goroutine.
func open(cfg Config, dir *durable.Dir, now time.Time) (*Table, error) {
	p, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	t := &Table{
		dir: dir, seed: maphash.MakeSeed(), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	t.plan.Store(p)
	for i := range t.shards {
		t.shards[i].accounts = make(map[uint64]*account)
	}
	t.restore(p, now)
	return t, nil
}

// Reconfigure replaces the configuration. What was counted stays, but for a limit with a burst that
// is new or has changed: it begins whole. A breaker that is turned off forgets. The error is
// ConfigErrors; the old configuration goes on then.
func (t *Table) Reconfigure(cfg Config) error {
	p, err := compile(cfg)
	if err != nil || t == nil {
		return err
	}
	t.changing.Lock()
	defer t.changing.Unlock()
	t.plan.Store(p)
	c := clockAt(time.Now())
	for i := range t.shards {
		t.tell(p, t.shards[i].adapt(p, c)...)
	}
	return nil
}

// Close saves the state and ends the goroutine. The error is about the file. The Table goes on
// counting, but saves nothing any more.
func (t *Table) Close() error {
	if t == nil {
		return nil
	}
	t.closing.Do(func() {
		close(t.stop)
		<-t.stopped
		t.closeErr = t.save()
	})
	return t.closeErr
}

// run sweeps and saves each minute.
func (t *Table) run() {
	defer close(t.stopped)
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
			t.sweep(time.Now())
			_ = t.save() // it has logged what is wrong
		}
	}
}

// sweep ends states whose time is over, and forgets who was idle for long. What a call that was
// under way has counted by the plan before is adapted here, too.
func (t *Table) sweep(now time.Time) {
	p, c := t.plan.Load(), clockAt(now)
	for i := range t.shards {
		t.tell(p, t.shards[i].sweep(p, c)...)
		t.tell(p, t.shards[i].adapt(p, c)...)
	}
}

// Len returns how many keys are known now.
func (t *Table) Len() int {
	n := 0
	if t != nil {
		for i := range t.shards {
			n += t.shards[i].len()
		}
	}
	return n
}

// tell calls Changed. No lock is held.
func (t *Table) tell(p *plan, changes ...Change) {
	if p.changed == nil {
		return
	}
	for i := range changes {
		p.changed(changes[i])
	}
}

// parties are the accounts that one recipient counts for. Those in use have a key.
type parties struct {
	keys  [kinds]key
	used  [kinds]bool
	hash  [kinds]uint64 // of the keys
	found [kinds]*account
	who   kind   // the account of the breaker: login or pair; used tells if there is one
	locks uint64 // the shards, a bit each
}

// identify names the accounts of id. It is pure.
func (t *Table) identify(p *plan, id Identity, s *parties) {
	who, known := whoIs(id)
	s.who, s.keys[who.kind], s.used[who.kind] = who.kind, who, known
	s.use(p, sender, id.Sender)
	s.use(p, domain, id.SenderDomain)
	s.use(p, client, id.Client)
	for k, used := range s.used {
		if used {
			s.hash[k] = t.hash(s.keys[k])
			s.locks |= 1 << (s.hash[k] % shardCount)
		}
	}
}

// use adds an account if there are limits of its kind and its name is known.
func (s *parties) use(p *plan, k kind, name string) {
	if p.uses[k] && name != "" && name != nullSender {
		s.keys[k], s.used[k] = key{kind: k, name: clip(name)}, true
	}
}

// whoIs names the sender of id: its login, else its client and domain; known is false if there is
// neither.
func whoIs(id Identity) (k key, known bool) {
	if id.Login != "" {
		return key{kind: login, name: clip(id.Login)}, true
	}
	k = key{kind: pair, name: clip(id.Client), domain: clip(id.SenderDomain)}
	return k, k.name != "" || k.domain != ""
}

// hash is what k has its place by; maphash.Comparable takes three times as long.
func (t *Table) hash(k key) uint64 {
	h := bits.RotateLeft64(maphash.String(t.seed, k.name), 1+int(k.kind))
	if k.domain != "" {
		h ^= maphash.String(t.seed, k.domain)
	}
	return h
}

func (t *Table) shard(hash uint64) *shard { return &t.shards[hash%shardCount] }

// lock takes the locks of the parties. All locks of more than one shard are taken here, in the
// order of the shards, so that nobody waits for another in a circle. With all of them, a recipient
// counts for all of its parties or for none.
func (t *Table) lock(s *parties) {
	for rest := s.locks; rest != 0; rest &= rest - 1 {
		t.shards[bits.TrailingZeros64(rest)].mu.Lock()
	}
}

func (t *Table) unlock(s *parties) {
	for rest := s.locks; rest != 0; rest &= rest - 1 {
		t.shards[bits.TrailingZeros64(rest)].mu.Unlock()
	}
}

// find gets the accounts of the parties, and makes them if there are none. The locks are held.
func (t *Table) find(p *plan, s *parties, c clock) {
	for k, used := range s.used {
		if used {
			s.found[k] = t.shard(s.hash[k]).account(p, s.keys[k], s.hash[k], c)
			s.found[k].refresh(p, c)
		}
	}
}

// sender is the account that the breaker works for; nil if nothing is known about the sender.
func (s *parties) sender() *account { return s.found[s.who] }
