package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/web"
)

type importOptions struct {
	config, scope, reason, source string
	lasting                       lastingFlags
	strict, keep, json            bool
}

func newSuppressImportCmd() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import --config FILE [CSV]",
		Short: "Suppress all addresses of a CSV file",
		Long: `Import reads a CSV file, or standard input: one that export has written, a plain list of
addresses, or a list of SES, SendGrid, Postmark, Mailgun, SparkPost or listmonk as it is. The
flags say what the rows do not. What is suppressed already is replaced, or left with --keep.

Rows that cannot be read are told by their line and left out, and the exit code is 1; with
--strict nothing is imported then.`,
		Example: `  rcptgate suppress import -c rcptgate.toml --reason complaint complaints.csv
  rcptgate suppress import -c rcptgate.toml --keep < list.csv`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(fmt.Sprintf("one file at most, but got %d", len(args)),
					"import them one by one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	configFlag(cmd, &o.config, "the gate's configuration")
	scopeFlag(cmd, &o.scope, "of rows that do not say whose mail they are about, global without it")
	reasonFlag(cmd, &o.reason, "of rows that do not say why, import without it")
	o.lasting.add(cmd, "for rows that do not say; for good without it")
	flags := cmd.Flags()
	flags.StringVar(&o.source, "source", "import", "of rows that do not say who says so")
	flags.BoolVar(&o.strict, "strict", false, "import nothing if a row is bad")
	flags.BoolVar(&o.keep, "keep", false, "leave what is suppressed already as it is")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func (o *importOptions) run(cmd *cobra.Command, args []string) error {
	if _, err := parseScope(o.scope); err != nil {
		return err
	}
	lasting, err := o.lasting.parse()
	if err != nil {
		return err
	}
	fields := map[string]string{
		"scope": o.scope, "reason": o.reason, "source": o.source,
		"strict": strconv.FormatBool(o.strict), "keep": strconv.FormatBool(o.keep),
	}
	if lasting.For != 0 {
		lasting.Expires = time.Now().Add(time.Duration(lasting.For))
	}
	if !lasting.Expires.IsZero() {
		fields["expires"] = lasting.Expires.UTC().Format(time.RFC3339)
	}
	in, size := cmd.InOrStdin(), int64(0)
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return failed(err.Error(), "name a CSV file, or none to read standard input")
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	return withControl(cmd, o.config, openState, func(c *controller) error {
		bar := &transfer{r: in, w: cmd.ErrOrStderr(), total: size, start: time.Now()}
		bar.on = isTerminal(bar.w)
		report, err := importThrough(c, fields, bar)
		bar.clear()
		return o.print(cmd, report, err)
	})
}

// importThrough sends a form whose last part is the file. The report may be there with an error.
func importThrough(c *controller, fields map[string]string, file io.Reader) (*web.ImportReport, error) {
	r, w := io.Pipe()
	// Sending waits for what it reads, which a signal does not end by itself.
	defer context.AfterFunc(c.ctx, func() { _ = r.CloseWithError(context.Cause(c.ctx)) })()
	form := multipart.NewWriter(w)
	written := make(chan error, 1)
	go func() {
		err := writeForm(form, fields, file)
		written <- err
		_ = w.CloseWithError(err) // nil is the end of the file
	}()
	body, err := c.send("POST", "/v1/suppressions/import", form.FormDataContentType(),
		"application/json", r)
	_ = r.Close() // ends the writer, if the gate did not want all of it
	if err != nil {
		select {
		case fault := <-written:
			if fault != nil && !errors.Is(fault, io.ErrClosedPipe) {
				return nil, failed(fmt.Sprintf("cannot read the file: %v", fault), "")
			}
		default: // it still waits for its input, which may never come
		}
		if refused, ok := errors.AsType[*refusal](err); ok {
			return refused.problem.Import, err
		}
		return nil, err
	}
	defer func() { _ = body.Close() }()
	report := new(web.ImportReport)
	if err := json.NewDecoder(body).Decode(report); err != nil {
		return nil, failed(fmt.Sprintf("the answer of the gate cannot be read: %v", err), "")
	}
	return report, nil
}

func writeForm(form *multipart.Writer, fields map[string]string, file io.Reader) error {
	for name, value := range fields {
		if value == "" {
			continue
		}
		if err := form.WriteField(name, value); err != nil {
			return err
		}
	}
	part, err := form.CreateFormFile("file", "list.csv")
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, file); err != nil {
		return err
	}
	return form.Close()
}

