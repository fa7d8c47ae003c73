package mxsim

import (
	"encoding/base64"
	"strings"
)

// Accounts is who may log in at a host, and what it asks of clients.
type Accounts struct {
	Users      map[string]string // password by user
	Mechanisms []string          // nil: PLAIN, LOGIN
	// Plaintext offers AUTH without TLS too, as a server on the loopback interface would.
	Plaintext bool
	// Required refuses MAIL before AUTH: "530 5.7.0 Authentication required".
	Required bool
}

func (a *Accounts) mechanisms() []string {
	if a.Mechanisms == nil {
		return []string{"PLAIN", "LOGIN"}
	}
	return a.Mechanisms
}

// authDialog is an AUTH command that is not answered yet.
type authDialog struct {
	mechanism string
	user      string
	asked     bool // LOGIN: the user is known
}

// offersAuth reports whether AUTH is in the EHLO reply now.
func (s *session) offersAuth() bool {
	a := s.Host.Accounts
	return a != nil && (s.TLS || a.Plaintext) && s.User == ""
}

// standardAuth answers AUTH, and the lines that follow a 334 (RFC 4954).
func (s *session) standardAuth(line string) Answer {
	if !s.authOpen {
		fields := strings.Fields(line)
		switch {
		case s.User != "":
			return Say("503 5.5.1 Error: already authenticated")
		case !s.offersAuth():
			return Say("502 5.5.1 Error: authentication not enabled")
		case len(fields) < 2 || !s.speaks(fields[1]):
			return Say("504 5.5.4 Error: unsupported authentication mechanism")
		}
		s.auth = authDialog{mechanism: strings.ToUpper(fields[1])}
		if len(fields) > 2 {
			return s.credentials(fields[2])
		}
		if s.auth.mechanism == "LOGIN" {
			return Say("334 VXNlcm5hbWU6")
		}
		return Answer{Raw: "334 \r\n"}
	}
	return s.credentials(line)
}

func (s *session) speaks(mechanism string) bool {
	for _, m := range s.Host.Accounts.mechanisms() {
		if strings.EqualFold(m, mechanism) {
			return true
		}
	}
	return false
}

// credentials takes one response of the client.
func (s *session) credentials(response string) Answer {
	if response == "*" {
		return Say("501 5.7.0 Authentication aborted")
	}
	if response == "=" {
		response = ""
	}
	octets, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return Say("501 5.5.2 Error: malformed authentication data")
	}
	user, password := s.auth.user, string(octets)
	switch {
	case s.auth.mechanism == "PLAIN":
		parts := strings.Split(string(octets), "\x00")
		if len(parts) != 3 {
			return Say("501 5.5.2 Error: malformed authentication data")
		}
		user, password = parts[1], parts[2]
	case !s.auth.asked:
		s.auth.user, s.auth.asked = string(octets), true
		return Say("334 UGFzc3dvcmQ6")
	}
	if known, ok := s.Host.Accounts.Users[user]; !ok || known != password {
		return Say("535 5.7.8 Error: authentication failed: authentication failure")
	}
	s.auth.user = user
	return Say("235 2.7.0 Authentication successful")
}

// followAuth keeps the state after a reply to AUTH.
func (s *session) followAuth(wire string) {
	s.authOpen = strings.HasPrefix(wire, "334")
	if strings.HasPrefix(wire, "235") {
		s.User = s.auth.user
		s.Host.authenticated(s.log, s.User)
	}
	if !s.authOpen {
		s.auth = authDialog{}
	}
}
