package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/rcptgate/rcptgate/policy/register"
)

const (
	// maxImport bounds an import in octets, importTime its time.
	maxImport  = 512 << 20
	importTime = time.Hour
	// importWait is how long an import waits for one before it, whose client may have just gone.
	importWait = 2 * time.Second
	// maxFormField bounds a field of the form before the file, in octets.
	maxFormField = 4 << 10
)

// ImportReport is a register.ImportReport in JSON.
type ImportReport struct {
	Rows     int `json:"rows"`
	Added    int `json:"added"`
	Replaced int `json:"replaced"`
	Kept     int `json:"kept"`
	Skipped  int `json:"skipped"`
	Failed   int `json:"failed"`

	Unknown  []string      `json:"unknown_columns,omitempty"`
	Problems []LineProblem `json:"problems,omitempty"` // the first hundred
}

// LineProblem is a row that was not taken, and why.
type LineProblem struct {
	Line   int    `json:"line"`
	Detail string `json:"detail"`
}

func (c *call) importCSV() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	select {
	case c.api.imports <- struct{}{}:
	case <-time.After(importWait):
		return problem(http.StatusConflict, "another import goes on", "wait until it is done")
	}
	defer func() { <-c.api.imports }()
	control := http.NewResponseController(c.w)
	_ = control.SetWriteDeadline(time.Time{}) // reading is what takes the time
	c.r.Body = http.MaxBytesReader(c.w, io.NopCloser(&steady{
		control: control, r: c.r.Body, end: time.Now().Add(importTime),
	}), maxImport)
	opts := register.ImportOptions{}
	file, err := c.importFile(&opts)
	if err != nil {
		c.patient(requestTime)
		return err
	}
	report, err := list.ImportCSV(file, opts)
	c.patient(requestTime)
	answer := importReportOf(&report)
	if err == nil {
		return c.reply(answer)
	}
	p := importProblem(err)
	p.Import = answer
	return p
}

// importProblem tells what the client did, what is in the file, and what the disk did apart.
func importProblem(err error) *Problem {
	p := problemOf(err)
	_, network := errors.AsType[*net.OpError](err)
	_, system := errors.AsType[syscall.Errno](err)
	switch {
	case p.Status != http.StatusInternalServerError:
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem(http.StatusRequestTimeout, "nothing came for a minute", "send the file again")
	case network, errors.Is(err, io.ErrUnexpectedEOF):
		return problem(http.StatusBadRequest, "the file broke off", "send it again")
	case system:
		return p
	}
	return problem(http.StatusBadRequest, err.Error(),
		"correct the file; see the documentation for its columns")
}

func importReportOf(r *register.ImportReport) *ImportReport {
	out := &ImportReport{
		Rows: r.Rows, Added: r.Added, Replaced: r.Replaced, Kept: r.Kept, Skipped: r.Skipped,
		Failed: r.Failed, Unknown: r.Unknown,
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, LineProblem{p.Line, shown(p.Detail)})
	}
	return out
}

// importFile is the file of an import, with the options that stand before it.
func (c *call) importFile(opts *register.ImportOptions) (io.Reader, error) {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "text/csv":
		opts.Source = c.who
		return c.r.Body, nil
	case err != nil || kind != "multipart/form-data":
		return nil, problem(http.StatusUnsupportedMediaType, "the body is neither CSV nor a form",
			"send the file with Content-Type: text/csv, or as the part file of multipart/form-data")
	}
	form, err := c.r.MultipartReader()
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the form cannot be read: "+err.Error(), "")
	}
	fields := map[string]string{}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, badField("file", "the form has no such part", "add the file as its last part")
		}
		if err != nil {
			return nil, formProblem(err)
		}
		name := part.FormName()
		if name == "file" {
			return part, importOptions(fields, c.who, opts)
		}
		if fields[name], err = formField(part, name); err != nil {
			return nil, err
		}
	}
}

func formProblem(err error) error {
	if p := problemOf(err); p.Status != http.StatusInternalServerError {
		return p
	}
	return problem(http.StatusBadRequest, "the form cannot be read: "+err.Error(),
		"send it as RFC 7578 says, such as by curl -F")
}

// formField reads one part of the form.
func formField(part *multipart.Part, name string) (string, error) {
	switch name {
	case "reason", "scope", "expires", "for", "source", "strict", "keep":
	default:
		return "", badField(shown(name), "there is no such field",
			"those there are: reason, scope, expires, for, source, strict, keep, and file as the last")
	}
	value, err := io.ReadAll(io.LimitReader(part, maxFormField+1))
	if err != nil {
		return "", formProblem(err)
	}
	if len(value) > maxFormField {
		return "", badField(name, "it is longer than 4 KiB", "")
	}
	return string(value), nil
}

// importOptions makes the options from the fields of a form.
func importOptions(fields map[string]string, who string, opts *register.ImportOptions) error {
	var (
		lasting Lasting
		err     error
	)
	opts.Reason, opts.Source = register.Reason(fields["reason"]), fields["source"]
	if opts.Source == "" {
		opts.Source = who
	}
	if opts.Reason != "" && !slices.Contains(register.Reasons(), opts.Reason) {
		return badField("reason", shown(fields["reason"])+" is none",
			fmt.Sprintf("write one of %v", register.Reasons()))
	}
	if opts.Scope, err = register.ParseScope(fields["scope"]); err != nil {
		return err
	}
	if text := fields["for"]; text != "" {
		if err := lasting.For.UnmarshalText([]byte(text)); err != nil {
			return badField("for", err.Error(), "")
		}
	}
	if text := fields["expires"]; text != "" {
		if lasting.Expires, err = time.Parse(time.RFC3339, text); err != nil {
			return badField("expires", shown(text)+" is no time", "write one such as 2027-01-31T00:00:00Z")
		}
	}
	if opts.Expires, err = lasting.until(time.Now()); err != nil {
		return err
	}
	for name, into := range map[string]*bool{"strict": &opts.Strict, "keep": &opts.Keep} {
		if fields[name] == "" {
			continue
		}
		if *into, err = strconv.ParseBool(fields[name]); err != nil {
			return badField(name, "it is neither true nor false", "write true or false")
		}
	}
	return nil
}

func (c *call) exportCSV() error {
	list, err := c.register()
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Type", "text/csv; charset=utf-8")
	header.Set("Content-Disposition", `attachment; filename="suppressions.csv"`)
	out := &steady{control: http.NewResponseController(c.w), w: c.w}
	if err := list.ExportCSV(out); err != nil {
		// Only writing can fail: the client has gone, and nobody reads a problem.
		c.api.log.Info("api: an export was broken off", "by", c.who, "error", err.Error())
	}
	return nil
}