// print prints the report, the bad rows to standard error.
func (o *importOptions) print(cmd *cobra.Command, report *web.ImportReport, err error) error {
	if report == nil {
		return err
	}
	out, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	for _, p := range report.Problems {
		writef(errs, "line %d: %s\n", p.Line, escaped(p.Detail))
	}
	if more := report.Failed + report.Skipped - len(report.Problems); more > 0 {
		writef(errs, "and %d more\n", more)
	}
	if o.json {
		if e := printLines(out, []*web.ImportReport{report}); e != nil && err == nil {
			err = e
		}
	} else {
		writef(out, "%d added, %d replaced, %d kept, %d skipped, %d bad, of %d rows\n",
			report.Added, report.Replaced, report.Kept, report.Skipped, report.Failed, report.Rows)
		for _, name := range report.Unknown {
			writef(out, "the column %q was not used\n", name)
		}
	}
	if err == nil && report.Failed > 0 {
		return failed(counted(report.Failed, "row was", "rows were")+" not imported",
			"correct them and import the file again: what is imported already is replaced by the same")
	}
	return err
}

// transfer is a reader that shows on a terminal how far it is.
type transfer struct {
	r     io.Reader
	w     io.Writer
	on    bool
	total int64 // 0: not known
	start time.Time

	mu    sync.Mutex
	done  int64
	drawn time.Time // zero: nothing stands there
}

// drawEvery is how often the line is drawn.
const drawEvery = 100 * time.Millisecond

// Read reads and, now and then, draws.
func (t *transfer) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += int64(n)
	if now := time.Now(); t.on && now.Sub(t.start) > drawEvery && now.Sub(t.drawn) > drawEvery {
		t.drawn = now
		writef(t.w, "\r\x1b[K%s", t.text(now))
	}
	return n, err
}

func (t *transfer) text(now time.Time) string {
	const mega = 1e6
	if t.total <= 0 || t.done > t.total {
		return fmt.Sprintf("%.1f MB read", float64(t.done)/mega)
	}
	left := ""
	if t.done > 0 {
		rest := time.Duration(float64(now.Sub(t.start)) * float64(t.total-t.done) / float64(t.done))
		left = ", " + roundTime(rest) + " left"
	}
	return fmt.Sprintf("%3d %% of %.1f MB%s", 100*t.done/t.total, float64(t.total)/mega, left)
}

// clear makes room for what comes, for good.
func (t *transfer) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on = false
	if !t.drawn.IsZero() {
		writef(t.w, "\r\x1b[K")
	}
}

func newSuppressExportCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "export --config FILE",
		Short: "Print the whole list as CSV",
		Long: `Export prints all suppressions as CSV, in the order of their addresses. Imported into an empty
list, it gives the same list.`,
		Example: "  rcptgate suppress export -c rcptgate.toml > suppressions.csv",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withControl(cmd, config, openState, func(c *controller) error {
				csv, err := c.send("GET", "/v1/suppressions/export", "", "text/csv", nil)
				if err != nil {
					return err
				}
				defer func() { _ = csv.Close() }()
				if _, err := io.Copy(cmd.OutOrStdout(), csv); err != nil {
					return failed(fmt.Sprintf("the export broke off: %v", err), "export again")
				}
				return nil
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	return cmd
}
