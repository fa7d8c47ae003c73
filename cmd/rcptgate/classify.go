package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/reply"
)

const (
	// classifyLine is the longest line of input.
	classifyLine = 1 << 20
	// classifyBuffer is what is read and written at a time.
	classifyBuffer = 64 << 10
)

func newClassifyCmd() *cobra.Command {
	var explain bool
	cmd := &cobra.Command{
		Use:   "classify [--explain] [FILE]",
		Short: "Tell what replies of mail servers mean",
		Long: `Classify reads replies of mail servers, one JSON object a line, from FILE or standard input:

  {"id": 7, "code": 550, "enhanced": "5.1.1", "text": "User unknown", "stage": "rcpt", "provider": ""}

and prints one JSON object for each, in order: whom the reply is about, what it says, how
sure that is, the rule that decided, whether it proves that mail for this recipient cannot
be delivered, whether it says that the mailbox exists, and the delay in seconds that the
text asks for.

Only text is needed: code and enhanced are read from its beginning where they are missing
("550-5.1.1 ...", several lines joined by "\n"). stage is connect, helo, starttls, mail, rcpt,
data, dot (the end of the message) or unknown.

A line that cannot be read gets an object with "error" in its place, the others go on, and
the exit code is 1.`,
		Example: `  rcptgate classify replies.jsonl
  echo '{"text": "550 5.1.1 User unknown", "stage": "rcpt"}' | rcptgate classify --explain`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, done, err := classifyInput(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer done()
			c := classifier{
				out:  bufio.NewWriterSize(cmd.OutOrStdout(), classifyBuffer),
				errs: cmd.ErrOrStderr(), explain: explain,
			}
			return c.run(bufio.NewReaderSize(in, classifyBuffer))
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false,
		"add the words that were looked at, what was left out, and the phrases found")
	return cmd
}

// classifyInput opens what the argument names, standard input without one.
func classifyInput(args []string, stdin io.Reader) (io.Reader, func(), error) {
	switch {
	case len(args) > 1:
		return nil, nil, usageError(fmt.Sprintf("one FILE at most, but got %d", len(args)),
			"join the files: cat FILES | rcptgate classify")
	case len(args) == 0 || args[0] == "-":
		return stdin, func() {}, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, usageError(fmt.Sprintf("cannot read the replies: %v", err),
			"name a file of JSON lines, or none to read standard input")
	}
	return f, func() { _ = f.Close() }, nil
}

// classifier is one run of the command.
type classifier struct {
	out     *bufio.Writer
	errs    io.Writer
	explain bool

	line int
	bad  int
	buf  bytes.Buffer
}

// run reads to the end of input. What is ready is written before it waits for more.
func (c *classifier) run(in *bufio.Reader) error {
	for {
		if in.Buffered() == 0 {
			if err := c.out.Flush(); err != nil {
				return failed(fmt.Sprintf("cannot write the result: %v", err), "")
			}
		}
		line, long, err := readClassifyLine(in)
		if len(line) > 0 || long {
			c.line++
			c.one(line, long)
		}
		switch {
		case errors.Is(err, io.EOF):
			return c.end()
		case err != nil:
			_ = c.out.Flush()
			return failed(fmt.Sprintf("cannot read the replies: %v", err), "")
		}
	}
}

func (c *classifier) end() error {
	if err := c.out.Flush(); err != nil {
		return failed(fmt.Sprintf("cannot write the result: %v", err), "")
	}
	if c.bad > 0 {
		return &failure{code: exitFailed}
	}
	return nil
}

// readClassifyLine reads one line with its end. Of a line that is too long only that is known.
func readClassifyLine(in *bufio.Reader) (line []byte, long bool, err error) {
	line, err = in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, false, err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = in.ReadSlice('\n')
		if long = long || len(line)+len(more) > classifyLine; !long {
			line = append(line, more...)
		}
	}
	return line, long, err
}

// classifyRecord is a line of input. ID is any JSON value and given back as it is.
type classifyRecord struct {
	ID       json.RawMessage `json:"id"`
	Code     json.RawMessage `json:"code"`
	Enhanced string          `json:"enhanced"`
	Text     string          `json:"text"`
	Stage    string          `json:"stage"`
	Provider string          `json:"provider"`
}

// classifyResult is a line of output.
type classifyResult struct {
	ID         json.RawMessage  `json:"id,omitempty"`
	Label      reply.Label      `json:"label"`
	Subject    reply.Subject    `json:"subject"`
	Confidence float64          `json:"confidence"`
	Rule       string           `json:"rule"`
	Proof      bool             `json:"proof"`
	Exists     bool             `json:"exists"`
	RetryAfter int              `json:"retry_after,omitempty"` // seconds
	Explain    *classifyExplain `json:"explain,omitempty"`
}

