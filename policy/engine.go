package policy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
	"github.com/rcptgate/rcptgate/verify"
)

// The modes of an engine. Config.Mode "" is ModeEnforce.
const (
	ModeEnforce = "enforce" // refuse what the rules refuse
	ModeShadow  = "shadow"  // decide and record, but accept
)

// The doors of Transaction.Door.
const (
	DoorSMTP    = "smtp"    // the proxy
	DoorPolicyd = "policyd" // the Postfix policy service
)

// Client is who handed us the message: the peer, or whom a trusted XFORWARD named.
type Client struct {
	Addr    netip.Addr
	Port    uint16
	Name    string // its verified host name; "" unknown
	Helo    string
	Proto   string // "SMTP" or "ESMTP"
	Login   string // the SASL user; "" unknown. XFORWARD does not carry it
	Trusted bool   // the session came through a mail server that gave XFORWARD
}

// Verifier answers what is known about a mailbox. It has no error: not knowing is a verdict.
// *verify.Verifier is the real one.
type Verifier interface {
	Verify(ctx context.Context, q verify.Question) verify.Result
}

// recaller is a Verifier that can tell what it knows already, without a wait, into result.
type recaller interface {
	Recall(q *verify.Question, now time.Time, result *verify.Result) (ok bool)
}

// scheduler is a Verifier that asks about a recipient again once its server lets it, because the
// mail was deferred for that: see verify.Verifier.Schedule.
type scheduler interface {
	Schedule(q verify.Question, r verify.Result) bool
}

// Config is the policy section of the configuration.
type Config struct {
	Mode  string // ModeEnforce (also "") or ModeShadow
	Rules []Rule // in order; those of the preset follow them

	Preset string // a name of Presets; "" is PresetCautious

	// Lists are the files behind lists.NAME in conditions, by NAME. A file has one entry a line and is
	// read again when it changes. See the package comment.
	Lists map[string]string

	// Register is the suppression list and the overrides, Senders the counters and limits of senders;
	// nil: none. Suppression is SuppressionReject (also "") or SuppressionRules.
	Register    *register.Register
	Senders     *senders.Table
	Suppression string

	// RedactLog shortens addresses in the engine's own log lines. AppendLog has its own switch.
	RedactLog bool
}

// Engine decides recipients by rules. It is safe for concurrent use and never changes after New.
type Engine struct {
	rules    []*compiledRule
	lists    map[string]*list
	register *register.Register // nil: none
	senders  *senders.Table     // nil: none
	gated    bool               // there is a gate before the rules

	suppression bool // what is suppressed is refused before the rules

	domains  bool // a rule needs to know whether a domain accepts every address
	shadow   bool
	redact   bool
	verifier Verifier
	log      *slog.Logger
	machines sync.Pool // of *vm.VM: keeps the stacks
	batches  sync.Pool // of *Batch
}

