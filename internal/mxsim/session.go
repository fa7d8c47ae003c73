package mxsim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	maxLine   = 64 << 10 // octets of a command line that are kept
	maxNoted  = 512      // octets of a line or reply that the record keeps
	drainTime = time.Second
)

// errOver ends a conversation from our side.
var errOver = errors.New("the host ends the conversation")

// Serve converses on a connection in a goroutine of its own, until Close at the latest.
func (h *Host) Serve(conn net.Conn) {
	h.start()
	h.serve(conn, func(ctx context.Context) { h.converse(ctx, conn) })
}

// Close ends all connections and waits for them.
func (h *Host) Close() { h.stop() }

// session is one conversation.
type session struct {
	Session
	ctx       context.Context // the life of the server
	conn      net.Conn
	br        *bufio.Reader
	out       []byte
	log       *Conn
	number    int
	fill      filling
	from      Event
	rcpts     []Event
	xforward  map[string]string
	wording   Wording
	messageID int
	auth      authDialog
	authOpen  bool // the next line answers a 334
}

func (h *Host) converse(ctx context.Context, conn net.Conn) {
	s := &session{ctx: ctx, conn: conn, br: bufio.NewReaderSize(conn, maxLine)}
	s.Host, s.Site = h, h.site
	s.Peer = conn.RemoteAddr().String()
	s.PeerIP, _, _ = net.SplitHostPort(s.Peer)
	s.wording = h.wording()
	s.log, s.number = h.opened(s.Peer)
	var err error
	if h.Wrapper {
		err = s.handshake()
	}
	if err == nil {
		err = s.step(Event{Stage: Connect})
	}
	for err == nil {
		var line string
		if line, err = s.readLine(); err == nil {
			s.Commands++
			err = s.step(s.parse(line))
		}
	}
	dropped := (errors.Is(err, errOver) || ctx.Err() != nil) && !s.log.Quit
	if dropped {
		s.drain()
	}
	h.ended(s.log, dropped)
}

// drain lets the client read the last reply: closing a socket with octets unread resets it.
func (s *session) drain() {
	if tcp, ok := s.conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = tcp.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.Copy(io.Discard, tcp)
	}
}

// step asks what to do, does it, and keeps what follows from the reply.
func (s *session) step(e Event) error {
	if e.Stage == Rcpt {
		s.Rcpts++
		s.Named++
	}
	now := time.Now()
	a := s.ask(e)
	s.filler(e)
	wire := a.wire(&s.fill)
	if !s.Host.DiscardCommands {
		s.Host.note(s.log, Command{
			At: now, Stage: e.Stage, Line: cut(e.Line),
			Reply: cut(strings.ReplaceAll(strings.TrimSuffix(wire, "\r\n"), "\r\n", "\n")),
		})
	}
	if e.Stage == Quit {
		s.Host.quit(s.log)
	}
	if e.Stage == Dot {
		s.Host.keep(*e.Message, strings.HasPrefix(wire, "2")) // before the client can know
		if taken := s.Host.onTaken(); taken != nil && strings.HasPrefix(wire, "2") {
			taken(*e.Message)
		}
	}
	if err := s.act(a, wire); err != nil {
		return err
	}
	if e.Stage == Quit || strings.HasPrefix(wire, "421") {
		return errors.Join(s.flush(), errOver)
	}
	return s.follow(e, wire)
}

// ask goes through the behaviours; the wording is the last.
func (s *session) ask(e Event) Answer {
	lists := [2][]Behaviour{s.Host.Behaviours}
	if s.Site != nil {
		lists[1] = s.Site.Behaviours
	}
	var delay time.Duration
	for _, list := range lists {
		for _, b := range list {
			a, ok := b(&s.Session, e)
			if !ok {
				continue
			}
			a.Delay += delay
			if !a.pass {
				return a
			}
			delay = a.Delay
		}
	}
	a := s.standard(e)
	a.Delay += delay
	return a
}

// act does what an answer says.
func (s *session) act(a Answer, wire string) error {
	if a.Delay > 0 {
		if err := s.flush(); err != nil {
			return err
		}
		if !pause(s.ctx, a.Delay) {
			return errOver
		}
	}
	switch {
	case a.Endless:
		return s.endless(wire, a.Drip)
	case a.Drip > 0:
		if err := s.drip(wire, a.Drip); err != nil {
			return err
		}
	default:
		s.out = append(s.out, wire...)
	}
	if a.Hang {
		if err := s.flush(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, s.br)
		return errors.Join(err, io.EOF)
	}
	if a.Close {
		return errors.Join(s.flush(), errOver)
	}
	return nil
}

func (s *session) endless(wire string, each time.Duration) error {
	if err := s.flush(); err != nil {
		return err
	}
	if each == 0 { // as fast as the client reads
		wire = strings.Repeat(wire, 1+pipeSize/16/max(len(wire), 1))
	}
	for {
		if each > 0 {
			if err := s.drip(wire, each); err != nil {
				return err
			}
			continue
		}
		if _, err := io.WriteString(s.conn, wire); err != nil {
			return err
		}
	}
}