type classifyExplain struct {
	Code     int      `json:"code"`
	Enhanced string   `json:"enhanced,omitempty"`
	Words    string   `json:"words"`
	Masked   []string `json:"masked"`
	Phrases  []string `json:"phrases"`
}

// classifyFault stands in the place of a result.
type classifyFault struct {
	ID    json.RawMessage `json:"id,omitempty"`
	Line  int             `json:"line"`
	Error string          `json:"error"`
	Fix   string          `json:"fix"`
}

func (c *classifier) one(line []byte, long bool) {
	if !long && len(bytes.TrimSpace(line)) == 0 {
		return
	}
	var record classifyRecord
	fail := func(what, fix string) {
		c.bad++
		writef(c.errs, "rcptgate: error: line %d: %s\nrcptgate: hint: %s\n", c.line, what, fix)
		c.write(classifyFault{ID: record.ID, Line: c.line, Error: what, Fix: fix})
	}
	if long {
		fail("longer than 1 MiB", "cut the text: a reply has 64 KiB at most")
		return
	}
	if err := json.Unmarshal(line, &record); err != nil {
		record.ID = nil
		fail("not a JSON object of the right kind: "+err.Error(),
			`write {"text": "550 5.1.1 User unknown", "stage": "rcpt"}`)
		return
	}
	in, what, fix := record.input()
	if what != "" {
		fail(what, fix)
		return
	}
	c.write(c.result(record.ID, in))
}

func (c *classifier) result(id json.RawMessage, in reply.Input) classifyResult {
	var class reply.Class
	var why *classifyExplain
	if c.explain {
		var e reply.Explanation
		class, e = reply.Explain(in)
		why = &classifyExplain{
			Code: in.Code, Enhanced: e.Enhanced.String(), Words: e.Words,
			Masked: append([]string{}, e.Masked...), Phrases: append([]string{}, e.Phrases...),
		}
	} else {
		class = reply.Classify(in)
	}
	return classifyResult{
		ID: id, Label: class.Label, Subject: class.Subject, Confidence: class.Confidence,
		Rule: class.Rule, Proof: class.Proof, Exists: class.Exists,
		RetryAfter: int(class.Retry.Seconds()), Explain: why,
	}
}

// write writes a value as one line of JSON. The writer keeps its first error until it is flushed.
func (c *classifier) write(v any) {
	c.buf.Reset()
	enc := json.NewEncoder(&c.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // the types above cannot fail
		writef(c.errs, "rcptgate: error: line %d: %v\n", c.line, err)
		c.bad++
		return
	}
	_, _ = c.out.Write(c.buf.Bytes())
}

// input makes a reply of a record. what is empty, or tells what is wrong with it.
func (r *classifyRecord) input() (in reply.Input, what, fix string) {
	text, textCode := cutReplyCodes(r.Text)
	in = reply.Input{Text: text, Stage: reply.Stage(r.Stage), Provider: r.Provider, Code: textCode}
	if s := strings.Trim(string(r.Code), `"`); s != "" && s != "null" {
		code, err := strconv.Atoi(s)
		if err != nil {
			return in, fmt.Sprintf("code %.20q is no number", s), "write the reply's code, such as 550"
		}
		in.Code = code
	}
	if in.Code < 200 || in.Code > 599 {
		return in, "no reply code", `give "code", 200 to 599, or a text that begins with it`
	}
	if r.Enhanced != "" {
		e, ok := esmtp.ParseEnhancedCode(r.Enhanced)
		if !ok {
			return in, fmt.Sprintf("enhanced code %.20q is none", r.Enhanced), `write it as "5.1.1", or leave it out`
		}
		in.Enhanced = e
	} else {
		in.Enhanced = esmtp.Reply{Code: in.Code, Lines: strings.Split(in.Text, "\n")}.Enhanced()
	}
	if in.Stage != "" && !slices.Contains(reply.Stages(), in.Stage) {
		return in, fmt.Sprintf("stage %.20q is not known", r.Stage),
			"use connect, helo, starttls, mail, rcpt, data, dot or unknown"
	}
	return in, "", ""
}

// cutReplyCodes takes "550-" and "550 " off the front of every line that begins with the first
// line's code.
func cutReplyCodes(text string) (string, int) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if len(text) < 3 || len(text) > 3 && text[3] != ' ' && text[3] != '-' && text[3] != '\n' {
		return text, 0
	}
	code, err := strconv.Atoi(text[:3])
	if err != nil || code < 200 || code > 599 {
		return text, 0
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, text[:3]); ok &&
			(rest == "" || rest[0] == ' ' || rest[0] == '-') {
			lines[i] = strings.TrimPrefix(strings.TrimPrefix(rest, "-"), " ")
		}
	}
	return strings.Join(lines, "\n"), code
}
