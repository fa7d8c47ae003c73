package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// policyState is what the policy keeps, as far as it is about one recipient.
type policyState struct {
	register *register.Register // nil: nothing is known
	senders  *senders.Table     // nil: the gate was asked, or nothing is known
	from     string             // where it is known from, for people
	sender   *web.Sender        // as the gate counts it; nil: it was not asked, or does not know it
	asked    bool               // the gate was asked
	missing  string             // what is not known, for people
	close    func()
}

// errNoGate says that nobody listens on the control socket.
var errNoGate = errors.New("no gate runs")

// explainState looks at what the policy keeps: at the gate that runs, which alone has it, else in its
// directory. Nothing is changed.
func explainState(
	ctx context.Context, cfg *config.Config, tx *policy.Transaction, rcpt esmtp.Address, log *slog.Logger,
) *policyState {
	c := &controller{ctx: ctx}
	none := func(*config.Config, *slog.Logger) (*alone, error) { return nil, errNoGate }
	err := c.open(cfg, none, log) //nolint:contextcheck // it has that of the command
	if errors.Is(err, errNoGate) {
		return savedState(cfg, log) //nolint:contextcheck // its files are on this machine
	}
	s := &policyState{close: func() {}}
	if err == nil {
		err = s.ask(c, tx, rcpt)
		for _, end := range c.ends {
			_ = end()
		}
	}
	if err != nil {
		s.close()
		return unknownState(err)
	}
	s.from = "the gate that runs (" + string(cfg.ControlSocket()) + ")"
	return s
}

func unknownState(err error) *policyState {
	return &policyState{
		close: func() {}, from: "not known",
		missing: "overrides, the suppression list and limits were not looked at: " + err.Error() +
			"; see `rcptgate override list`, `suppress search` and `senders list`",
	}
}

// savedState is what the last gate has left.
func savedState(cfg *config.Config, log *slog.Logger) *policyState {
	if _, err := os.Stat(cfg.Policy.StateDirectory); err != nil {
		return &policyState{close: func() {}, from: "nothing is kept yet"}
	}
	state, err := openState(cfg, log)
	if err != nil {
		return unknownState(err)
	}
	return &policyState{
		register: state.parts.Register, senders: state.parts.Senders,
		from: cfg.Policy.StateDirectory + " (no gate runs)", close: func() { _ = state.close() },
	}
}

// ask asks the gate for what it knows of a recipient and a sender.
func (s *policyState) ask(c *controller, tx *policy.Transaction, rcpt esmtp.Address) error {
	list, err := register.Open(nil, register.Config{})
	if err != nil {
		return err
	}
	s.register, s.close, s.asked = list, func() { _ = list.Close() }, true
	var allowed web.Overrides
	if err := c.ask("GET", "/v1/overrides", nil, &allowed); err != nil {
		return err
	}
	for _, o := range allowed.Overrides {
		if err := list.Allow(register.Override{
			Kind: o.Kind, Name: o.Name, Note: o.Note, Created: o.Created, Expires: o.Expires,
		}); err != nil {
			return err
		}
	}
	for _, filter := range suppressionsOf(rcpt) {
		if err := s.askSuppressions(c, filter); err != nil {
			return err
		}
	}
	return s.askSender(c, tx)
}

// suppressionsOf choose all that a recipient may fall under: those of the mailbox, and those of its
// domain and of the domains above.
func suppressionsOf(rcpt esmtp.Address) (filters []web.SuppressionFilter) {
	domain := rcpt.ASCIIDomain()
	if domain == "" {
		return nil
	}
	path := string(rcpt.AppendPath(nil)) // in angle brackets
	local := path[1 : len(path)-1-len(rcpt.Domain())]
	filters = append(filters, web.SuppressionFilter{Contains: local + domain, Domain: domain})
	for name := domain; name != ""; _, name, _ = strings.Cut(name, ".") {
		filters = append(filters, web.SuppressionFilter{Contains: "*@", Domain: name})
		if rcpt.IsLiteral() {
			break
		}
	}
	return filters
}

func (s *policyState) askSuppressions(c *controller, filter web.SuppressionFilter) error {
	for offset := 0; ; {
		asked := web.SearchSuppressions{SuppressionFilter: filter, Offset: offset, Limit: 1000}
		var found web.Suppressions
		if err := c.ask("POST", "/v1/suppressions/search", asked, &found); err != nil {
			return err
		}
		for _, one := range found.Suppressions {
			if err := s.register.Suppress(suppressionOf(&one)); err != nil {
				return err
			}
		}
		offset += len(found.Suppressions)
		if len(found.Suppressions) == 0 || offset >= found.Total {
			return nil
		}
	}
}

func suppressionOf(s *web.Suppression) register.Suppression {
	one := register.Suppression{
		Address: s.Address, Scope: s.Scope, Reason: s.Reason, Evidence: s.Evidence, Source: s.Source,
		Bounces: s.Bounces, Created: s.Created, Expires: s.Expires,
	}
	code, enhanced, _ := strings.Cut(s.Reply, " ")
	if n, err := strconv.Atoi(code); err == nil {
		one.Code = n
		one.Enhanced, _ = esmtp.ParseEnhancedCode(enhanced)
	}
	return one
}

// askSender finds the sender among the 1000 worst, which is all that the gate tells.
func (s *policyState) askSender(c *controller, tx *policy.Transaction) error {
	const most = 1000
	var found web.Senders
	if err := c.ask("POST", "/v1/senders/search", web.SearchSenders{Limit: most}, &found); err != nil {
		return err
	}
	client := tx.Client.Addr.Unmap().WithZone("").String()
	for i := range found.Senders {
		one := &found.Senders[i]
		if login := tx.Client.Login; login != "" && one.Login == login || login == "" && one.Login == "" &&
			one.Client == client && one.SenderDomain == tx.Mail.From.ASCIIDomain() {
			s.sender = one
			return nil
		}
	}
	if found.Total > len(found.Senders) {
		s.missing = "the gate knows more senders than it tells of, and this one is not among the " +
			strconv.Itoa(most) + " worst"
	}
	return nil
}

// print tells what the gate counts of the sender, which no step shows.
func (s *policyState) print(w io.Writer, cfg *config.Config) {
	if !s.asked {
		return
	}
	writef(w, "\nSender, as the gate that runs counts it\n")
	switch one := s.sender; {
	case one == nil && s.missing == "":
		writef(w, "  it has not sent lately\n")
	case one == nil:
		writef(w, "  %s\n", s.missing)
	default:
		writef(w, "  %s: state %s%s%s\n", escaped(one.Key), one.State, optional(", ", one.Why),
			optional(", until ", untilOf(one)))
		writef(w, "  messages in the last minute, hour and day: %d, %d, %d; recipients: %d, %d, %d\n",
			one.Messages.Minute, one.Messages.Hour, one.Messages.Day,
			one.Recipients.Minute, one.Recipients.Hour, one.Recipients.Day)
		if cfg.Policy.Hygiene.Mode == policy.ModeEnforce {
			switch one.State {
			case senders.StateHold:
				writef(w, "  list hygiene defers its recipients, but for those that are known to be good\n")
			case senders.StateThrottle:
				writef(w, "  list hygiene lets one of its recipients a second pass\n")
			default:
			}
		}
	}
	if len(cfg.Policy.Limits) > 0 {
		writef(w, "  policy.limits: the gate does not tell what is left of them; %s\n",
			"rules above see none of these counts")
	}
}

func untilOf(s *web.Sender) string {
	if s.Until.IsZero() {
		return ""
	}
	return timeText(s.Until)
}
