package wire

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// The prompts of AUTH LOGIN (draft-murchison-sasl-login): "Username:" and "Password:".
const (
	userPrompt     = "VXNlcm5hbWU6"
	passwordPrompt = "UGFzc3dvcmQ6" //nolint:gosec // a prompt, not a password
)

// maxSecret bounds a user name and a password (RFC 4616 section 2 wants 255 at least).
const maxSecret = 1024

var authFailed = esmtp.EnhancedCode{5, 7, 8}

// mechanisms is what this client is offered. A trusted mail server's connection carries
// other people's mail: it has no login of its own.
func (c *Conn) mechanisms() []string {
	if c.cfg.Auth == nil || c.onAuth == nil || c.trusted {
		return nil
	}
	if c.tls == nil && !c.cfg.AuthWithoutTLS {
		return nil
	}
	return c.cfg.Auth()
}

// auth is AUTH (RFC 4954). The password is only passed to the session and not kept here.
func (c *Conn) auth(arg string) {
	mechanism, initial, _ := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	switch offered := c.mechanisms(); {
	case len(offered) == 0 && c.cfg.Auth != nil && c.tls == nil && !c.cfg.AuthWithoutTLS:
		c.answer(538, esmtp.EnhancedCode{5, 7, 11}, "Encryption required: STARTTLS first")
		return
	case len(offered) == 0:
		c.answer(502, noCommand, "AUTH is not offered")
		return
	case c.helo == "":
		c.answer(503, noCommand, "Say EHLO first")
		return
	case c.login != "" || c.inTx:
		c.answer(503, noCommand, "AUTH is not allowed now")
		return
	case !slices.Contains(offered, mechanism):
		c.answer(504, badArgs, "Mechanism not offered; there is "+strings.Join(offered, ", "))
		return
	}
	login, ok := c.credentials(mechanism, initial)
	if !ok {
		return
	}
	r := c.onAuth(login)
	if r.Code == 235 {
		c.login = login.User
		c.reply(r)
		return
	}
	if r.Permanent() {
		c.refuseCommand(r)
		return
	}
	c.reply(r)
}

// credentials asks for what the mechanism needs. Without it the client has its answer.
func (c *Conn) credentials(mechanism, initial string) (Login, bool) {
	login := Login{Mechanism: mechanism}
	var ok bool
	if mechanism == "LOGIN" {
		if login.User, ok = c.secret(initial, userPrompt); !ok {
			return login, false
		}
		login.Password, ok = c.secret("", passwordPrompt)
		return login, ok
	}
	response, ok := c.secret(initial, "")
	if !ok {
		return login, false
	}
	// RFC 4616: authorization identity, authentication identity, password.
	parts := strings.Split(response, "\x00")
	if len(parts) != 3 || parts[1] == "" || parts[0] != "" && parts[0] != parts[1] {
		c.answer(535, authFailed, "Malformed PLAIN response, or another authorization identity")
		return login, false
	}
	login.User, login.Password = parts[1], parts[2]
	return login, true
}

// secret is one response: the initial one that came with the command, or the answer to a
// prompt.
func (c *Conn) secret(initial, prompt string) (string, bool) {
	switch initial {
	case "=":
		return "", true
	case "":
		c.out = append(c.out, "334 "+prompt+"\r\n"...)
		line, err := c.readLine()
		if err != nil {
			c.closing = true
			return "", false
		}
		initial = string(line)
	}
	if initial == "*" {
		c.answer(501, esmtp.EnhancedCode{5, 7, 0}, "Authentication cancelled")
		return "", false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(initial)
	if err != nil || len(decoded) > 3*maxSecret {
		c.answer(501, badSyntax, "The response is not base64")
		return "", false
	}
	return string(decoded), true
}
