package bulk

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// readAll splits text into rows.
func readAll(text string, delim byte) (rows [][]string, raw []string, err error) {
	r := newRecords(strings.NewReader(text), delim)
	for {
		if err := r.next(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return rows, raw, err
		}
		rows, raw = append(rows, splitRecord(nil, r.raw, delim)), append(raw, string(r.raw))
	}
}

func TestRecords(t *testing.T) {
	for text, want := range map[string][][]string{
		"":                                 nil,
		"\n\r\n  \n":                       nil,
		"a":                                {{"a"}},
		"a,b\r\nc,d\r\n":                   {{"a", "b"}, {"c", "d"}},
		"\"a,b\",c\n":                      {{"a,b", "c"}},
		"\"a\nb\",c\nd":                    {{"a\nb", "c"}, {"d"}},
		"\"a\r\n\r\nb\"\r\nd":              {{"a\r\n\r\nb"}, {"d"}},
		`"say ""hi""",""`:                  {{`say "hi"`, ""}},
		`12" pipe,x`:                       {{`12" pipe`, "x"}},
		`"a b"@example.com,x`:              {{`"a b"@example.com`, "x"}},
		`"a,""b"@example.com,x`:            {{`"a,""b"@example.com`, "x"}},
		",,":                               {{"", "", ""}},
		`"`:                                nil, // an error
		"x\n\"y\n":                         {{"x"}},
		`"",""""` + "\n":                   {{"", `"`}},
		"a;b,c\n":                          {{"a;b", "c"}},
		strings.Repeat("x", 70<<10) + ",y": {{strings.Repeat("x", 70<<10), "y"}},
	} {
		rows, _, err := readAll(text, ',')
		if !slices.EqualFunc(rows, want, slices.Equal) {
			t.Errorf("%.60q: %.200q, want %.200q", text, rows, want)
		}
		if open := strings.HasSuffix(text, "\"y\n") || text == `"`; open != (err != nil) {
			t.Errorf("%.60q: error %v", text, err)
		}
	}
}

// TestLongRecord: an unclosed quote does not read the whole list into memory.
func TestLongRecord(t *testing.T) {
	in := io.MultiReader(strings.NewReader("a,\"b\n"), &endless{})
	err := newRecords(in, ',').next()
	if err == nil || !Usage(err) || !strings.Contains(err.Error(), "line 1: the row is longer than 1 MiB") ||
		!strings.Contains(Hint(err), "quote") {
		t.Errorf("error %v, hint %q", err, Hint(err))
	}
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "xyz\n"[i%4]
	}
	return len(p), nil
}

// FuzzRecords: what encoding/csv reads without a complaint is read here as well, rows are what stood
// in the list, and what is split can be put together again.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		"a,b\r\n\"c\"\"d\",e\n", "\"x\ny\",z", "a\"b,c", "\"a\"b,c\n", ",\n,,\n\"\"", "\"open",
		"e-mail;name\na@example.com;\"x;y\"",
	} {
		f.Add(seed, byte(','))
		f.Add(seed, byte(';'))
	}
	f.Fuzz(func(t *testing.T, text string, delim byte) {
		if strings.IndexByte(",;\t|", delim) < 0 {
			return
		}
		rows, raw, err := readAll(text, delim)
		rest := text
		for i, row := range rows {
			at := strings.Index(rest, raw[i])
			if at < 0 {
				t.Fatalf("row %q is not in the list", raw[i])
			}
			rest = rest[at+len(raw[i]):]
			if strings.ContainsRune(raw[i], '\r') || strings.ContainsRune(raw[i], '\n') {
				continue
			}
			var line []byte
			for j, field := range row {
				if j > 0 {
					line = append(line, delim)
				}
				line = appendField(line, field, delim)
			}
			if again := splitRecord(nil, line, delim); !slices.Equal(again, row) {
				t.Fatalf("%q becomes %q, then %q", raw[i], row, again)
			}
		}
		oracle := csv.NewReader(strings.NewReader(text))
		oracle.Comma, oracle.FieldsPerRecord = rune(delim), -1
		want, oracleErr := oracle.ReadAll()
		if oracleErr != nil || strings.ContainsRune(text, '\r') {
			return // it changes CRLF within quotes
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		// Rows without anything in them are none here, and some are there.
		got := slices.DeleteFunc(rows, blank)
		want = slices.DeleteFunc(want, blank)
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

func blank(row []string) bool { return strings.TrimSpace(strings.Join(row, "")) == "" }