func (s *session) drip(wire string, each time.Duration) error {
	for i := range len(wire) {
		s.out = append(s.out, wire[i])
		if err := s.flush(); err != nil {
			return err
		}
		if !pause(s.ctx, each) {
			return errOver
		}
	}
	return nil
}

// flush writes the replies of a batch, one round trip after it came.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	if !pause(s.ctx, s.Host.Latency) {
		return errOver
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// readLine reads a command. Replies go out when no complete further command is there.
func (s *session) readLine() (string, error) {
	waiting, _ := s.br.Peek(s.br.Buffered())
	if bytes.IndexByte(waiting, '\n') < 0 {
		if err := s.flush(); err != nil {
			return "", err
		}
	} else if len(s.out) > 0 {
		s.Host.early(s.log)
	}
	line, err := s.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.out = append(s.out, "500 5.5.2 Error: line too long\r\n"...)
		return "", errors.Join(s.flush(), errOver)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

// parse makes an event of a command line.
func (s *session) parse(line string) Event {
	e := Event{Stage: Other, Line: line}
	if s.authOpen {
		e.Stage = Auth
		return e
	}
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO", "LHLO":
		e.Stage = Helo
	case "STARTTLS":
		e.Stage = StartTLS
	case "MAIL":
		e.Stage = Mail
		e.readPath(arg, "FROM:")
	case "RCPT":
		e.Stage = Rcpt
		e.readPath(arg, "TO:")
		if s.Site = s.Host.siteOf(e.Domain); s.Site != nil {
			e.Mailbox = s.Site.Mailbox(e.Local)
		}
	case "DATA":
		e.Stage = Data
	case "RSET":
		e.Stage = Reset
	case "QUIT":
		e.Stage = Quit
	case "XFORWARD":
		e.Stage = XForward
	case "AUTH":
		e.Stage = Auth
	}
	return e
}

// follow changes the state of the conversation as the reply says.
func (s *session) follow(e Event, wire string) error {
	positive := strings.HasPrefix(wire, "2")
	switch e.Stage {
	case Helo:
		if positive {
			verb, name, _ := strings.Cut(e.Line, " ")
			s.Helo, s.Extended = strings.TrimSpace(name), strings.EqualFold(verb, "EHLO")
			s.reset()
		}
	case StartTLS:
		if positive {
			return s.handshake()
		}
	case Mail:
		if positive {
			s.From, s.Opened, s.from = e.Path, true, e
		}
	case Rcpt:
		if positive {
			s.rcpts = append(s.rcpts, e)
		} else {
			s.Refused++
		}
	case Data:
		if strings.HasPrefix(wire, "354") {
			return s.message()
		}
	case XForward:
		if positive {
			s.forward(e.Line)
		}
	case Auth:
		s.followAuth(wire)
	case Dot, Reset:
		s.reset()
	case Connect, Body, Quit, Other:
	}
	return nil
}

// reset ends the transaction. As in Postfix the XFORWARD attributes end with it.
func (s *session) reset() {
	s.From, s.Opened, s.from, s.rcpts, s.xforward = "", false, Event{}, nil, nil
	s.Site, s.Named = s.Host.site, 0
}

func (s *session) forward(line string) {
	if s.xforward == nil {
		s.xforward = make(map[string]string)
	}
	for _, attribute := range strings.Fields(line)[1:] {
		name, value, _ := strings.Cut(attribute, "=")
		s.xforward[strings.ToUpper(name)] = value
	}
}

// handshake turns the connection into a TLS one, or does to it what the host's mode says.
func (s *session) handshake() error {
	if err := s.flush(); err != nil {
		return err
	}
	switch s.Host.TLS {
	case TLSGarbage:
		s.out = append(s.out, "these octets are no TLS record\x00\xff\r\n"...)
		return errors.Join(s.flush(), errOver)
	case TLSHang:
		_, err := io.Copy(io.Discard, s.br)
		return errors.Join(err, io.EOF)
	case TLSCut:
		return errOver
	case NoTLS, TLS, TLSRefused:
	}
	config, err := s.Host.tlsConfig()
	if err != nil {
		return err
	}
	secure := tls.Server(readFirst{s.conn, s.br}, config)
	if err := secure.HandshakeContext(s.ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	s.Host.secured(s.log)
	s.conn, s.br = secure, bufio.NewReaderSize(secure, maxLine)
	s.TLS, s.Helo, s.Extended = true, "", false
	s.reset()
	return nil
}

// readFirst reads what was buffered before it reads from the connection.
type readFirst struct {
	net.Conn
	br *bufio.Reader
}

func (c readFirst) Read(p []byte) (int, error) { return c.br.Read(p) }

func cut(s string) string {
	if len(s) > maxNoted {
		return s[:maxNoted]
	}
	return s
}
