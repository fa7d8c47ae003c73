package bulk

import (
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	for _, test := range []struct {
		list  string
		o     ListOptions
		want  Dialect
		fault string
	}{
		{list: "a@example.com\nb@example.com\n", want: Dialect{Delim: ','}},
		{list: "a@example.com", want: Dialect{Delim: ','}},
		{list: "email\na@example.com\n", want: Dialect{Delim: ',', Header: true}},
		{list: "id,mail\r\n1,a@example.com\r\n", want: Dialect{Delim: ',', Column: 1, Header: true, CRLF: true}},
		{list: "id;mail\n1;a@example.com\n", want: Dialect{Delim: ';', Column: 1, Header: true}},
		{list: "\xef\xbb\xbfmail\tname\na@example.com\tx, y; z\n", want: Dialect{Delim: '\t', Header: true, BOM: true}},
		{list: "x|a@example.com\ny|b@example.com\n", want: Dialect{Delim: '|', Column: 1}},
		{list: "Doe, Jane;jane@example.com\nRoe, Joe;joe@example.com", want: Dialect{Delim: ';', Column: 1}},
		{list: "a@@example.com\nb@example.com\n", want: Dialect{Delim: ','}},
		{list: "Anna <a@example.com>\nmailto:b@example.com\n", want: Dialect{Delim: ','}},
		{list: "from,e-mail\na@example.com,b@example.com\n", want: Dialect{Delim: ',', Column: 1, Header: true}},
		{list: "from,to\na@example.com,b@example.com\n", fault: `several columns look like addresses: "from", "to"`},
		{list: "a@example.com,b@example.com\n", fault: "several columns look like addresses: 1, 2"},
		{list: "from,to\na@example.com,b@example.com\n", o: ListOptions{Column: "TO"}, want: Dialect{Delim: ',', Column: 1, Header: true}},
		{list: "a@example.com,b@example.com\n", o: ListOptions{Column: "2"}, want: Dialect{Delim: ',', Column: 1}},
		{list: "a@example.com\n", o: ListOptions{Header: HeaderYes}, want: Dialect{Delim: ',', Header: true}},
		{list: "mail\na@example.com\n", o: ListOptions{Header: HeaderNo}, want: Dialect{Delim: ','}},
		{list: "mail\na@example.com\n", o: ListOptions{Header: HeaderNo, Column: "mail"}, fault: "none has a name"},
		{list: "mail;x\na@example.com;\n", o: ListOptions{Column: "post"}, fault: `no column is named "post"`},
		{list: "a;b\nc;d\n", fault: "no column of the list looks like addresses"},
		{list: "a,b\n", o: ListOptions{Column: "0"}, fault: "there is no column 0"},
		{list: "", fault: "the list has no addresses"},
		{list: "\n\n", fault: "the list has no addresses"},
		{list: "\xff\xfea\x00", fault: "UTF-16"},
		{list: "mail\n\"a@example.com", fault: "line 2: a quote"},
	} {
		got, err := detect([]byte(test.list), true, test.o)
		switch {
		case test.fault == "" && (err != nil || got != test.want):
			t.Errorf("%q: %+v, %v; want %+v", test.list, got, err, test.want)
		case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault) || !Usage(err) || Hint(err) == ""):
			t.Errorf("%q: error %v with hint %q, want %q", test.list, err, Hint(err), test.fault)
		}
	}
}

// FuzzDetect: a dialect that was found is one that the list can be read in, and whatever the list is,
// its rows come out as they went in.
func FuzzDetect(f *testing.F) {
	f.Add("id,mail\r\n1,a@example.com\r\n", "", "")
	f.Add("\xef\xbb\xbfmail;x\na@example.com;\"y;z\"\n", "mail", "yes")
	f.Add("a@example.com\nb@example.com\n", "1", "no")
	f.Fuzz(func(t *testing.T, text, column, header string) {
		o := ListOptions{Column: column, Header: header}
		d, err := detect([]byte(text), true, o)
		if err != nil {
			if !Usage(err) || Hint(err) == "" {
				t.Fatalf("error without a next step: %v", err)
			}
			return
		}
		rows, _, err := readAll(strings.TrimPrefix(text, bom), d.Delim)
		if err != nil {
			t.Fatalf("found %+v, but %v", d, err)
		}
		width := 0
		for _, row := range rows {
			width = max(width, len(row))
		}
		if d.Column < 0 || d.Column >= width {
			t.Fatalf("column %d of %d", d.Column, width)
		}
		if header == HeaderYes && !d.Header || header == HeaderNo && d.Header {
			t.Fatalf("header %t, though %q was said", d.Header, header)
		}
		if column == "" && !anyAddress(rows[0]) && len(rows) == 1 {
			t.Fatalf("found a column of addresses in %q", text)
		}
	})
}
