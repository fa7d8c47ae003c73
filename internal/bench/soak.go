package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Soak sends mail of all kinds in many sessions and enters in its Ledger what became of each
// message. A message is known by its sender, ID@example.org.
type Soak struct {
	Address  string
	Sessions int
	Prefix   string   // of the ids; another for each Soak
	Known    []string // recipients that exist
	Nobodies []string // recipients that may be refused
	Ledger   *Ledger
}

// The mix. Sizes and shares are guesses at ordinary mail: mostly small, a few attachments.
const (
	soakPause    = 300 * time.Millisecond // the longest between messages
	soakPerConn  = 8                      // the most messages of one connection
	soakRcpts    = 5                      // the most recipients of a message
	soakNobody   = 0.1                    // share of recipients
	soakPipeline = 0.5                    // share of messages
	soakSlow     = 0.1                    // that come in pieces
	soakAbort    = 0.03                   // whose client hangs up in the middle
	soakReset    = 0.02                   // that end with RSET
)

func soakSize() int {
	switch p := chance(); {
	case p < 0.6:
		return 1 << 10
	case p < 0.8:
		return 10 << 10
	case p < 0.96:
		return 100 << 10
	default:
		return 1 << 20
	}
}

// chance is a number in [0, 1).
func chance() float64 { return rand.Float64() } //nolint:gosec // no secret

func below(n int) int { return rand.IntN(n) } //nolint:gosec // no secret

// Run sends until ctx ends. What is under way then is sent to its end.
func (s *Soak) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range s.Sessions {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// A connection ends as it likes; without a server it is tried again soon.
				s.connection(ctx, fmt.Sprintf("%s-%d-%d", s.Prefix, i, n))
				pause(ctx, 50*time.Millisecond)
			}
		})
	}
	all.Wait()
}

// connection sends some messages.
func (s *Soak) connection(ctx context.Context, id string) {
	c, err := dial(context.WithoutCancel(ctx), s.Address)
	if err != nil {
		return
	}
	defer c.close()
	for n := range 1 + below(soakPerConn) {
		if !pause(ctx, time.Duration(below(int(soakPause)))) {
			break
		}
		m := s.message(fmt.Sprintf("%s-%d", id, n))
		err := m.send(context.WithoutCancel(ctx), c)
		s.Ledger.Note(m.id, m.entry)
		if err != nil {
			return
		}
	}
	_, _ = c.command("QUIT\r\n")
}

// soakMessage is one message and its way.
type soakMessage struct {
	id    string
	rcpts []string
	wire  []byte // with stuffed dots and the end
	entry Entry
}

func (s *Soak) message(id string) *soakMessage {
	raw := message(id, soakSize())
	raw = append(raw, "A dot follows.\r\n.\r\n..\r\n.a\r\n"...)
	m := &soakMessage{
		id: id, entry: Entry{Octets: int64(len(raw)), SHA256: sha256.Sum256(raw)},
		wire: append(bytes.ReplaceAll(raw, []byte("\n."), []byte("\n..")), ".\r\n"...),
	}
	for i := range 1 + below(soakRcpts) { // lists have a multiple of soakRcpts
		from := s.Known
		if chance() < soakNobody && len(s.Nobodies) > 0 {
			from = s.Nobodies
		}
		// Different ones: a relay may drop the second of two alike.
		m.rcpts = append(m.rcpts, from[(below(len(from)/soakRcpts)*soakRcpts+i)%len(from)])
	}
	return m
}

// send sends the message. An error says that the connection is of no more use.
func (m *soakMessage) send(ctx context.Context, c *session) error {
	c.extend()
	data, err := m.envelope(c)
	if err != nil {
		return err
	}
	if !data {
		m.entry.Outcome = Unsent
		code, err := c.command("RSET\r\n")
		if err != nil || code != 250 {
			return unexpected("RSET", code, err)
		}
		return nil
	}
	if chance() < soakAbort {
		_, _ = c.conn.Write(m.wire[:below(len(m.wire)-4)])
		return errHungUp
	}
	if err := m.body(ctx, c); err != nil {
		// What was written may have reached the gate to its end.
		m.entry.Outcome = Silence
		return err
	}
	code, err := c.reply()
	switch {
	case err != nil:
		m.entry.Outcome = Silence
		return err
	case code == 250:
		m.entry.Outcome = Accepted
	case code == 451 && bytes.Contains(bytes.ToLower(c.last), []byte("4.4.2 outcome unknown")):
		m.entry.Outcome = Unknown
	default:
		m.entry.Outcome = Refused
	}
	if code == 421 {
		return errHungUp
	}
	return nil
}

type soakError string

func (e soakError) Error() string { return string(e) }

const errHungUp = soakError("the connection has ended")

// envelope sends MAIL and RCPT, and DATA if that makes sense; data tells whether the message may
// follow.
func (m *soakMessage) envelope(c *session) (data bool, err error) {
	commands := make([]string, 1, len(m.rcpts)+2)
	commands[0] = "MAIL FROM:<" + m.id + "@example.org>\r\n"
	for _, to := range m.rcpts {
		commands = append(commands, "RCPT TO:<"+to+">\r\n")
	}
	reset := chance() < soakReset
	if !reset {
		commands = append(commands, "DATA\r\n")
	}
	pipelined := chance() < soakPipeline
	if pipelined {
		if _, err := c.conn.Write([]byte(strings.Join(commands, ""))); err != nil {
			return false, err
		}
	}
	for i, line := range commands {
		if !pipelined {
			if line == "DATA\r\n" && len(m.entry.Rcpts) == 0 {
				return false, nil
			}
			if _, err := c.conn.Write([]byte(line)); err != nil {
				return false, err
			}
		}
		code, err := c.reply()
		switch {
		case err != nil:
			return false, err
		case code == 421:
			return false, errHungUp
		case code == 354:
			return true, nil
		case i == 0 && code != 250 && !pipelined:
			return false, nil
		case i > 0 && i <= len(m.rcpts) && code/100 == 2:
			m.entry.Rcpts = append(m.entry.Rcpts, m.rcpts[i-1])
		}
	}
	return false, nil
}

// body sends the message, some of them in pieces, so that a blow is likely to hit one.
func (m *soakMessage) body(ctx context.Context, c *session) error {
	pieces := 1
	if chance() < soakSlow {
		pieces = 4
	}
	for i := range pieces {
		if i > 0 {
			pause(ctx, time.Duration(below(int(50*time.Millisecond))))
		}
		p := m.wire[i*len(m.wire)/pieces : (i+1)*len(m.wire)/pieces]
		if _, err := c.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}
