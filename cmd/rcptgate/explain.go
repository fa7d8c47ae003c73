package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

type explainOptions struct {
	config     string
	from       string
	clientAddr string
	helo       string
	login      string
	size       uint64
}

func newExplainCmd() *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use:   "explain [--config FILE] --from SENDER ADDRESS",
		Short: "Show every step of the decision about one recipient",
		Long: `Explain takes one recipient through the gate as if SENDER had mail for it, and prints
every step: what the verifier looked up and asked, each rule, the decision and the reply
that the client would get. No mail is sent. --from '<>' is the sender of bounces.

While a gate runs with this configuration, it is asked over its control socket for overrides,
for suppressions of the recipient and for what it counts of the sender; otherwise what the last
one has left is read. "State of" says which. Nothing of it is changed.`,
		Example: `  rcptgate explain --config rcptgate.toml --from news@example.com someone@example.net`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return usageError(fmt.Sprintf("explain takes one address, but got %d", len(args)),
				fmt.Sprintf("run `%s --help`; for many addresses there is `rcptgate verify`",
					cmd.CommandPath()))
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runExplain(cmd, o, args[0]) },
	}
	configFlag(cmd, &o.config, "the gate's configuration; without it the defaults hold")
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "the sender; '<>' for a bounce")
	flags.StringVar(&o.clientAddr, "client-address", "127.0.0.1", "the client's IP address, for rules")
	flags.StringVar(&o.helo, "helo", "", "the name the client greets with, for rules")
	flags.StringVar(&o.login, "login", "", "the client's SASL login, for rules")
	flags.Uint64Var(&o.size, "size", 0, "the size of the message in octets, for rules")
	return cmd
}

