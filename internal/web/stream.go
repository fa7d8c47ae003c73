package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// streamBuffer is how many decisions may wait for a client.
	streamBuffer = 1000
	// streamPulse is how often a stream shows that it lives.
	streamPulse = 15 * time.Second
)

// Missed is the line, or the event "missed", of decisions that came faster than the client read.
type Missed struct {
	Missed uint64 `json:"missed"` // since the stream began
}

// stream sends decisions as they are made: one JSON object a line, an empty line when there was
// nothing to say for a while; or, if asked for, server-sent events, their event the entry's kind.
func (c *call) stream() error {
	if c.parts.Journal == nil {
		return missing("gate that decides", "start it; decisions of the past are found by a search")
	}
	var asked SearchDecisions
	if err := c.decode(&asked); err != nil {
		return err
	}
	f, err := asked.filter(time.Now())
	if err != nil {
		return err
	}
	tail, err := c.parts.Journal.Tail(f, streamBuffer)
	if err != nil {
		return problem(http.StatusServiceUnavailable, err.Error(), "try again later")
	}
	defer tail.Close()
	out := newStreamWriter(c)
	pulse := time.NewTicker(streamPulse)
	defer pulse.Stop()
	for err == nil {
		select {
		case entry, more := <-tail.C:
			if !more {
				return nil
			}
			err = out.send(string(entry.Kind), entry)
		case <-pulse.C:
			out.pulse()
		case <-c.r.Context().Done():
			return nil
		case <-c.api.ended:
			return nil
		}
		if err == nil && len(tail.C) == 0 {
			err = out.flush(tail.Missed())
		}
	}
	return nil // the client has gone
}

// streamWriter writes lines or events.
type streamWriter struct {
	control *http.ResponseController
	out     *steady
	events  bool
	missed  uint64
	buf     bytes.Buffer
}

func newStreamWriter(c *call) *streamWriter {
	control := http.NewResponseController(c.w)
	s := &streamWriter{
		control: control, out: &steady{control: control, w: c.w}, events: c.accepts("text/event-stream"),
	}
	kind := "application/x-ndjson"
	if s.events {
		kind = "text/event-stream"
	}
	c.w.Header().Set("Content-Type", kind)
	c.w.Header().Set("X-Accel-Buffering", "no") // of nginx, which would keep it back
	c.w.WriteHeader(http.StatusOK)
	_ = control.Flush() // the client learns that it has begun
	return s
}

// send puts one object into the buffer, and the buffer on its way when it is large.
func (s *streamWriter) send(event string, object any) error {
	line, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if s.events {
		fmt.Fprintf(&s.buf, "event: %s\ndata: %s\n\n", event, line)
	} else {
		s.buf.Write(append(line, '\n'))
	}
	if s.buf.Len() < maxBody {
		return nil
	}
	return s.write()
}

func (s *streamWriter) pulse() {
	if s.events {
		s.buf.WriteString(":\n\n")
	} else {
		s.buf.WriteByte('\n')
	}
}

// flush sends what waits, and how many were missed if that has changed.
func (s *streamWriter) flush(missed uint64) error {
	if missed != s.missed {
		s.missed = missed
		if err := s.send("missed", Missed{missed}); err != nil {
			return err
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *streamWriter) write() error {
	_, err := s.out.Write(s.buf.Bytes())
	s.buf.Reset()
	return err
}
