package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// maxPasswords bounds a file of passwords in octets.
const maxPasswords = 1 << 20

// login is what one line of a password file gives a relay.
type login struct{ user, password string }

// passwords are the logins by relay: "host" for every port, or "host:port". Host names are in lower
// case and without brackets.
type passwords map[string]login

// readPasswords reads a file in the format of Postfix's smtp_sasl_password_maps: a line is a relay,
// blanks, and user:password; lines that are empty or begin with # are passed over. The user ends at
// the first colon, so that a password may hold colons and blanks. Passwords are in no error.
func readPasswords(path string) (passwords, *fault) {
	data, wrong := readSecrets(path)
	if wrong != nil {
		return nil, wrong
	}
	list, line, problem := parsePasswords(data)
	if problem != "" {
		return nil, &fault{
			problem: escaped(path) + ":" + strconv.Itoa(line) + ": " + problem,
			fix:     `write "relay.example.com user:password" or "[relay.example.com]:587 user:password"`,
		}
	}
	return list, nil
}

// readSecrets reads a small file that others must not read.
func readSecrets(path string) ([]byte, *fault) {
	fail := func(problem, fix string) ([]byte, *fault) {
		return nil, &fault{problem: escaped(path) + ": " + problem, fix: fix}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fail("permission denied", "make it readable for the user that runs rcptgate")
	case err != nil:
		return fail(reason(err), "write the path of the file, such as /etc/rcptgate/passwords")
	case info.Mode().Perm()&0o007 != 0:
		return fail(fmt.Sprintf("others may read or change it (mode %04o)", info.Mode().Perm()),
			"take their rights away: chmod o= "+escaped(path))
	case info.Size() > maxPasswords:
		return fail("is larger than 1 MiB", "write only what belongs there")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fail(reason(err), "make it readable for the user that runs rcptgate")
	}
	return data, nil
}

// readLogin reads a file of one line, user:password.
func readLogin(path string) (login, *fault) {
	data, wrong := readSecrets(path)
	if wrong != nil {
		return login{}, wrong
	}
	user, password, ok := strings.Cut(strings.TrimSpace(string(data)), ":")
	if !ok || user == "" || password == "" || strings.ContainsAny(user+password, "\x00\r\n") {
		return login{}, &fault{
			problem: escaped(path) + ": there is no user:password", fix: "write one line, user:password",
		}
	}
	return login{user, password}, nil
}

// parsePasswords reads the lines. problem is "" or what is wrong with line.
func parsePasswords(data []byte) (list passwords, line int, problem string) {
	list = passwords{}
	for text := range bytes.Lines(data) {
		line++
		entry := strings.TrimSpace(string(text))
		if entry == "" || entry[0] == '#' {
			continue
		}
		relay, rest := entry, ""
		if i := strings.IndexAny(entry, " \t"); i >= 0 {
			relay, rest = entry[:i], strings.TrimLeft(entry[i:], " \t")
		}
		key, ok := relayKey(relay)
		if !ok {
			return nil, line, "the first word is not a relay"
		}
		user, password, ok := strings.Cut(rest, ":")
		switch {
		case !ok || user == "" || password == "":
			return nil, line, "there is no user:password behind the relay"
		case strings.ContainsRune(rest, 0):
			return nil, line, "there is a NUL in the login" // AUTH PLAIN (RFC 4616) cannot carry it
		}
		if _, twice := list[key]; twice {
			return nil, line, "the relay has a login further up already"
		}
		list[key] = login{user, password}
	}
	return list, line, ""
}

// relayKey reads host, host:port, [host] or [host]:port, and unix:/path.
func relayKey(relay string) (string, bool) {
	if strings.HasPrefix(relay, "unix:/") {
		return relay, true
	}
	host, port := relay, "0" // stands for every port
	switch i := strings.LastIndexByte(relay, ']'); {
	case relay[0] == '[' && i == len(relay)-1:
		host = relay[1:i]
	case relay[0] == '[' && i > 0 && relay[i+1] == ':':
		host, port = relay[1:i], relay[i+2:]
	case strings.Count(relay, ":") == 1:
		host, port, _ = strings.Cut(relay, ":")
	default: // a name, or an IPv6 address without a port
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || strings.ContainsAny(host, "[]") {
		return "", false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if number == 0 {
		return host, true
	}
	return host + " " + strconv.FormatUint(number, 10), true
}

// lookup finds the login for an upstream: that of its port before that of its host.
func (p passwords) lookup(upstream Endpoint) (user, password string, ok bool) {
	keys := []string{string(upstream)}
	if host, port := upstream.hostPort(); port != 0 {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		keys = []string{host + " " + strconv.Itoa(port), host}
	}
	for _, key := range keys {
		if found, ok := p[key]; ok {
			return found.user, found.password, true
		}
	}
	return "", "", false
}

// passwordExample is how an upstream is written in a password file.
func passwordExample(upstream Endpoint) string {
	host, port := upstream.hostPort()
	if port == 0 {
		return string(upstream)
	}
	return "[" + host + "]:" + strconv.Itoa(port)
}