func runExplain(cmd *cobra.Command, o explainOptions, address string) error {
	tx, rcpt, err := o.question(address)
	if err != nil {
		return err
	}
	cfg, err := optionalConfig(o.config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := newLogger(cmd.ErrOrStderr(), quietLog(cfg))
	stack, err := buildVerification(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer stack.close()
	settings := cfg.PolicyConfig()
	state := explainState(ctx, cfg, tx, rcpt.To, log)
	defer state.close()
	settings.Register, settings.Senders = state.register, state.senders
	engine, err := policy.New(settings, stack.verifier, log)
	if err != nil {
		return usageError(fmt.Sprintf("%s: %v", cfg.Name(), err), "run `rcptgate check-config`")
	}
	tx.Budget = verify.NewBudget(time.Duration(cfg.Verify.TransactionBudget), 0)
	decision := engine.Explain(ctx, tx, rcpt)
	if ctx.Err() != nil {
		return failed("interrupted", "")
	}
	printExplained(cmd.OutOrStdout(), cfg, state, tx, decision)
	if state.missing != "" {
		writef(cmd.ErrOrStderr(), "rcptgate: note: %s\n", state.missing)
	}
	return nil
}

// question builds the transaction that the options describe.
func (o explainOptions) question(address string) (*policy.Transaction, esmtp.Rcpt, error) {
	var rcpt esmtp.Rcpt
	if o.from == "" {
		return nil, rcpt, usageError("no sender given",
			"add --from SENDER, as the decision may depend on it; --from '<>' for a bounce")
	}
	if err := checkAddresses([]string{address}); err != nil {
		return nil, rcpt, err
	}
	to, err := esmtp.ParseAddress(address, true)
	if err != nil {
		return nil, rcpt, usageError(fmt.Sprintf("%q is not an address: %v", address, err),
			"write it as user@example.com")
	}
	mail := esmtp.Mail{Size: o.size, HasSize: o.size > 0, UTF8: to.NeedsUTF8()}
	if o.from != "<>" {
		if mail.From, err = parseSender(o.from); err != nil {
			return nil, rcpt, err
		}
	}
	mail.UTF8 = mail.UTF8 || mail.From.NeedsUTF8()
	client, err := netip.ParseAddr(o.clientAddr)
	if err != nil {
		return nil, rcpt, usageError(
			fmt.Sprintf("--client-address %q is not an IP address", o.clientAddr), `write one such as "192.0.2.1"`)
	}
	return &policy.Transaction{
		Session: "explain", ID: "explain", Mail: mail,
		Client: policy.Client{Addr: client, Helo: o.helo, Login: o.login, Proto: "ESMTP"},
	}, esmtp.Rcpt{To: to}, nil
}

// printExplanation is what the gate that runs, which has all of its state, decides.
func printExplanation(w io.Writer, cfg *config.Config, tx *policy.Transaction, d policy.Decision) {
	printExplained(w, cfg, &policyState{from: "this gate, which runs"}, tx, d)
}

func printExplained(
	w io.Writer, cfg *config.Config, state *policyState, tx *policy.Transaction, d policy.Decision,
) {
	writef(w, "Recipient  %s\n", showAddress(d.Recipient))
	writef(w, "Sender     %s\n", showAddress(tx.Mail.From))
	writef(w, "Client     %s%s\n", tx.Client.Addr, optional(", greets with ", tx.Client.Helo))
	writef(w, "Rules of   %s, mode %s\n", cfg.Name(), cfg.Policy.Mode)
	writef(w, "State of   %s\n", escaped(state.from))
	writef(w, "\nRules, in order\n")
	for _, step := range d.Steps {
		printRule(w, step)
	}
	state.print(w, cfg)
	printResult(w, d.Result)
	printDecision(w, d)
}

// printRule is one rule with its outcome.
func printRule(w io.Writer, step policy.Step) {
	writef(w, "  %-11s  %s: if %s then %s\n", step.Outcome,
		escaped(step.Rule), escaped(step.When), step.Action)
	if step.FirstAsked {
		writef(w, "%15sneeds the verdict: asked the verifier, %s\n", "", roundTime(step.Elapsed))
	}
	if step.Detail != "" {
		writef(w, "%15s%s\n", "", escaped(step.Detail))
	}
}

// printResult is the walk of the verifier and what came out of it.
func printResult(w io.Writer, r *verify.Result) {
	if r == nil {
		writef(w, "\nVerifier\n  not asked: no rule that was reached needs a verdict\n")
		return
	}
	writef(w, "\nVerifier\n")
	for _, step := range r.Steps {
		writef(w, "  %6.3f s  %-9s %s\n", step.At.Seconds(), step.What, step.Detail)
	}
	writef(w, "  %6.3f s  %-9s %s: %s\n", r.Elapsed.Seconds(), "verdict", r.Verdict,
		reasonText(r.Reason))
	writef(w, "%12s%-9s reason %s, confidence %.2f, deliverability %.2f%s%s%s\n", "", "",
		r.Reason, r.Confidence, r.Deliverability,
		optional(", provider ", r.Provider), optional(", mail server ", r.MX),
		optional(", stage ", string(r.Stage)))
	if reply := replyText(r.Reply); reply != "" {
		writef(w, "%12s%-9s its reply: %s\n", "", "", reply)
	}
	if !r.Delivered.IsZero() {
		writef(w, "%12s%-9s mail for it last arrived on %s\n", "", "", dateOf(r.Delivered))
	}
	if next := r.NextStep(); next != "" {
		writef(w, "%12s%-9s next: %s\n", "", "", escaped(next))
	}
}

func printDecision(w io.Writer, d policy.Decision) {
	writef(w, "\nDecision\n")
	writef(w, "  %s, by rule %q, after %s\n", d.Action, d.Rule, roundTime(d.Elapsed))
	reply := d.Reply
	if d.Shadow != policy.Continue {
		writef(w, "  in enforce mode it would be: %s\n", d.Shadow)
		reply = d.ShadowReply
	}
	if !reply.IsZero() {
		writef(w, "  reply: %s\n", reply.String())
	} else if d.Action == policy.Accept {
		writef(w, "  reply: the relay's own answer to RCPT\n")
	}
}

func showAddress(a esmtp.Address) string {
	if a.IsNull() {
		return "<>"
	}
	return escaped(a.String())
}

func escaped(s string) string { return string(esmtp.AppendEscaped(nil, s, true)) }

func optional(label, value string) string {
	if strings.TrimSpace(value) == "" {
		return ""
	}
	return label + escaped(value)
}
