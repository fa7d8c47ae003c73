package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/verify/mx"
)

// fewErrors is a limit of errors that a list with some dead addresses reaches.
const fewErrors = 100

// checkFront looks at a service whose smtpd_proxy_filter is the gate.
func (g *postfixGate) checkFront(ctx context.Context, s *postfixService) {
	filter := g.get(s, "smtpd_proxy_filter")
	at := g.places.target(ctx, filter)
	if g.at(at, g.tls) && !g.at(at, g.listen) {
		plain := config.Endpoint("127.0.0.1:10025") // to be added to proxy.listen, if it is empty
		if len(g.cfg.Proxy.Listen) > 0 {
			plain = g.cfg.Proxy.Listen[0]
		}
		g.report.fault(fmt.Sprintf("%s: smtpd_proxy_filter=%s is where the gate wants TLS at once "+
			"(proxy.tls_listen)", s, filter),
			"smtpd speaks plaintext there: clients get 451",
			g.set(s, "smtpd_proxy_filter", string(plain)))
	}
	g.frontTimes(s)
	if strings.Contains(g.get(s, "smtpd_proxy_options"), "speed_adjust") {
		g.report.fault(fmt.Sprintf("%s: smtpd_proxy_options=speed_adjust", s),
			"Postfix answers recipients itself and asks the gate behind the message: one refused recipient "+
				"refuses "+
				"the whole message", g.set(s, "smtpd_proxy_options", ""))
	}
	g.frontErrors(s)
	g.frontSizes(s)
	if g.get(s, "smtpd_delay_open_until_valid_rcpt") == "no" {
		g.report.note(fmt.Sprintf("%s: smtpd_delay_open_until_valid_rcpt=no", s),
			"Postfix connects to the gate for each MAIL, also for clients whose recipients it refuses "+
				"itself",
			g.set(s, "smtpd_delay_open_until_valid_rcpt", "yes"))
	}
	g.unverified(s)
	if at.path != "" {
		if s.chroot && !strings.HasPrefix(at.path, g.places.queue+"/") {
			g.report.fault(fmt.Sprintf("%s is chrooted, and %s is outside of %s", s, at.path,
				g.places.queue),
				"it cannot connect to the gate: clients get 451",
				fmt.Sprintf("postconf -c %s -F %s/chroot=n && postfix -c %s reload", shellQuoted(g.dir), s,
					shellQuoted(g.dir)))
		}
		return
	}
	g.frontBelieved(s, at)
}

// frontBelieved looks at what the gate thinks of that Postfix.
func (g *postfixGate) frontBelieved(s *postfixService, at postfixPlace) {
	from := at.gateAddr()
	switch {
	case !inNetworks(g.cfg.Proxy.ClientNetworks, from):
		g.report.fault(fmt.Sprintf("%s connects from %s, which is not in proxy.client_networks", s, from),
			"the gate refuses it: clients get 451", fmt.Sprintf("[proxy]\nclient_networks = [%q]", from))
	case !inNetworks(g.cfg.Proxy.XForwardNetworks, from):
		g.report.warning(fmt.Sprintf("%s connects from %s, which is not in proxy.xforward_networks", s,
			from),
			"the gate does not know who the clients are: it takes all mail for that of one, and slows it "+
				"down "+
				"for its wrong recipients", fmt.Sprintf("[proxy]\nxforward_networks = [%q]", from))
	}
	if inNetworks(g.cfg.Proxy.ProxyProtocolNetworks, from) {
		g.report.fault(fmt.Sprintf("%s connects from %s, which is in proxy.proxy_protocol_networks", s,
			from),
			"the gate waits for a header that Postfix does not send, and hangs up: clients get 451",
			"take it out of proxy.proxy_protocol_networks")
	}
}

