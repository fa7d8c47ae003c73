package proxy_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDialogs plays the dialogues of testdata/*.smtp against the gate. A line is
//
//	C: text    the client sends it with CR LF
//	C= "text"  the client sends a quoted string as it is
//	S: text    the next line from the gate begins so
//	S: EOF     the gate has closed the connection
//	R: text    the relay has exactly one message more, whose MAIL and RCPT lines,
//	           joined by "|", are the text
//	# …        a comment
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.smtp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".smtp")
		t.Run(name, func(t *testing.T) { run(t, func(g *gate) { play(g, string(data)) }) })
	}
}

func play(g *gate, dialog string) {
	p := g.connect()
	defer p.close()
	messages := 0
	for i, line := range strings.Split(dialog, "\n") {
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "", "#":
		case "C:":
			p.send(text + "\r\n")
		case "C=":
			raw, err := strconv.Unquote(text)
			if err != nil {
				g.t.Fatalf("line %d: %v", i+1, err)
			}
			p.send(raw)
		case "S:":
			if got := p.line(); !strings.HasPrefix(got, text) {
				g.t.Fatalf("line %d: got %q, want %q", i+1, got, text)
			}
		case "R:":
			messages++
			m := g.messages(messages)[messages-1]
			got := strings.Join(append([]string{m.MailLine}, m.RcptLines...), "|")
			if got != text {
				g.t.Fatalf("line %d: the relay got %q, want %q", i+1, got, text)
			}
		default:
			g.t.Fatalf("line %d: %q", i+1, line)
		}
	}
}
