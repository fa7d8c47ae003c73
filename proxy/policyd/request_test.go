package policyd

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// names are the attributes that count.
var names = [attributes]string{
	"request", "protocol_state", "protocol_name", "client_address", "client_name", "client_port",
	"helo_name", "sender", "recipient", "recipient_count", "queue_id", "instance", "size",
	"sasl_username", "ccert_subject",
}

func TestNames(t *testing.T) {
	for a, name := range names {
		if got := attributeOf([]byte(name)); got != attribute(a) {
			t.Errorf("%s is attribute %d, want %d", name, got, a)
		}
	}
	for _, name := range []string{"", "Sender", "sender ", "policy_context", "stress", "client_nam"} {
		if attributeOf([]byte(name)) != ignored {
			t.Errorf("%q is not ignored", name)
		}
	}
}

const start = "request=smtpd_access_policy\nprotocol_state=RCPT\n"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, request string
		want          fault
	}{
		{"least", start, ""},
		{"any order", "size=1\nprotocol_state=RCPT\nrequest=smtpd_access_policy\n", ""},
		{"unknown ones", start + "colour=blue\nx y\x01=\xff\n", ""},
		{"empty values", start + "sender=\nsize=\nrecipient_count=\n", ""},
		{"more than one equals sign", start + "sender=a=b@example.com\n", ""},
		{"CR LF", "request=smtpd_access_policy\r\nprotocol_state=RCPT\r\n", ""},
		{"the same twice", start + "sender=a@example.com\nsender=a@example.com\n", ""},
		{"an ignored one twice", start + "stress=\nstress=yes\n", ""},
		{"100 attributes", start + strings.Repeat("x=\n", 98), ""},
		{"101 attributes", start + strings.Repeat("x=\n", 99), faultTooMany},
		{"2048 octets", start + "helo_name=" + strings.Repeat("x", 2048) + "\n", ""},
		{"2049 octets", start + "helo_name=" + strings.Repeat("x", 2049) + "\n", faultTooLong},
		{"long and ignored", start + "x=" + strings.Repeat("x", 5000) + "\n", ""},
		{"two values", start + "sender=a@example.com\nsender=b@example.com\n", faultTwice},
		{"two values, one empty", start + "sender=\nsender=b@example.com\n", faultTwice},
		{"no equals sign", start + "sender\n", faultNoEquals},
		{"HTTP", "GET / HTTP/1.1\r\nHost: example.com\r\n", faultNoEquals},
		{"no name", start + "=x\n", faultNoName},
		{"NUL", start + "x=\x00\n", faultNUL},
		{"nothing", "", faultNoRequest},
		{"no request", "protocol_state=RCPT\n", faultNoRequest},
		{"another request", "request=junk_policy\nprotocol_state=RCPT\n", faultOther},
		{"no state", "request=smtpd_access_policy\n", faultNoState},
		{"size is no number", start + "size=1k\n", faultNumber},
		{"negative count", start + "recipient_count=-1\n", faultNumber},
		{"huge size", start + "size=99999999999999999999999\n", ""},
	} {
		var r request
		if got := r.parse([]byte(tc.request)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// oracle reads a request in the simplest way. bad is true if it cannot be understood.
func oracle(text string) (values map[string]string, bad bool) {
	values = map[string]string{}
	if strings.ContainsRune(text, 0) {
		return nil, true
	}
	lines := strings.Split(text, "\n")
	lines = lines[:len(lines)-1] // behind the last line end
	for i, line := range lines {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), "=")
		if !ok || name == "" || i >= 100 {
			return nil, true
		}
		if !slices.Contains(names[:], name) {
			continue
		}
		if old, twice := values[name]; twice && old != value || len(value) > 2048 {
			return nil, true
		}
		values[name] = value
	}
	for _, name := range []string{"size", "recipient_count"} {
		bad = bad || strings.Trim(values[name], "0123456789") != ""
	}
	_, state := values["protocol_state"]
	return values, bad || values["request"] != "smtpd_access_policy" || !state
}

// oracleSplit cuts a stream into its requests, without those that have not ended.
func oracleSplit(stream string) (requests []string) {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(stream, "\n") {
		switch {
		case line == "\n" || line == "\r\n":
			if b.Len()+len(line) > maxRequest {
				b.Reset()
				b.WriteString("too big")
			}
			requests = append(requests, b.String())
			b.Reset()
		case strings.HasSuffix(line, "\n"):
			b.WriteString(line)
		}
	}
	return requests
}

