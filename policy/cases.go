package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// Case is one recipient whose decision an administrator expects: what is given, and what is to come
// out. A file of cases is a list of tables,
//
//	[[cases]]
//	name = "greylisted mail waits"
//	sender = "news@example.com"          # "" or "<>": the null sender
//	recipient = "bob@example.net"
//	client = "192.0.2.7"
//	verdict = "unknown"                  # or probe = "never": the rules must not ask
//	reason = "greylisted"
//	[cases.expect]
//	action = "defer"
//	rule = "try again what may soon be known"
//	code = 450
//
// What is not expected is not compared.
type Case struct {
	Name      string `toml:"name"`
	Sender    string `toml:"sender"`
	Recipient string `toml:"recipient"` // needed

	Client     string `toml:"client"` // IP address
	ClientName string `toml:"client_name"`
	Helo       string `toml:"helo"`
	Login      string `toml:"login"`
	Door       string `toml:"door"`
	Size       int64  `toml:"size"`
	Trusted    bool   `toml:"trusted"`

	Suppressed bool         `toml:"suppressed"`
	Counters   CaseCounters `toml:"counters"`

	// What the verifier knows. Verdict "" is for Probe "never". Reason and the numbers have usual
	// values if they are left out.
	Verdict        string   `toml:"verdict"`
	Reason         string   `toml:"reason"`
	Confidence     *float64 `toml:"confidence"`
	Deliverability *float64 `toml:"deliverability"`
	Provider       string   `toml:"provider"`
	CatchAll       bool     `toml:"catch_all"`
	MX             string   `toml:"mx"`
	Stage          string   `toml:"stage"`
	Probe          string   `toml:"probe"` // "" or "never"

	Expect Expected `toml:"expect"`

	// Where the case stands, for reports.
	File string `toml:"-"`
	Line int    `toml:"-"`
}

// CaseCounters are the names sender.messages_minute and so on of a Case.
type CaseCounters struct {
	MessagesMinute   int     `toml:"messages_minute"`
	MessagesHour     int     `toml:"messages_hour"`
	MessagesDay      int     `toml:"messages_day"`
	RecipientsMinute int     `toml:"recipients_minute"`
	RecipientsHour   int     `toml:"recipients_hour"`
	RecipientsDay    int     `toml:"recipients_day"`
	Invalid          float64 `toml:"invalid"`
	State            string  `toml:"state"` // "" is "ok"
}

func (c *CaseCounters) counters() senders.Counters {
	return senders.Counters{
		MessagesMinute: c.MessagesMinute, MessagesHour: c.MessagesHour, MessagesDay: c.MessagesDay,
		RecipientsMinute: c.RecipientsMinute, RecipientsHour: c.RecipientsHour,
		RecipientsDay: c.RecipientsDay, Invalid: c.Invalid,
		State: cmp.Or(senders.State(c.State), senders.StateOK),
	}
}

// Expected is what is to come out of a Case.
type Expected struct {
	Action       string   `toml:"action"` // "accept", "defer" or "reject"; needed
	Rule         string   `toml:"rule"`
	Code         int      `toml:"code"`
	EnhancedCode string   `toml:"enhanced_code"`
	Text         string   `toml:"text"`    // a part of the reply's text
	Marks        []string `toml:"marks"`   // all of them, in any order; nil: not compared
	Headers      []string `toml:"headers"` // likewise
}

// CaseError is one fault of a file of cases, for the person who wrote it.
type CaseError struct {
	File         string
	Line, Column int    // from 1; 0: unknown
	Case         string // its name, or "case 3"; "" for the file as a whole
	Key          string
	Detail, Hint string
}

