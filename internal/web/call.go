package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const (
	// maxBody bounds the body of every request but an import, in octets.
	maxBody = 1 << 20
	// idleTime is how long an import, an export or a stream may stand still.
	idleTime = time.Minute
	// searchTime bounds a search through files.
	searchTime = time.Minute
)

// call is one request of the API on its way.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	parts Parts
	who   string // a token's name, or the control socket
}

// decode reads the body, which must be one JSON object without fields that are not known. No body
// is the empty object.
func (c *call) decode(into any) error {
	if given := c.r.Header.Get("Content-Type"); given != "" {
		kind, _, err := mime.ParseMediaType(given)
		if err != nil || kind != "application/json" {
			return problem(http.StatusUnsupportedMediaType, "the body is not said to be JSON",
				"send the header Content-Type: application/json")
		}
	}
	dec := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return decodeProblem(err, dec.InputOffset())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return problemOf(large)
		}
		return problem(http.StatusBadRequest, "something follows the JSON object of the request",
			"send one object")
	}
	return nil
}

func decodeProblem(err error, offset int64) *Problem {
	if p := problemOf(err); p.Status != http.StatusInternalServerError {
		return p
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return badField(wrong.Field, "it cannot be a "+wrong.Value, "write a "+kindOf(wrong.Type.String()))
	}
	detail := strings.TrimPrefix(err.Error(), "json: ")
	if name, ok := strings.CutPrefix(detail, "unknown field "); ok {
		name = strings.Trim(name, `"`)
		return badField(name, "there is no such field", "take it out, or correct its name")
	}
	return problem(http.StatusBadRequest,
		fmt.Sprintf("the body is not the JSON object it should be, near octet %d: %s", offset, detail),
		`send an object such as {"address": "bob@example.com"}`)
}

// kindOf is a type of Go in the words of JSON.
func kindOf(goType string) string {
	switch goType {
	case "string":
		return "string"
	case "bool":
		return "true or false"
	case "int", "int64":
		return "whole number"
	default:
		return "value of the kind that the documentation shows"
	}
}

// noQuery refuses a request that has a query, which logs of proxies keep: everything is in bodies.
func (c *call) noQuery() error {
	if c.r.URL.RawQuery != "" {
		return problem(http.StatusBadRequest, "the request has a query",
			"put everything into the JSON body: addresses do not belong in URLs, which logs keep")
	}
	return nil
}

// reply sends a JSON object.
func (c *call) reply(object any) error { return c.replyWith(http.StatusOK, object) }

func (c *call) replyWith(status int, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n')) // who has gone does not read it
	return nil
}

// accepts reports whether the client asks for a media type by its full name.
func (c *call) accepts(kind string) bool {
	for _, value := range c.r.Header.Values("Accept") {
		for one := range strings.SplitSeq(value, ",") {
			if got, _, err := mime.ParseMediaType(one); err == nil && got == kind {
				return true
			}
		}
	}
	return false
}

// patient gives the answer time of its own, in place of the server's.
func (c *call) patient(limit time.Duration) {
	// A connection without deadlines, of a test, needs none. The deadline of reading is there to see
	// whether the client goes.
	control, end := http.NewResponseController(c.w), time.Now().Add(limit)
	_ = control.SetReadDeadline(end)
	_ = control.SetWriteDeadline(end)
}

// heavy runs fn as one of the few requests that may read the journal's files at a time.
func (c *call) heavy(fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), searchTime)
	defer cancel()
	c.patient(searchTime + requestTime)
	select {
	case c.api.searches <- struct{}{}:
	case <-ctx.Done():
		return problem(http.StatusServiceUnavailable, "too many searches go on", "try again in a minute")
	}
	defer func() { <-c.api.searches }()
	err := fn(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return problem(http.StatusServiceUnavailable,
			fmt.Sprintf("the search did not end in %d s", int(searchTime.Seconds())),
			`ask for less time: "since", or "from" and "to"`)
	}
	return err
}

// steady is a writer or reader of a connection on which every step has idleTime.
type steady struct {
	control *http.ResponseController
	w       io.Writer
	r       io.Reader
	end     time.Time // of it all; the zero time: never
}

// Read reads with a new deadline.
func (s *steady) Read(p []byte) (int, error) {
	now := time.Now()
	if !s.end.IsZero() && now.After(s.end) {
		return 0, problem(http.StatusRequestTimeout, "the transfer took too long", "send it in parts")
	}
	_ = s.control.SetReadDeadline(now.Add(idleTime))
	return s.r.Read(p)
}

// Write writes with a new deadline.
func (s *steady) Write(p []byte) (int, error) {
	_ = s.control.SetWriteDeadline(time.Now().Add(idleTime))
	return s.w.Write(p)
}
