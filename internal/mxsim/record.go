package mxsim

import (
	"slices"
	"sync"
	"time"
)

// Record is what a host saw so far.
type Record struct {
	Conns []Conn
	// Peak is the most connections that were open at one time.
	Peak int
	// Open is how many are open now.
	Open int
}

// Conn is one connection that a host saw.
type Conn struct {
	Peer     string // the client's address
	Start    time.Time
	End      time.Time // zero while it is open
	TLS      bool      // a handshake was completed
	User     string    // logged in as
	Quit     bool      // the client said QUIT
	Dropped  bool      // the host ended it, not the client
	Early    int       // commands that came before the reply to the one before was sent
	Commands []Command
}

// Command is one command (or the connection itself, or the end of a message) and its reply.
type Command struct {
	At    time.Time // when it was read
	Stage Stage
	Line  string // without CRLF; cut at 512 octets
	Reply string // as sent, lines joined by "\n" without CRLF; cut at 512 octets
}

// Count returns how many commands of a stage there were in all connections.
func (r Record) Count(stage Stage) int {
	n := 0
	for _, c := range r.Conns {
		for _, cmd := range c.Commands {
			if cmd.Stage == stage {
				n++
			}
		}
	}
	return n
}

// WithoutQuit returns the connections that the client ended without QUIT.
func (r Record) WithoutQuit() []Conn {
	var rude []Conn
	for _, c := range r.Conns {
		if !c.End.IsZero() && !c.Quit && !c.Dropped {
			rude = append(rude, c)
		}
	}
	return rude
}

// Message is one message that a host took.
type Message struct {
	ID        string // the queue id in the reply
	At        time.Time
	Helo      string
	From      string   // the path as written, without <>
	MailLine  string   // the MAIL command as received
	Rcpts     []string // the accepted paths as written, without <>
	RcptLines []string
	XForward  map[string]string // attributes by upper-case name, xtext as received
	Body      []byte            // dots unstuffed, with all line ends as received
	Octets    int64             // of Body, also when it is not kept
	SHA256    [32]byte          // of Body
	Conn      int               // number of the connection, from 0
	User      string            // logged in as
}

// recorder keeps the record of a host.
type recorder struct {
	recordMu sync.Mutex
	conns    []*Conn
	now      int
	peak     int
	messages []Message
	refused  []Message
	taken    func(Message) // is told of each message that was taken
}

// Record returns a copy of what the host saw so far.
func (r *recorder) Record() Record {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	out := Record{Peak: r.peak, Open: r.now}
	for _, c := range r.conns {
		copied := *c
		copied.Commands = slices.Clone(c.Commands)
		out.Conns = append(out.Conns, copied)
	}
	return out
}

// Messages returns the messages that the host took, in order.
func (r *recorder) Messages() []Message {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	return slices.Clone(r.messages)
}

// Refused returns the messages whose end was reached but not answered with 2xx.
func (r *recorder) Refused() []Message {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	return slices.Clone(r.refused)
}

// opened notes a new connection and returns its number.
func (r *recorder) opened(peer string) (*Conn, int) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c := &Conn{Peer: peer, Start: time.Now()}
	r.conns = append(r.conns, c)
	r.now++
	r.peak = max(r.peak, r.now)
	return c, len(r.conns) - 1
}

func (r *recorder) ended(c *Conn, dropped bool) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.End = time.Now()
	c.Dropped = dropped
	r.now--
}

func (r *recorder) note(c *Conn, cmd Command) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.Commands = append(c.Commands, cmd)
}

func (r *recorder) quit(c *Conn) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.Quit = true
}

func (r *recorder) early(c *Conn) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.Early++
}

func (r *recorder) secured(c *Conn) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.TLS = true
}

func (r *recorder) authenticated(c *Conn, user string) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	c.User = user
}

func (r *recorder) keep(m Message, taken bool) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	if taken {
		r.messages = append(r.messages, m)
	} else {
		r.refused = append(r.refused, m)
	}
}

// openNow returns how many connections are open.
func (r *recorder) openNow() int {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	return r.now
}

func (r *recorder) tell(f func(Message)) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	r.taken = f
}

func (r *recorder) onTaken() func(Message) {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	return r.taken
}