// Error is the fault on one line.
func (e *CaseError) Error() string {
	var b strings.Builder
	b.WriteString(e.File + ":")
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	for _, part := range []string{e.Case, e.Key} {
		if part != "" {
			b.WriteString(" " + part + ":")
		}
	}
	b.WriteString(" " + e.Detail)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// CaseErrors is every fault of a file of cases.
type CaseErrors []*CaseError

// Error is one fault a line.
func (e CaseErrors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single faults to errors.Is and errors.As.
func (e CaseErrors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

// maxCases bounds a file of cases.
const maxCases = 10_000

// ParseCases reads a file of cases. file is its name, for errors, which are CaseErrors.
func ParseCases(file string, data []byte) ([]Case, error) {
	var document struct {
		Cases []Case `toml:"cases"`
	}
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		return nil, caseSyntax(file, err)
	}
	p := &caseParser{file: file, places: casePlaces(data)}
	switch n := len(document.Cases); {
	case n == 0:
		p.fail("", "", "there are no cases", "write [[cases]] tables")
	case n > maxCases:
		p.fail("", "", fmt.Sprintf("%d cases, more than %d", n, maxCases), "use several files")
		return nil, p.faults
	}
	for i := range document.Cases {
		c := &document.Cases[i]
		c.File, c.Line = file, p.places[strconv.Itoa(i)].Line
		p.check(i, c)
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return document.Cases, nil
}

// caseSyntax takes the errors of the decoder apart.
func caseSyntax(file string, err error) CaseErrors {
	var faults CaseErrors
	add := func(e *toml.DecodeError, detail, hint string) {
		line, column := e.Position()
		faults = append(faults, &CaseError{
			File: file, Line: line, Column: column, Key: strings.Join(e.Key(), "."),
			Detail: detail, Hint: hint,
		})
	}
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		for i := range missing.Errors {
			e := &missing.Errors[i]
			key := e.Key()
			add(e, "there is no such key", oneOf(key[len(key)-1], caseKeys))
		}
		return faults
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		add(e, strings.TrimPrefix(e.Error(), "toml: "), "")
		return faults
	}
	return CaseErrors{{File: file, Detail: strings.TrimPrefix(err.Error(), "toml: ")}}
}

// caseKeys are the keys of a case and of what it expects. Read only.
var caseKeys = []string{
	"name", "sender", "recipient", "client", "client_name", "helo", "login", "door", "size",
	"trusted", "verdict", "reason", "confidence", "deliverability", "provider", "catch_all", "mx",
	"stage", "probe", "suppressed", "counters", "messages_minute", "messages_hour",
	"messages_day", "recipients_minute", "recipients_hour", "recipients_day", "invalid", "state",
	"expect", "action", "rule", "code", "enhanced_code", "text", "marks", "headers",
}

// casePlaces are where the keys of a document stand, such as "0.verdict" and "0.expect.action", and
// the tables, such as "0".
func casePlaces(data []byte) map[string]unstable.Position {
	places := make(map[string]unstable.Position)
	var parser unstable.Parser
	parser.Reset(data)
	table, cases := "", 0
	for parser.NextExpression() {
		node := parser.Expression()
		path := ""
		var first *unstable.Node
		var pathSb202 strings.Builder
		for keys := node.Key(); keys.Next(); {
			if first == nil {
				first = keys.Node()
			}
			pathSb202.WriteString("." + string(keys.Node().Data))
		}
		path += pathSb202.String()
		if first == nil {
			continue
		}
		at := parser.Shape(first.Raw).Start
		switch node.Kind {
		case unstable.ArrayTable:
			table = strconv.Itoa(cases)
			cases++
			places[table] = at
		case unstable.Table:
			table = strconv.Itoa(max(cases-1, 0)) + strings.TrimPrefix(path, ".cases")
		case unstable.KeyValue:
			places[table+path] = at
		default:
		}
	}
	return places
}

// caseParser checks what the decoder cannot.
type caseParser struct {
	file   string
	places map[string]unstable.Position
	index  int // of the case in hand
	faults CaseErrors
}

// fail notes a fault at a key of the case in hand, or else at its table.
func (p *caseParser) fail(name, key, detail, hint string) {
	at, ok := p.places[strconv.Itoa(p.index)+"."+key]
	if outer, _, nested := strings.Cut(key, "."); !ok && nested {
		at, ok = p.places[strconv.Itoa(p.index)+"."+outer]
	}
	if !ok {
		at = p.places[strconv.Itoa(p.index)]
	}
	p.faults = append(p.faults, &CaseError{
		File: p.file, Line: at.Line, Column: at.Column, Case: name, Key: key, Detail: detail, Hint: hint,
	})
}

func (p *caseParser) check(i int, c *Case) {
	p.index = i
	if c.Name == "" {
		c.Name = fmt.Sprintf("case %d", i+1)
	}
	fail := func(key, detail, hint string) { p.fail(strconv.Quote(c.Name), key, detail, hint) }
	if _, err := esmtp.ParseAddress(c.Recipient, true); err != nil {
		fail("recipient", fmt.Sprintf("%q is not an address", c.Recipient), "write user@example.com")
	}
	if _, err := c.from(); err != nil {
		fail("sender", fmt.Sprintf("%q is not an address", c.Sender), `write user@example.com, or "<>"`)
	}
	if _, err := netip.ParseAddr(c.Client); c.Client != "" && err != nil {
		fail("client", fmt.Sprintf("%q is not an IP address", c.Client), `write one such as "192.0.2.7"`)
	}
	if c.Size < 0 {
		fail("size", "is less than 0", "write the octets of the message")
	}
	p.knowledge(c, fail)
	actions := []string{Accept.String(), Defer.String(), Reject.String()}
	if !slices.Contains(actions, c.Expect.Action) {
		fail("expect.action", fmt.Sprintf("%q is no action to expect", c.Expect.Action),
			oneOf(c.Expect.Action, actions))
	}
	if c.Expect.EnhancedCode != "" {
		if _, ok := esmtp.ParseEnhancedCode(c.Expect.EnhancedCode); !ok {
			fail("expect.enhanced_code", fmt.Sprintf("%q is no enhanced code", c.Expect.EnhancedCode),
				`write one such as "5.1.1"`)
		}
	}
}

// knowledge checks what the verifier is to know.
func (p *caseParser) knowledge(c *Case, fail func(key, detail, hint string)) {
	for _, set := range []struct {
		key, value string
		valid      []string
	}{
		{"verdict", c.Verdict, verdictValues},
		{"reason", c.Reason, reasonValues()},
		{"stage", c.Stage, stageValues},
		{"door", c.Door, []string{DoorSMTP, DoorPolicyd}},
		{"probe", c.Probe, []string{"never"}},
		{"counters.state", c.Counters.State, stateValues},
	} {
		if set.value != "" && !slices.Contains(set.valid, set.value) {
			fail(set.key, fmt.Sprintf("%s is never %q", set.key, set.value), oneOf(set.value, set.valid))
		}
	}
	fraction := func(key string, number *float64) {
		if number != nil && !(*number >= 0 && *number <= 1) {
			fail(key, fmt.Sprintf("%v is not from 0 to 1", *number), "write 0.9 for 90 %")
		}
	}
	fraction("confidence", c.Confidence)
	fraction("deliverability", c.Deliverability)
	fraction("counters.invalid", &c.Counters.Invalid)
	const choice = `write verdict = "deliverable", ..., or probe = "never" for rules that must not ask`
	about := c.Reason != "" || c.Confidence != nil || c.Deliverability != nil || c.Provider != "" ||
		c.CatchAll || c.MX != "" || c.Stage != ""
	switch {
	case c.Verdict == "" && c.Probe == "":
		fail("verdict", "the case does not say what is known of the recipient", choice)
	case c.Probe != "" && (c.Verdict != "" || about):
		fail("probe", "what is known is of no use where nobody may ask", choice)
	}
}

// from is the sender; the zero address is the null sender.
func (c *Case) from() (esmtp.Address, error) {
	if c.Sender == "" || c.Sender == "<>" {
		return esmtp.Address{}, nil
	}
	return esmtp.ParseAddress(c.Sender, true)
}

// result is what the verifier says.
func (c *Case) result(recipient esmtp.Address) verify.Result {
	r := verify.Result{
		Address: recipient, Verdict: verify.Verdict(c.Verdict), Reason: verify.Reason(c.Reason),
		Provider: c.Provider, CatchAll: c.CatchAll, MX: c.MX, Stage: reply.Stage(c.Stage),
		Proof: c.Verdict == string(verify.Undeliverable),
	}
	for _, usual := range usualResults {
		if usual.Verdict != r.Verdict {
			continue
		}
		if r.Reason == "" {
			r.Reason = usual.Reason
		}
		r.Confidence, r.Deliverability = usual.Confidence, usual.Deliverability
	}
	if c.Confidence != nil {
		r.Confidence = *c.Confidence
	}
	if c.Deliverability != nil {
		r.Deliverability = *c.Deliverability
	}
	return r
}

// usualResults are what a case leaves out. Read only.
var usualResults = []verify.Result{
	{
		Verdict: verify.Deliverable, Reason: verify.MailboxExists,
		Confidence: 0.95, Deliverability: 0.95,
	},
	{
		Verdict: verify.Undeliverable, Reason: verify.MailboxUnknown,
		Confidence: 0.95, Deliverability: 0.02,
	},
	{Verdict: verify.Risky, Reason: verify.AcceptAll, Confidence: 0.6, Deliverability: 0.6},
	{Verdict: verify.Unknown, Reason: verify.Temporary, Deliverability: 0.5},
}
