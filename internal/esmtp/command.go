package esmtp

import (
	"strconv"
	"strings"
)

// Mail is a MAIL command (RFC 5321 section 4.1.1.2).
type Mail struct {
	From Address
	// Size is the declared size of the message in octets (RFC 1870), if HasSize.
	Size    uint64
	HasSize bool
	// Body is "7BIT" or "8BITMIME" (RFC 6152) in upper case, or "" if the client did not say.
	Body string
	// UTF8 is set by SMTPUTF8 (RFC 6531), RequireTLS by REQUIRETLS (RFC 8689).
	UTF8, RequireTLS bool
	// Ret is "FULL" or "HDRS" in upper case, EnvID the xtext as written (RFC 3461 sections 4.3, 4.4);
	// Auth is the xtext as written, or "<>" (RFC 4954 section 5). "" = not given.
	Ret, EnvID, Auth string
	// Params are the parameters exactly as the client wrote them, in order.
	Params []Param
}

// Rcpt is a RCPT command (RFC 5321 section 4.1.1.3).
type Rcpt struct {
	To Address
	// Notify and ORCPT are the values as written (RFC 3461 sections 4.1, 4.2; RFC 6533 section 3).
	// "" = not given.
	Notify, ORCPT string
	// Params are the parameters exactly as the client wrote them, in order.
	Params []Param
}

// ParseMail parses what follows "MAIL ", for instance "FROM:<a@example.com> SIZE=1". The error is
// always a [*SyntaxError].
//
// It takes the loose syntax that Postfix passes on: blanks after the colon, no angle brackets, any
// case, trailing blanks, source routes (stripped, RFC 5321 appendix C), a local part without a
// domain. The local part may be longer than 64 octets, for there are senders that encode a whole
// address in it; the path may not be longer than 256.
func ParseMail(arg string) (Mail, error) {
	path, rest, ok := cutPath(arg, "FROM:")
	if !ok {
		return Mail{}, newSyntaxError(501, EnhancedCode{5, 5, 4}, "syntax: MAIL FROM:<address>")
	}
	params := splitParams(rest)
	var m Mail
	for _, p := range params {
		m.UTF8 = m.UTF8 || strings.EqualFold(p.Keyword, "SMTPUTF8")
	}
	var fault *addressFault
	if path != "<>" {
		if m.From, fault = parsePath(path, m.UTF8, MaxPath); fault != nil {
			return Mail{}, fault.syntaxError(badSender)
		}
	}
	if err := parseParams(params, m.UTF8, m.setParam); err != nil {
		return Mail{}, err
	}
	m.Params = params
	return m, nil
}

// ParseRcpt parses what follows "RCPT ", for instance "TO:<a@example.com> NOTIFY=NEVER". utf8 says
// that the transaction was opened with SMTPUTF8. The error is always a [*SyntaxError]. Loose syntax
// is taken as by [ParseMail]; a local part longer than 64 octets and the null path are not.
func ParseRcpt(arg string, utf8 bool) (Rcpt, error) {
	path, rest, ok := cutPath(arg, "TO:")
	if !ok {
		return Rcpt{}, newSyntaxError(501, EnhancedCode{5, 5, 4}, "syntax: RCPT TO:<address>")
	}
	var r Rcpt
	var fault *addressFault
	if r.To, fault = parsePath(path, utf8, MaxLocal); fault != nil {
		return Rcpt{}, fault.syntaxError(badRecipient)
	}
	params := splitParams(rest)
	if err := parseParams(params, utf8, r.setParam); err != nil {
		return Rcpt{}, err
	}
	r.Params = params
	return r, nil
}

// Append appends the command line, "MAIL FROM:<...> PARAMS\r\n": Params as the client wrote them, or
// where there are none, those that the fields stand for. keep gets each keyword in upper case and
// says whether to send it, for a server that does not offer its extension; nil keeps all. A
// parameter that ParseMail would not take apart as one is not written.
func (m Mail) Append(dst []byte, keep func(keyword string) bool) []byte {
	params := m.Params
	if params == nil {
		params = m.fieldParams()
	}
	dst = append(dst, "MAIL FROM:"...)
	dst = m.From.AppendPath(dst)
	return appendParams(dst, params, keep)
}