func (g *postfixGate) frontTimes(s *postfixService) {
	limit := time.Duration(g.cfg.Proxy.ReplyLimit)
	timeout, ok := g.span(s, "smtpd_proxy_timeout")
	if !ok || timeout >= limit {
		return
	}
	g.report.fault(fmt.Sprintf("%s: smtpd_proxy_timeout=%s is less than the gate's proxy.reply_limit "+
		"(%v)",
		s, postfixSpan(timeout), g.cfg.Proxy.ReplyLimit),
		"Postfix gives up while the gate still works on an answer: the client gets 451, also for a "+
			"message that "+
			"the relay may have taken, and sends it again",
		g.set(s, "smtpd_proxy_timeout", strconv.Itoa(int(limit.Round(time.Second)/time.Second))+"s"))
}

func (g *postfixGate) frontErrors(s *postfixService) {
	hard, known := g.number(s, "smtpd_hard_error_limit")
	if known && hard < fewErrors {
		g.report.warning(fmt.Sprintf("%s: smtpd_hard_error_limit=%d", s, hard),
			fmt.Sprintf("each recipient that the gate refuses is an error of the client: after %d of them "+
				"in a "+
				"session Postfix hangs up (421), and the good ones are lost with the bad", hard),
			g.set(s, "smtpd_hard_error_limit", "10000"))
	} else if most := int64(g.cfg.Proxy.MaxRecipients); known && hard < most {
		g.report.note(fmt.Sprintf("%s: smtpd_hard_error_limit=%d is less than proxy.max_recipients (%d)",
			s, hard, most),
			"one message to that many dead recipients loses its session", g.set(s, "smtpd_hard_error_limit",
				"10000"))
	}
	soft, known := g.number(s, "smtpd_soft_error_limit")
	sleep, timed := g.span(s, "smtpd_error_sleep_time")
	if known && timed && soft < fewErrors && sleep > 0 {
		g.report.warning(fmt.Sprintf("%s: smtpd_soft_error_limit=%d and smtpd_error_sleep_time=%s", s,
			soft, postfixSpan(sleep)),
			fmt.Sprintf("after %d refused recipients each command of the client is answered %s later", soft,
				postfixSpan(sleep)),
			g.set(s, "smtpd_error_sleep_time", "0"))
	}
}

func (g *postfixGate) frontSizes(s *postfixService) {
	if n, ok := g.number(s, "smtpd_recipient_limit"); ok && n > int64(g.cfg.Proxy.MaxRecipients) {
		g.report.note(fmt.Sprintf("%s: smtpd_recipient_limit=%d is more than proxy.max_recipients (%d)",
			s, n, g.cfg.Proxy.MaxRecipients),
			"recipients beyond the latter get 452 from the gate; clients send them in another message",
			fmt.Sprintf("[proxy]\nmax_recipients = %d", n))
	}
	size := int64(g.cfg.Proxy.MaxMessageSize)
	if n, ok := g.number(s, "message_size_limit"); ok && (n > size || n == 0) {
		g.report.warning(fmt.Sprintf("%s: message_size_limit=%d is more than proxy.max_message_size (%v)",
			s, n, g.cfg.Proxy.MaxMessageSize),
			"Postfix promises to take messages that the gate refuses (552), at worst after all of them has "+
				"been sent",
			fmt.Sprintf("[proxy]\nmax_message_size = %q", sizeFor(n)))
	}
}

// sizeFor is what proxy.max_message_size has to be for a limit of Postfix.
func sizeFor(limit int64) string {
	if limit == 0 { // without limit
		return "1GiB"
	}
	return config.Size(limit).String()
}

// unverified finds reject_unverified_recipient.
func (g *postfixGate) unverified(s *postfixService) {
	for _, list := range postfixRestrictions {
		if slices.Contains(mx.PostfixItems(g.get(s, list)), "reject_unverified_recipient") {
			g.report.warning(fmt.Sprintf("%s: %s has reject_unverified_recipient", s, list),
				"Postfix asks mail servers as well: recipients are asked about twice, more slowly, and what it "+
					"takes for a "+
					"refusal of the recipient may be one of this host",
				"take reject_unverified_recipient out of "+list+", for recipients of other sites")
		}
	}
}

