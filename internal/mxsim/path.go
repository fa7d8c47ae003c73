package mxsim

import "strings"

// readPath fills in what follows "MAIL " or "RCPT ". It is tolerant: brackets may be missing and
// blanks may follow the colon. Path stays empty where there is none.
func (e *Event) readPath(arg, prefix string) {
	arg = strings.TrimSpace(arg)
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return
	}
	arg = strings.TrimLeft(arg[len(prefix):], " ")
	path, rest := cutPath(arg)
	e.Path = path
	e.Params = strings.Fields(rest)
	mailbox := path
	if strings.HasPrefix(mailbox, "@") { // source route
		if _, after, ok := strings.Cut(mailbox, ":"); ok {
			mailbox = after
		}
	}
	local := mailbox
	if at := strings.LastIndexByte(mailbox, '@'); at >= 0 {
		local, e.Domain = mailbox[:at], mailbox[at+1:]
	}
	e.Local = unquote(local)
}

// cutPath splits "<path> parameters". A > within a quoted string does not end the path.
func cutPath(arg string) (path, rest string) {
	if !strings.HasPrefix(arg, "<") {
		path, rest, _ = strings.Cut(arg, " ")
		return path, rest
	}
	quoted := false
	for i := 1; i < len(arg); i++ {
		switch {
		case arg[i] == '\\' && quoted:
			i++
		case arg[i] == '"':
			quoted = !quoted
		case arg[i] == '>' && !quoted:
			return arg[1:i], arg[i+1:]
		}
	}
	return arg[1:], ""
}

func unquote(local string) string {
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return local
	}
	var b strings.Builder
	for i := 1; i < len(local)-1; i++ {
		if local[i] == '\\' && i+1 < len(local)-1 {
			i++
		}
		b.WriteByte(local[i])
	}
	return b.String()
}

// has reports whether a command has a parameter.
func (e *Event) has(keyword string) bool {
	for _, p := range e.Params {
		if word, _, _ := strings.Cut(p, "="); strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
