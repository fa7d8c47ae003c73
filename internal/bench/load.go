package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Work is a kind of mail traffic.
type Work struct {
	Name      string
	Sessions  int  // at one time
	PerConn   int  // messages of one connection; 0: all on one
	Rcpts     int  // of a message
	Size      int  // octets of a message
	Pipelined bool // MAIL, all RCPT and DATA in one write (RFC 2920), else each command waits
	NoData    bool // RSET instead of DATA: only recipients are asked about
}

// Load sends one kind of work to one server.
type Load struct {
	Work
	Address    string
	Recipients []string      // used in turn
	Duration   time.Duration // no message but a session's first begins later; 0: Messages alone counts
	Messages   int64         // no more than so many; 0: Duration alone counts
	Refused    int           // the reply code that recipients may get besides 2xx, as 550; 0: none
}

// Result is what a Load has seen.
type Result struct {
	Messages, Recipients, Refused int64
	Errors                        int64 // broken sessions and unexpected replies
	First                         error // the first of them
	Wall                          time.Duration
	Rcpt                          Histogram // RCPT to its reply; pipelined: to the reply to the last
	Message                       Histogram // MAIL (with one message a connection: connect) to the last reply
}

// maxFailures in a row end a session of a Load: the server is down or does not do this work.
const maxFailures = 20

// load is a Load that runs.
type load struct {
	Load
	lines []string // RCPT commands
	body  []byte
	end   time.Time

	mu    sync.Mutex
	begun int64
	res   *Result
}

// Run sends until Duration is over or Messages have been sent, and waits for the last reply.
func (l Load) Run(ctx context.Context) *Result {
	r := &load{Load: l, res: new(Result)}
	for _, to := range l.Recipients {
		r.lines = append(r.lines, "RCPT TO:<"+to+">\r\n")
	}
	if !l.NoData {
		r.body = append(Message(l.Size), ".\r\n"...)
	}
	start := time.Now()
	if l.Duration > 0 {
		r.end = start.Add(l.Duration)
	}
	var sessions sync.WaitGroup
	for i := range l.Sessions {
		// A prime spreads the sessions over the recipients.
		s := sender{load: r, next: i * 7919 % max(len(r.lines), 1)}
		sessions.Go(func() { s.run(ctx) })
	}
	sessions.Wait()
	r.res.Wall = time.Since(start)
	return r.res
}

// more reports whether another message may begin. The first of a session always may in time: on a
// busy machine a session may be late.
func (l *load) more(ctx context.Context, first bool) bool {
	if ctx.Err() != nil || (!first && !l.end.IsZero() && !time.Now().Before(l.end)) {
		return false
	}
	if l.Messages == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
	return l.begun <= l.Messages
}

// sender is one of the sessions of a load, over all its connections.
type sender struct {
	*load
	s    *session
	br   *bufio.Reader
	next int // recipient
	own  Result
}

func (s *sender) run(ctx context.Context) {
	s.br = bufio.NewReaderSize(nil, 4096)
	failures, sent := 0, 0
	for s.more(ctx, sent+failures == 0) {
		if err := s.send(ctx); err != nil {
			if ctx.Err() != nil {
				break
			}
			s.drop()
			if s.own.Errors++; s.own.First == nil {
				s.own.First = err
			}
			if failures++; failures == maxFailures {
				break
			}
			continue
		}
		failures = 0
		if sent++; s.PerConn > 0 && sent%s.PerConn == 0 {
			s.s.quit()
			s.s = nil
		}
	}
	if s.s != nil {
		s.s.quit()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.res.add(&s.own)
}

func (s *sender) drop() {
	if s.s != nil {
		s.s.close()
		s.s = nil
	}
}

func (r *Result) add(o *Result) {
	r.Messages += o.Messages
	r.Recipients += o.Recipients
	r.Refused += o.Refused
	r.Errors += o.Errors
	if r.First == nil {
		r.First = o.First
	}
	r.Rcpt.Merge(&o.Rcpt)
	r.Message.Merge(&o.Message)
}

// send sends one message, on a new connection if there is none.
func (s *sender) send(ctx context.Context) error {
	start := time.Now()
	if s.s == nil {
		var err error
		if s.s, err = dialWith(ctx, s.Address, s.br); err != nil {
			return err
		}
		if s.PerConn != 1 {
			start = time.Now()
		}
	}
	s.s.extend()
	envelope := s.stepByStep
	if s.Pipelined {
		envelope = s.pipeline
	}
	taken, err := envelope()
	if err != nil {
		return err
	}
	if s.NoData || taken == 0 {
		if code, err := s.s.command("RSET\r\n"); err != nil || code != 250 {
			return unexpected("RSET", code, err)
		}
	} else if err := s.data(); err != nil {
		return err
	}
	s.own.Message.Add(time.Since(start))
	s.own.Messages++
	return nil
}

func (s *sender) data() error {
	if _, err := s.s.conn.Write(s.body); err != nil {
		return err
	}
	if code, err := s.s.reply(); err != nil || code != 250 {
		return unexpected("the message", code, err)
	}
	return nil
}

const mailLine = "MAIL FROM:<sender@example.org>\r\n"

// stepByStep waits for the reply to each command, as most clients do.
func (s *sender) stepByStep() (taken int, err error) {
	if code, err := s.s.command(mailLine); err != nil || code != 250 {
		return 0, unexpected("MAIL", code, err)
	}
	for range s.Rcpts {
		start := time.Now()
		code, err := s.s.command(s.recipient())
		if err != nil {
			return taken, err
		}
		s.own.Rcpt.Add(time.Since(start))
		if taken, err = s.count(code, taken); err != nil {
			return taken, err
		}
	}
	if s.NoData || taken == 0 {
		return taken, nil
	}
	if code, err := s.s.command("DATA\r\n"); err != nil || code != 354 {
		return taken, unexpected("DATA", code, err)
	}
	return taken, nil
}

// pipeline sends the whole envelope in one write.
func (s *sender) pipeline() (taken int, err error) {
	out := append(s.s.out[:0], mailLine...)
	for range s.Rcpts {
		out = append(out, s.recipient()...)
	}
	if !s.NoData {
		out = append(out, "DATA\r\n"...)
	}
	s.s.out = out
	start := time.Now()
	if _, err := s.s.conn.Write(out); err != nil {
		return 0, err
	}
	if code, err := s.s.reply(); err != nil || code != 250 {
		return 0, unexpected("MAIL", code, err)
	}
	for range s.Rcpts {
		code, err := s.s.reply()
		if err != nil {
			return taken, err
		}
		if taken, err = s.count(code, taken); err != nil {
			return taken, err
		}
	}
	s.own.Rcpt.Add(time.Since(start))
	if s.NoData {
		return taken, nil
	}
	code, err := s.s.reply()
	switch {
	case err != nil:
		return taken, err
	case taken == 0 && code == 354:
		return 0, errors.New("DATA was answered 354 without a recipient")
	case taken > 0 && code != 354:
		return taken, unexpected("DATA", code, nil)
	}
	return taken, nil
}

func (s *sender) recipient() string {
	line := s.lines[s.next]
	if s.next++; s.next == len(s.lines) {
		s.next = 0
	}
	return line
}

// count counts the reply to one RCPT.
func (s *sender) count(code, taken int) (int, error) {
	s.own.Recipients++
	switch {
	case code/100 == 2:
		return taken + 1, nil
	case code == s.Refused:
		s.own.Refused++
		return taken, nil
	default:
		return taken, fmt.Errorf("RCPT was answered %d", code)
	}
}