// split is what input makes of a stream that comes in pieces of these sizes, used in turn; in some
// hundred at most.
func split(stream string, sizes []byte) (requests []string) {
	var in input
	least := len(stream) / 300
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(sizes) > 0 {
			n = 1 + least + int(sizes[i%len(sizes)])*37
		}
		room := in.room()
		n = copy(room, stream[:min(n, len(stream))])
		in.added(n)
		stream = stream[n:]
		for {
			b, tooBig, ok := in.next()
			if !ok {
				break
			}
			if tooBig {
				b = []byte("too big")
			}
			requests = append(requests, string(b))
		}
	}
	return requests
}

// FuzzStream: the requests in a stream, and what is read of each, are those of the oracle, however
// the stream is cut into pieces. pad makes one of the requests longer, by so many attributes.
func FuzzStream(f *testing.F) {
	f.Add(start+"sender=a@example.com\n\n", "", uint16(0), []byte{0})
	f.Add(start+"\n"+start+"sender=\r\n\r\n\n\nGET / HTTP/1.1\r\n\r\nx", "\n", uint16(1), []byte{1, 0, 3})
	f.Add(start, "\n"+start+"\n", uint16(20_000), []byte{255})
	f.Add(start+"x=", "\r\n\r\n"+start+"size=7\n\n", uint16(16_350), []byte{100, 7})
	f.Add("a=\n\r\r\n\r\n=\n\nsize=1\nsize=2\n\n", "", uint16(0), []byte{2})
	f.Fuzz(func(t *testing.T, head, tail string, pad uint16, sizes []byte) {
		stream := head + strings.Repeat("x=y\n", int(pad)) + tail
		want, got := oracleSplit(stream), split(stream, sizes)
		if !slices.Equal(want, got) {
			t.Fatalf("requests %.300q, want %.300q", got, want)
		}
		for _, text := range got {
			values, bad := oracle(text)
			var r request
			f := r.parse([]byte(text))
			if bad != (f != "") {
				t.Fatalf("%q: fault %q, want one: %t", text, f, bad)
			}
			if bad {
				continue
			}
			read := map[string]string{}
			for a, v := range r.values {
				if v != nil {
					read[names[a]] = string(v)
				}
			}
			if !maps.Equal(values, read) {
				t.Fatalf("%q: %q, want %q", text, read, values)
			}
		}
	})
}

// TestLargestRequest: 64 KiB with the empty line are one, an octet more is not.
func TestLargestRequest(t *testing.T) {
	for _, more := range []int{0, 1} {
		fill := maxRequest - len(start) - len("x=\n\n") + more
		stream := start + "x=" + strings.Repeat("y", fill) + "\n\n" + start + "\n"
		for _, sizes := range [][]byte{nil, {0}, {255}} {
			got := split(stream, sizes)
			if len(got) != 2 || (got[0] == "too big") != (more > 0) || got[1] != start {
				t.Errorf("%d octets more: %.60q", more, got)
			}
		}
	}
}

// TestInputIsBounded: whatever comes, a connection holds 64 KiB.
func TestInputIsBounded(t *testing.T) {
	var in input
	endless := bytes.Repeat([]byte("x=yy\n"), 4<<10)
	for range 100 {
		n := copy(in.room(), endless)
		if n == 0 {
			t.Fatal("no room, though no request is complete")
		}
		in.added(n)
		if _, _, ok := in.next(); ok {
			t.Fatal("a request without an end")
		}
		if len(in.buf) > maxRequest {
			t.Fatalf("%d octets", len(in.buf))
		}
	}
	in.added(copy(in.room(), "\n\n"+start+"\n"))
	if _, tooBig, ok := in.next(); !ok || !tooBig {
		t.Error("the end of the big request was not found")
	}
	if b, _, ok := in.next(); !ok || len(b) != 0 {
		t.Errorf("%q behind it, want an empty request", b)
	}
	if b, _, ok := in.next(); !ok || string(b) != start {
		t.Errorf("%q behind that", b)
	}
	if in.room(); len(in.buf) > inputKeep {
		t.Errorf("%d octets at rest", len(in.buf))
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		address, want string
		ok            bool
	}{
		{"bob@example.net", "bob@example.net", true},
		{"Bob@EXAMPLE.net", "Bob@EXAMPLE.net", true},
		{"a b@example.net", `"a b"@example.net`, true},
		{`a"b\c@example.net`, `"a\"b\\c"@example.net`, true},
		{`"a b"@example.net`, `"a b"@example.net`, true},
		{"a@b@example.net", `"a@b"@example.net`, true},
		{"jörg@example.net", "jörg@example.net", true},
		{"bob@[192.0.2.1]", "bob@[192.0.2.1]", true},
		{"postmaster", "postmaster", true},
		{"root", "root", true},
		{"@relay.test:bob@example.net", "bob@example.net", true},
		{"bob@example.net> NOTIFY=NEVER", "", false},
		{"bob@exa mple.net", "", false},
		{"bob@-example.net", "", false},
		{"\x01@example.net", "", false},
		{"\xff@example.net", "", false},
		{strings.Repeat("x", 65) + "@example.net", "", false},
	} {
		got, ok := parseRecipient(tc.address)
		if ok != tc.ok || got.To.String() != tc.want {
			t.Errorf("recipient %q: %q, %t; want %q, %t", tc.address, got.To, ok, tc.want, tc.ok)
		}
		if len(tc.address) > 60 {
			continue // a sender may have a longer local part
		}
		if m, ok := parseSender(tc.address); ok != tc.ok || m.From.String() != tc.want {
			t.Errorf("sender %q: %q, %t; want %q, %t", tc.address, m.From, ok, tc.want, tc.ok)
		}
	}
	if m, ok := parseSender(""); !ok || !m.From.IsNull() || m.UTF8 {
		t.Errorf("the null sender: %+v, %t", m, ok)
	}
	if m, ok := parseSender("jörg@example.net"); !ok || !m.UTF8 {
		t.Errorf("a UTF-8 sender: %+v, %t", m, ok)
	}
	if _, ok := parseRecipient(""); ok {
		t.Error("an empty recipient is an address")
	}
}