// checkBehind looks at a service that takes mail from the gate.
func (g *postfixGate) checkBehind(ctx context.Context, s *postfixService) {
	if filter := g.get(s, "smtpd_proxy_filter"); g.at(g.places.target(ctx, filter), g.listen, g.tls) {
		g.report.fault(fmt.Sprintf("%s takes mail from the gate, and smtpd_proxy_filter=%s sends it "+
			"back", s, filter),
			"mail goes round in a circle until it is refused", g.set(s, "smtpd_proxy_filter", ""))
	}
	from := g.places.service(ctx, s).gateAddr()
	if hosts := g.get(s, "smtpd_authorized_xforward_hosts"); postfixListed(hosts, from) == postfixNo {
		g.report.warning(fmt.Sprintf("%s: smtpd_authorized_xforward_hosts (%s) does not have the gate's "+
			"address, %s", s,
			orEmptyList(hosts), from), "Postfix's log and its Received fields show the gate instead of the "+
			"client",
			g.set(s, "smtpd_authorized_xforward_hosts", postfixNetwork(from.IsLoopback() && from.Is4(),
				from.String())))
	}
	if networks := g.get(s, "mynetworks"); postfixListed(networks, from) == postfixNo {
		g.report.warning(fmt.Sprintf("%s: mynetworks (%s) does not have the gate's address, %s", s,
			orEmptyList(networks), from),
			"Postfix takes the gate for a stranger: it may not relay, and anvil(8) limits its connections",
			g.set(s, "mynetworks", postfixNetwork(from.IsLoopback() && from.Is4(), from.String())))
	}
	g.behindSizes(s)
	g.unverified(s)
	if slices.Contains(g.asking, s) {
		g.report.warning(fmt.Sprintf("%s takes mail from the gate, and asks its policy service", s),
			"each recipient is decided and counted twice",
			"take check_policy_service out of its restrictions, or write the service its own, without it")
	}
}

func orEmptyList(list string) string {
	if list == "" {
		return "empty"
	}
	return list
}

func postfixNetwork(loopback bool, addr string) string {
	if loopback {
		return "127.0.0.0/8"
	}
	return addr
}

func (g *postfixGate) behindSizes(s *postfixService) {
	if n, ok := g.number(s, "smtpd_recipient_limit"); ok && n < int64(g.cfg.Proxy.MaxRecipients) {
		g.report.warning(fmt.Sprintf("%s: smtpd_recipient_limit=%d is less than proxy.max_recipients "+
			"(%d)",
			s, n, g.cfg.Proxy.MaxRecipients), "recipients beyond it were asked about for nothing: they get "+
			"452",
			g.set(s, "smtpd_recipient_limit", strconv.Itoa(g.cfg.Proxy.MaxRecipients)))
	}
	n, ok := g.number(s, "message_size_limit")
	if !ok || n == 0 {
		return
	}
	for _, front := range g.fronts {
		if most, ok := g.number(front, "message_size_limit"); ok && (most > n || most == 0) {
			g.report.warning(fmt.Sprintf("%s: message_size_limit=%d is less than that of %s, %d", s, n,
				front, most),
				"messages between them are refused after all of them has been sent",
				g.set(s, "message_size_limit", strconv.FormatInt(most, 10)))
		}
	}
	if size := int64(g.cfg.Proxy.MaxMessageSize); len(g.fronts) == 0 && n < size {
		g.report.note(fmt.Sprintf("%s: message_size_limit=%d is less than proxy.max_message_size (%v)",
			s, n,
			g.cfg.Proxy.MaxMessageSize), "clients that do not tell the size learn it after all of the "+
			"message has been sent",
			fmt.Sprintf("[proxy]\nmax_message_size = %q", config.Size(n).String()))
	}
}

// policyItem finds the gate's policy service in the restrictions of a service.
func (g *postfixGate) policyItem(ctx context.Context, s *postfixService) *policyItem {
	for _, list := range postfixRestrictions {
		words := mx.PostfixItems(g.get(s, list))
		for i, word := range words {
			if word != "check_policy_service" || i+1 == len(words) {
				continue
			}
			item := newPolicyItem(list, words[i+1])
			if g.at(g.places.target(ctx, item.server), g.policyd) {
				item.before = words[:i]
				return item
			}
		}
	}
	return nil
}

