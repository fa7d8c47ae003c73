package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

// TestEveryReasonHasWords reads the reasons from the source, so that a new one is not forgotten.
func TestEveryReasonHasWords(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../verify/result.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found int
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		for _, value := range spec.Values {
			literal, ok := value.(*ast.BasicLit)
			if !ok {
				continue
			}
			name, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if _, ok := reasonWords()[verify.Reason(name)]; !ok {
				t.Errorf("reason %s has no words", name)
			}
		}
		return true
	})
	if found == 0 || found != len(reasonWords()) {
		t.Errorf("%d reasons in the source, %d have words", found, len(reasonWords()))
	}
}

// TestVerdictIsOneLine: what comes from the network or from a list cannot break out of its line.
func TestVerdictIsOneLine(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		w := newVerdictWriter(&out, asJSON, nil)
		w.verdict("a\x1b[2J\nb@example.com", verify.Result{
			Verdict: verify.Unknown, Reason: verify.Greylisted, MX: "mx.example.com",
			Reply:      esmtp.Reply{Code: 450, Lines: []string{"4.7.1 \x1b]0;x\x07", "4.7.1 two"}},
			RetryAfter: 299500 * time.Millisecond,
		})
		text := strings.TrimSuffix(out.String(), "\n")
		if strings.ContainsAny(text, "\n\r\x1b\x07") {
			t.Errorf("JSON %v: %q", asJSON, text)
		}
		if asJSON && !strings.Contains(text, `"retry_after":300,`) {
			t.Errorf("retry_after: %s", text)
		}
	}
}

func TestRoundTime(t *testing.T) {
	for span, want := range map[time.Duration]string{
		0: "0 ms", 1500 * time.Microsecond: "1 ms", 1234 * time.Millisecond: "1.2 s",
		90 * time.Second: "90.0 s", 5 * time.Minute: "5 min", 3 * time.Hour: "180 min",
	} {
		if got := roundTime(span); got != want {
			t.Errorf("%v is %q, want %q", span, got, want)
		}
	}
}

// TestProgress: nothing for a few addresses, a line that is wiped before output for many.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out, on: true}
	for range progressFrom {
		p.expect()
	}
	p.step()
	if out.Len() != 0 {
		t.Errorf("a line for %d addresses: %q", progressFrom, out.String())
	}
	p.expect()
	p.step()
	p.clear()
	p.clear()
	if got := out.String(); got != "\r\x1b[Kasked about 2 of 21 addresses\r\x1b[K" {
		t.Errorf("drew %q", got)
	}
}