func TestKey(t *testing.T) {
	s := New(Config{}, nil, nil)
	base := start + "instance=1.2\nsender=a@example.com\nclient_address=192.0.2.1\nhelo_name=h\n"
	keyOfText := func(text string) uint64 {
		var r request
		if f := r.parse([]byte(text)); f != "" {
			t.Fatal(f)
		}
		addr, _ := remoteAddr(nil)
		return keyOf(s.seed, addr, &r)
	}
	key := keyOfText(base)
	if same := keyOfText(base + "size=7\nclient_port=1\nrecipient=x@example.com\n"); same != key {
		t.Error("another recipient is another message")
	}
	for i, other := range []string{
		strings.Replace(base, "1.2", "1.3", 1), strings.Replace(base, "a@", "b@", 1),
		strings.Replace(base, "192.0.2.1", "192.0.2.2", 1), strings.Replace(base, "=h\n", "=g\n", 1),
		base + "sasl_username=anna\n", base + "ccert_subject=anna\n",
	} {
		if keyOfText(other) == key {
			t.Errorf("%d is the same message", i)
		}
	}
	if keyOfText(start) != 0 {
		t.Error("a request without an instance belongs to others")
	}
}

func TestLogin(t *testing.T) {
	for _, tc := range []struct{ lines, want string }{
		{"", ""},
		{"sasl_username=\nccert_subject=\n", ""},
		{"sasl_username=anna\nccert_subject=host.example.com\n", "anna"},
		{"sasl_username=\nccert_subject=Anna+20Example\n", "Anna Example"},
		{"ccert_subject=100%+\n", "100%+"},
	} {
		var r request
		if f := r.parse([]byte(start + tc.lines)); f != "" {
			t.Fatal(f)
		}
		if got := loginOf(&r); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.lines, got, tc.want)
		}
	}
}

// TestOrphans: those whose connection closed are kept, the last 1000 of them.
func TestOrphans(t *testing.T) {
	var tab table
	var owners [1500]*conn
	for i := range owners {
		owners[i] = &conn{id: strconv.Itoa(i)}
		tx := &transaction{key: uint64(i + 1)}
		if tab.put(tx, owners[i]) != tx {
			t.Fatal("another one")
		}
	}
	if tab.Len() != len(owners) {
		t.Errorf("%d transactions", tab.Len())
	}
	next := &conn{}
	for i, c := range owners {
		tab.orphan(tab.all[uint64(i+1)], c)
		if i == 10 && tab.take(1, next) == nil {
			t.Error("the first one is lost")
		}
	}
	if tab.Len() != maxOrphans+1 {
		t.Errorf("%d transactions, want %d", tab.Len(), maxOrphans+1)
	}
	if tab.take(2, next) != nil || tab.take(1500, next) == nil || tab.take(1, next) == nil {
		t.Error("others than the last ones were kept")
	}
	if tab.end(tab.all[1500], owners[1499]) || !tab.end(tab.all[1500], next) {
		t.Error("somebody else could end it")
	}
}
