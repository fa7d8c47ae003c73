package esmtp

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
)

// authLine is the longest command line that AUTH may take its initial response into (RFC 5321
// section 4.5.3.1.4); a longer one goes into a line of its own (RFC 4954 section 4).
const authLine = 512

// Auth logs in (RFC 4954) with the mechanism "PLAIN" (RFC 4616) or "LOGIN", and returns the reply
// that ended it: 235, or the server's refusal. Whether the connection may carry a password is the
// caller's to decide: see [Client.IsTLS].
//
// No error and no reply has the password in it, even where the server sends it back.
func (c *Client) Auth(ctx context.Context, mechanism, user, password string) (Reply, error) {
	if user == "" || strings.ContainsRune(user+password, 0) {
		return Reply{}, errors.New("AUTH: the user is empty, or the user or password has a NUL")
	}
	encode := base64.StdEncoding.EncodeToString
	command, responses := "AUTH LOGIN", []string{encode([]byte(user)), encode([]byte(password))}
	switch mechanism {
	case "PLAIN":
		command, responses = "AUTH PLAIN", []string{encode([]byte("\x00" + user + "\x00" + password))}
		if len(command)+len(" ")+len(responses[0])+len("\r\n") <= authLine {
			command, responses = command+" "+responses[0], nil
		}
	case "LOGIN":
	default:
		return Reply{}, errors.New("AUTH: the mechanism is neither PLAIN nor LOGIN")
	}
	secrets := []string{password, encode([]byte(password)), encode([]byte("\x00" + user + "\x00" + password))}
	r, err := c.authenticate(ctx, command, responses)
	clear(c.out[:cap(c.out)]) // the password was in it
	if _, ok := errors.AsType[*ProtocolError](err); ok {
		// It quotes what the server sent, which may be a part of the password.
		err = &ProtocolError{Detail: "the answer to AUTH is none that AUTH has"}
		c.err = err
	}
	if repeats(strings.Join(r.Lines, "\n"), secrets) || repeats(strings.Join(r.Lines, ""), secrets) {
		r = NewReply(r.Code, r.Enhanced(), "(the server's words had the password in them)")
	}
	return r, err
}

// authenticate sends the command and its responses, each behind a 334.
func (c *Client) authenticate(ctx context.Context, command string, responses []string) (Reply, error) {
	r, err := c.command(ctx, command)
	for _, response := range responses {
		if err != nil || r.Code != 334 {
			return r, err
		}
		r, err = c.command(ctx, response)
	}
	if err == nil && r.Code == 334 {
		// It wants more than there is. "*" ends it with 501 (RFC 4954 section 4).
		r, err = c.command(ctx, "*")
	}
	if err == nil && r.Code != 235 && !r.Transient() && !r.Permanent() {
		err = c.fail(&ProtocolError{Detail: "the answer to AUTH is " + r.String()})
	}
	return r, err
}

func repeats(text string, secrets []string) bool {
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}
