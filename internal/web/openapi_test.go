package web_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rcptgate/rcptgate/internal/web"
)

// contract is openapi.json, to hold requests and answers to it.
type contract struct {
	compiler *jsonschema.Compiler
	paths    map[string]map[string]operation
}

type operation struct {
	Security    []map[string][]string `json:"security"`
	RequestBody *struct {
		Content map[string]struct {
			Examples map[string]struct{ Value any } `json:"examples"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]json.RawMessage `json:"content"`
	} `json:"responses"`
}

func newContract(tb testing.TB) *contract {
	tb.Helper()
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		tb.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	c := &contract{compiler: jsonschema.NewCompiler()}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("mem://openapi.json", document); err != nil {
		tb.Fatal(err)
	}
	var read struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		tb.Fatal(err)
	}
	c.paths = read.Paths
	return c
}

// pointer is a JSON Pointer (RFC 6901) as a fragment.
func pointer(parts ...string) string {
	for i, part := range parts {
		part = strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
		parts[i] = strings.NewReplacer("{", "%7B", "}", "%7D", "+", "%2B").Replace(part)
	}
	return "mem://openapi.json#/" + strings.Join(parts, "/")
}

// valid tells what is wrong with a text by the schema at a place of the description.
func (c *contract) valid(text string, at ...string) error {
	schema, err := c.compiler.Compile(pointer(at...))
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// of finds the operation of a request; the path is "" if there is none.
func (c *contract) of(method, path string) (template string, op operation) {
	for template, methods := range c.paths {
		op, ok := methods[strings.ToLower(method)]
		want, have := strings.Split(template, "/"), strings.Split(path, "/")
		same := func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") && b != "" }
		if ok && slices.EqualFunc(want, have, same) && (template == path || c.paths[path] == nil) {
			return template, op
		}
	}
	return "", operation{}
}

// check holds a request and its answer to the description.
func (c *contract) check(tb testing.TB, method, path, request string, answer answered) {
	tb.Helper()
	kind, _, err := mime.ParseMediaType(answer.header.Get("Content-Type"))
	if err != nil {
		tb.Errorf("%s %s: %v", method, path, err)
		return
	}
	if kind == "application/problem+json" {
		if err := c.valid(answer.text, "components", "schemas", "Problem"); err != nil {
			tb.Errorf("%s %s: %s: %v", method, path, answer.text, err)
		}
		return
	}
	template, op := c.of(method, path)
	status := strconv.Itoa(answer.status)
	if _, ok := op.Responses[status].Content[kind]; template == "" || !ok {
		tb.Errorf("%s %s: the description has no answer %s of %s", method, path, status, kind)
		return
	}
	place := []string{"paths", template, strings.ToLower(method), "responses", status, "content", kind, "schema"}
	if kind == "application/json" {
		if err := c.valid(answer.text, place...); err != nil {
			tb.Errorf("%s %s is answered %s: %v", method, path, answer.text, err)
		}
	}
	if op.RequestBody == nil || request == "" || op.RequestBody.Content["application/json"].Examples == nil {
		return
	}
	place = []string{"paths", template, strings.ToLower(method), "requestBody", "content", "application/json", "schema"}
	if err := c.valid(request, place...); err != nil {
		tb.Errorf("%s %s is taken, but the description refuses it: %s: %v", method, path, request, err)
	}
}

// TestDescription: the description has every endpoint with its scope, no other, and examples that are
// valid and taken.
func TestDescription(t *testing.T) {
	o := newOffice(t)
	answer := o.send("GET", "/v1/openapi.json", "", nil)
	file, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if answer.status != http.StatusOK || answer.text != string(file) {
		t.Errorf("over the control socket: %d", answer.status)
	}
	o.over = "none"
	if answer := o.send("GET", "/v1/openapi.json", "", nil); answer.text != string(file) {
		t.Errorf("without a token: %d", answer.status)
	}
	o.over = ""
	c := newContract(t)
	var described []string
	for path, methods := range c.paths {
		for method, op := range methods {
			if len(op.Security) == 0 && path == "/v1/openapi.json" {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path+" "+op.Security[0]["bearer"][0])
			c.examples(t, path, method, &op)
		}
	}
	want := web.EndpointsForTest()
	slices.Sort(want)
	slices.Sort(described)
	if diff := cmp.Diff(want, described); diff != "" {
		t.Error(diff)
	}
	for path, methods := range c.paths {
		for method, op := range methods {
			if op.RequestBody == nil || strings.HasSuffix(path, "/stream") {
				continue
			}
			for _, example := range op.RequestBody.Content["application/json"].Examples {
				text, err := json.Marshal(example.Value)
				if err != nil {
					t.Fatal(err)
				}
				if answer := o.send(strings.ToUpper(method), path, "application/json", bytes.NewReader(text)); answer.status >= 300 {
					t.Errorf("%s %s: the example is answered %d %s", method, path, answer.status, answer.text)
				}
			}
		}
	}
}

func (c *contract) examples(t *testing.T, path, method string, op *operation) {
	t.Helper()
	if op.RequestBody == nil {
		return
	}
	for kind, content := range op.RequestBody.Content {
		if kind == "application/json" && len(content.Examples) == 0 {
			t.Errorf("%s %s has no example", method, path)
		}
		for name, example := range content.Examples {
			text, err := json.Marshal(example.Value)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.valid(string(text), "paths", path, method, "requestBody", "content", kind, "schema"); err != nil {
				t.Errorf("%s %s, example %s: %v", method, path, name, err)
			}
		}
	}
}

// TestDescriptionRefuses: the description is no formality. What answers never have is refused.
func TestDescriptionRefuses(t *testing.T) {
	c := newContract(t)
	for schema, text := range map[string]string{
		"Verdict":       `{"address": "a@example.com"}`,
		"Removed":       `{"removed": 1, "more": true}`,
		"HistoryAnswer": `{"step": 60, "from": "yesterday", "points": []}`,
		"Named":         `{"kind": "planet", "name": "x"}`,
	} {
		if err := c.valid(text, "components", "schemas", schema); err == nil {
			t.Errorf("%s takes %s", schema, text)
		}
	}
}

// reading returns all of a body, and a reader of it.
func reading(tb testing.TB, body io.Reader) (string, io.Reader) {
	tb.Helper()
	data, err := io.ReadAll(body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data), bytes.NewReader(data)
}
