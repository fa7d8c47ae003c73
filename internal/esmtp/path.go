package esmtp

import "strings"

// cutPath splits the argument of MAIL or RCPT at its path: keyword is "FROM:" or "TO:". path is with
// its brackets if it has them. It only finds the end; what is in it, parsePath looks at.
func cutPath(arg, keyword string) (path, rest string, ok bool) {
	arg = strings.Trim(arg, " \t")
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", false
	}
	arg = strings.TrimLeft(arg[len(keyword):], " \t")
	end := pathEnd(arg)
	if end <= 0 || end < len(arg) && !isBlank(arg[end]) {
		return "", "", false
	}
	return arg[:end], arg[end:], true
}

// pathEnd returns the length of the path that s begins with, or -1 if it has no end. Quotes hide
// brackets and blanks: <"> SIZE=1 "@example.com> is one path.
func pathEnd(s string) int {
	bracket := strings.HasPrefix(s, "<")
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++ // a quoted pair
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracket && c == '>':
			return i + 1
		case !bracket && isBlank(c):
			return i
		}
	}
	if bracket || quoted {
		return -1
	}
	return len(s)
}

// parsePath parses a path with or without its brackets, and strips a source route.
func parsePath(path string, utf8OK bool, maxLocal int) (Address, *addressFault) {
	if strings.HasPrefix(path, "<") {
		path = path[1 : len(path)-1]
	}
	path = strings.Trim(path, " \t")
	if strings.HasPrefix(path, "@") {
		var fault *addressFault
		if path, fault = stripRoute(path); fault != nil {
			return Address{}, fault
		}
	}
	return parseMailbox(path, utf8OK, maxLocal)
}

// stripRoute takes A-d-l ":" off, the source route of RFC 5321 section 4.1.2: "@a.test,@b.test:".
// Servers must accept it and should ignore it (section 4.1.1.3).
func stripRoute(s string) (string, *addressFault) {
	bad := &addressFault{detail: "bad source route: leave it out"}
	for {
		if !strings.HasPrefix(s, "@") {
			return "", bad
		}
		// A literal has colons of its own.
		skip := 0
		if strings.HasPrefix(s, "@[") {
			if skip = strings.IndexByte(s, ']'); skip < 0 {
				return "", bad
			}
		}
		end := strings.IndexAny(s[skip:], ",:")
		if end < 0 {
			return "", bad
		}
		end += skip
		if _, _, fault := parseDomain(s[1:end]); fault != nil {
			return "", bad
		}
		if s[end] == ':' {
			return s[end+1:], nil
		}
		s = s[end+1:]
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