// New compiles the rules. The error is a RuleErrors with every fault of every rule; the engine is
// then nil. A nil logger discards; a nil verifier, good for checking rules, knows nothing: every
// verdict is unknown.
func New(cfg Config, verifier Verifier, log *slog.Logger) (*Engine, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	lists, faults := openLists(cfg.Lists, log)
	rules, wrong := compileRules(cfg.Rules, cfg.Preset, lists)
	faults = append(faults, wrong...)
	if cfg.Mode != "" && cfg.Mode != ModeEnforce && cfg.Mode != ModeShadow {
		faults = append(faults, &RuleError{
			Index: -1, Field: "mode",
			Detail: fmt.Sprintf("unknown mode %q", cfg.Mode),
			Hint:   oneOf(cfg.Mode, []string{ModeEnforce, ModeShadow}),
		})
	}
	if fault := checkSuppression(cfg.Suppression); fault != nil {
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return &Engine{
		register:    cfg.Register,
		senders:     cfg.Senders,
		gated:       cfg.Register != nil || cfg.Senders != nil,
		suppression: cfg.Suppression != SuppressionRules,

		rules:    rules,
		lists:    lists,
		domains:  slices.ContainsFunc(rules, func(r *compiledRule) bool { return r.domains }),
		shadow:   cfg.Mode == ModeShadow,
		redact:   cfg.RedactLog,
		verifier: verifier,
		log:      log,
		machines: sync.Pool{New: func() any { return &vm.VM{MemoryBudget: memoryBudget} }},
	}, nil
}

// Rcpt decides one recipient. It waits as long as the verifier does (bounded by ctx and the budgets
// of verify), and not at all if no rule needs a verdict. Safe for concurrent use, also with the
// same transaction.
func (e *Engine) Rcpt(ctx context.Context, tx *Transaction, rcpt esmtp.Rcpt) Decision {
	return e.decide(ctx, tx, rcpt, false)
}

// Explain decides like Rcpt and records every step: each rule with its outcome and, in
// Result.Steps, what the verifier did.
func (e *Engine) Explain(ctx context.Context, tx *Transaction, rcpt esmtp.Rcpt) Decision {
	return e.decide(ctx, tx, rcpt, true)
}

// Lists tells what the lists of the rules are at the moment, by name.
func (e *Engine) Lists() []ListStatus {
	status := make([]ListStatus, 0, len(e.lists))
	for _, name := range sortedKeys(e.lists) {
		status = append(status, e.lists[name].status())
	}
	return status
}

// Faults counts, by rule name, the evaluations that broke at run time since the start. Rules
// without one are not listed.
func (e *Engine) Faults() map[string]uint64 {
	faults := make(map[string]uint64)
	for _, rule := range e.rules {
		if n := rule.faults.Load(); n > 0 {
			faults[rule.Name] = n
		}
	}
	return faults
}

func (e *Engine) decide(
	ctx context.Context, tx *Transaction, rcpt esmtp.Rcpt, trace bool,
) Decision {
	w := &walk{
		engine: e, ctx: ctx, verifier: e.verifier, tx: tx, rcpt: &rcpt, trace: trace, start: time.Now(),
	}
	var d Decision
	e.run(w, &d)
	return d
}

// run goes through the gates and the rules. d is overwritten.
func (e *Engine) run(w *walk, d *Decision) {
	var (
		stopped verdictOfGate
		decided *compiledRule
		steps   []Step
	)
	if e.gated {
		stopped = e.gates(w)
		if w.trace {
			steps = e.gateSteps(stopped)
		}
	}
	switch stopped.gate {
	case "":
		if decided = e.rulesOf(w, &steps); w.stuck {
			w.unfinished()
			*d = Decision{}
			return
		}
		w.conclude(decided, d)
	default:
		w.concludeGate(stopped, d)
		if w.trace {
			steps = append(steps, e.notReached()...)
		}
	}
	e.learn(w)
	d.Steps = steps
	if w.trace {
		noteReply(d)
	} else if d.Action == Defer {
		w.schedule()
	}
	if w.batch == nil {
		d.Elapsed = time.Since(w.start)
	}
}

// rulesOf goes through the rules and returns the one that decides.
func (e *Engine) rulesOf(w *walk, steps *[]Step) (decided *compiledRule) {
	for i, rule := range e.rules {
		var began time.Duration
		if w.trace {
			began = time.Since(w.start)
		}
		before := w.result != nil
		outcome, detail := e.evaluate(rule, w)
		if w.stuck {
			return nil
		}
		left := w.leave(rule, outcome)
		if w.trace {
			step := rule.step(outcome)
			step.Asked, step.FirstAsked = w.asked, w.result != nil && !before
			step.Detail = detail + left
			step.At, step.Elapsed = began, time.Since(w.start)-began
			*steps = append(*steps, step)
		}
		if outcome == Match && rule.action != Continue {
			if rule.action != Accept && w.allowsProvider() { // as if the verdict were not there
				if w.trace {
					last := &(*steps)[len(*steps)-1]
					last.Detail = "refuses because of a verdict, but " + overrideDetail(w.override) + left
				}
				continue
			}
			if w.trace {
				*steps = append(*steps, e.notReached()[i+1:]...)
			}
			return rule
		}
	}
	return nil
}

// notReached are all rules as steps that an earlier one has spared.
func (e *Engine) notReached() []Step {
	steps := make([]Step, len(e.rules))
	for i, rule := range e.rules {
		steps[i] = rule.step(NotReached)
	}
	return steps
}

// evaluate runs one condition. A condition that breaks has not matched: a mistake in a rule must
// never refuse mail. The first break of each rule is logged, all are counted.
func (e *Engine) evaluate(rule *compiledRule, w *walk) (Outcome, string) {
	w.asked = false
	matched, err := e.condition(rule, w)
	switch {
	case err == nil && matched:
		return Match, ""
	case err == nil:
		return NoMatch, ""
	}
	detail := runtimeDetail(err)
	if rule.faults.Add(1) == 1 {
		e.log.Warn("rule failed and counts as not matching",
			"rule", rule.Name, "error", detail, "recipient", logAddress(w.rcpt.To, e.redact),
			"hint", "correct its condition; further failures of this rule are only counted")
	}
	return Failed, detail
}

// condition runs a rule's condition, or its equal in Go.
func (e *Engine) condition(rule *compiledRule, w *walk) (matched bool, err error) {
	if rule.native != nil {
		defer func() {
			if p := recover(); p != nil { // as in the machine: no mail is lost by a fault of the verifier
				err = fmt.Errorf("%v", p)
			}
		}()
		return rule.native(w), nil
	}
	machine, ok := e.machines.Get().(*vm.VM)
	if !ok {
		machine = &vm.VM{MemoryBudget: memoryBudget}
	}
	w.facts.walk = w
	value, err := machine.Run(rule.condition, &w.facts)
	e.machines.Put(machine)
	if err != nil {
		return false, err
	}
	if matched, ok = value.(bool); !ok {
		return false, fmt.Errorf("the condition gave a %T, not true or false", value)
	}
	return matched, nil
}

// compiledRule is a rule that passed every check.
type compiledRule struct {
	Rule

	builtin   bool
	domains   bool // its condition depends on what is known of the domain, not of the recipient alone
	condition *vm.Program
	native    func(*walk) bool // the same condition in Go; nil: only the machine can run it
	action    Action
	enhanced  esmtp.EnhancedCode // zero: not written out
	text      template           // nil: not written out
	header    *header            // nil: none
	faults    atomic.Uint64
}

func (r *compiledRule) step(outcome Outcome) Step {
	return Step{
		Rule: r.Name, When: r.When, Action: r.action, Builtin: r.builtin, Outcome: outcome,
	}
}
