package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/rcptgate/rcptgate/policy/register"
)

// Problem is the answer to a request that was not done, as application/problem+json (RFC 9457). The
// type is about:blank, which is left out: Status says what kind it is.
type Problem struct { //nolint:errname // so it is called by its RFC
	Title  string `json:"title"` // the words of the status
	Status int    `json:"status"`
	Detail string `json:"detail"`         // what is wrong with this request
	Hint   string `json:"hint,omitempty"` // what to do instead
	// Field is the field of the request that is wrong, "" if none is.
	Field string `json:"field,omitempty"`
	// Import is how far an import came that was cut short.
	Import *ImportReport `json:"import,omitempty"`
}

// Error is the detail and the hint.
func (p *Problem) Error() string {
	if p.Hint == "" {
		return p.Detail
	}
	return p.Detail + "; " + p.Hint
}

// problem makes the answer to a request that was not done.
func problem(status int, detail, hint string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint}
}

// badField is a field whose value cannot be taken.
func badField(field, detail, hint string) *Problem {
	p := problem(http.StatusBadRequest, field+": "+detail, hint)
	p.Field = field
	return p
}

// missing is what a gate without one part answers to requests about it.
func missing(part, hint string) *Problem {
	return problem(http.StatusServiceUnavailable, "there is no "+part, hint)
}

// problemOf turns an error of the packages below into an answer.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if field, ok := errors.AsType[*register.FieldError](err); ok {
		return badField(field.Field, field.Detail, field.Hint)
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the request is larger than %d octets", large.Limit), "send it in parts")
	}
	switch {
	case errors.Is(err, register.ErrFull):
		return problem(http.StatusInsufficientStorage, err.Error(),
			"raise policy.suppression.max_entries, or remove entries")
	case errors.Is(err, register.ErrClosed):
		return problem(http.StatusServiceUnavailable, err.Error(), "try again when the gate runs")
	}
	return problem(http.StatusInternalServerError, err.Error(),
		"see the log of the gate, and its state directory: is the disk full?")
}

func (p *Problem) send(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // of texts and numbers: it cannot be
		body = []byte(`{}`)
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Del("Content-Disposition")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // who has gone does not read it
}