// Append appends the command line, "RCPT TO:<...> PARAMS\r\n", as [Mail.Append] does.
func (r Rcpt) Append(dst []byte, keep func(keyword string) bool) []byte {
	params := r.Params
	if params == nil {
		params = appendValueParam(params, "NOTIFY", r.Notify)
		params = appendValueParam(params, "ORCPT", r.ORCPT)
	}
	dst = append(dst, "RCPT TO:"...)
	dst = r.To.AppendPath(dst)
	return appendParams(dst, params, keep)
}

func (m Mail) fieldParams() []Param {
	var params []Param
	if m.HasSize {
		params = appendValueParam(params, "SIZE", strconv.FormatUint(m.Size, 10))
	}
	params = appendValueParam(params, "BODY", m.Body)
	if m.UTF8 {
		params = append(params, Param{Keyword: "SMTPUTF8"})
	}
	if m.RequireTLS {
		params = append(params, Param{Keyword: "REQUIRETLS"})
	}
	params = appendValueParam(params, "RET", m.Ret)
	params = appendValueParam(params, "ENVID", m.EnvID)
	return appendValueParam(params, "AUTH", m.Auth)
}

func appendValueParam(params []Param, keyword, value string) []Param {
	if value == "" {
		return params
	}
	return append(params, Param{Keyword: keyword, Value: value, HasValue: true})
}

// setParam takes one parameter of MAIL; keyword is in upper case.
func (m *Mail) setParam(keyword string, p Param, _ bool) *SyntaxError {
	switch keyword {
	case "SIZE":
		// 1*20DIGIT of RFC 1870 section 4; what does not fit into 64 bits fits nowhere.
		n, err := strconv.ParseUint(p.Value, 10, 64)
		if err != nil || len(p.Value) > 20 {
			return badParam("SIZE needs a number of octets")
		}
		m.Size, m.HasSize = n, true
	case "BODY":
		m.Body = strings.ToUpper(p.Value)
		switch m.Body {
		case "7BIT", "8BITMIME":
		case "BINARYMIME": // needs CHUNKING (RFC 3030 section 3)
			return unknownParam("BODY=BINARYMIME is not offered here")
		default:
			return badParam("BODY is 7BIT or 8BITMIME")
		}
	case "SMTPUTF8", "REQUIRETLS":
		if p.HasValue {
			return badParam(keyword + " has no value")
		}
		m.UTF8 = m.UTF8 || keyword == "SMTPUTF8"
		m.RequireTLS = m.RequireTLS || keyword == "REQUIRETLS"
	case "RET":
		m.Ret = strings.ToUpper(p.Value)
		if m.Ret != "FULL" && m.Ret != "HDRS" {
			return badParam("RET is FULL or HDRS")
		}
	case "ENVID":
		if p.Value == "" || len(p.Value) > maxEnvID || !isPrintableXtext(p.Value) {
			return badParam("ENVID needs 1 to 100 octets of xtext")
		}
		m.EnvID = p.Value
	case "AUTH":
		// "<>" is not xtext of nothing but a word of its own (RFC 4954 section 5).
		if p.Value == "" || len(p.Value) > maxAuth || !isPrintableXtext(p.Value) {
			return badParam("AUTH needs a mailbox in xtext, or <>")
		}
		m.Auth = p.Value
	default:
		return unknownParam("unsupported parameter of MAIL")
	}
	return nil
}

// setParam takes one parameter of RCPT; keyword is in upper case.
func (r *Rcpt) setParam(keyword string, p Param, utf8 bool) *SyntaxError {
	switch keyword {
	case "NOTIFY":
		if !isNotify(p.Value) {
			return badParam("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
		}
		r.Notify = p.Value
	case "ORCPT":
		if !isORCPT(p.Value, utf8) {
			return badParam("ORCPT needs an address type, a semicolon and up to 500 octets of xtext")
		}
		r.ORCPT = p.Value
	default:
		return unknownParam("unsupported parameter of RCPT")
	}
	return nil
}