// policyItem is one check_policy_service.
type policyItem struct {
	list    string            // the restrictions that it is in
	before  []string          // what is evaluated before it
	server  string            // "inet:127.0.0.1:10040"
	options map[string]string // of the form { server, name=value, ... }
}

func newPolicyItem(list, text string) *policyItem {
	item := &policyItem{list: list, server: text, options: map[string]string{}}
	inner, ok := strings.CutPrefix(text, "{")
	if !ok {
		return item
	}
	inner = strings.TrimSuffix(inner, "}")
	for i, part := range mx.PostfixItems(inner) {
		name, value, found := strings.Cut(part, "=")
		switch {
		case i == 0:
			item.server = part
		case found:
			item.options[name] = value
		}
	}
	return item
}

// checkAsking looks at a service that asks the gate's policy service.
func (g *postfixGate) checkAsking(ctx context.Context, s *postfixService) {
	item := g.policyItem(ctx, s)
	line := fmt.Sprintf("check_policy_service { %s, timeout=%s, default_action=DUNNO }", item.server,
		postfixSpan(time.Duration(g.cfg.Verify.RcptBudget)+12*time.Second))
	fix := "in " + item.list + " of " + s.String() + ":\n" + line
	timeout, ok := postfixTime(item.options["timeout"])
	if !ok {
		timeout, ok = g.span(s, "smtpd_policy_service_timeout")
	}
	switch budget := time.Duration(g.cfg.Verify.RcptBudget); {
	case !ok:
	case timeout <= budget:
		g.report.fault(fmt.Sprintf("%s: the policy service has %s to answer, verify.rcpt_budget is %v",
			s, postfixSpan(timeout),
			g.cfg.Verify.RcptBudget), "Postfix gives up before the gate answers, asks once more, and then "+
			"goes on without it", fix)
	case timeout > time.Minute:
		g.report.note(fmt.Sprintf("%s: the policy service has %s to answer", s, postfixSpan(timeout)),
			"if the gate hangs, each recipient waits for so long", fix)
	}
	action := item.options["default_action"]
	if action == "" {
		action = g.get(s, "smtpd_policy_service_default_action")
	}
	if !strings.EqualFold(action, "DUNNO") {
		g.report.warning(fmt.Sprintf("%s: the default_action of the policy service is %s", s, action),
			"while the gate is down, no mail passes", fix)
	}
	g.askingPlace(s, item)
	g.unverified(s)
}

// askingPlace looks at where the policy service stands.
func (g *postfixGate) askingPlace(s *postfixService, item *policyItem) {
	if i := slices.IndexFunc(item.before, func(w string) bool { return strings.HasPrefix(w, "permit") }); i >= 0 {
		g.report.warning(fmt.Sprintf("%s: in %s the policy service stands behind %s", s, item.list,
			item.before[i]),
			"the gate is not asked about mail that this permits, which is most of that which leaves",
			"put check_policy_service before it in "+item.list)
	}
	if item.list != "smtpd_recipient_restrictions" && item.list != "smtpd_relay_restrictions" {
		g.report.note(fmt.Sprintf("%s: the policy service is in %s", s, item.list),
			"what Postfix refuses behind it was asked about for nothing", "move it to "+
				"smtpd_recipient_restrictions")
	}
	if !strings.Contains(g.get(s, "smtpd_end_of_data_restrictions"), item.server) {
		g.report.note(fmt.Sprintf("%s: smtpd_end_of_data_restrictions does not have the policy service",
			s),
			"the gate does not hear that a message is complete: the journal does not tell, and deliveries "+
				"in the relay's "+
				"log are compared with no verdict",
			"in main.cf:\nsmtpd_end_of_data_restrictions =\n    check_policy_service { "+item.server+", "+
				"timeout=20s, default_action=DUNNO }")
	}
}
