package esmtp

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestAuth: what goes over the wire, what comes back, and that no password comes back.
func TestAuth(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const password = "hunter2 correct: horse"
	long := strings.Repeat("u", 500)
	for _, c := range []struct {
		name, mechanism, user string
		server                func(p *peer)
		want                  string // the reply, or a part of the error behind "error: "
	}{
		{"plain", "PLAIN", "anna", func(p *peer) {
			p.expect("AUTH PLAIN " + encode("\x00anna\x00"+password))
			p.send("235 2.7.0 welcome")
		}, "235 2.7.0 welcome"},
		{"plain, too long for one line", "PLAIN", long, func(p *peer) {
			p.expect("AUTH PLAIN")
			p.send("334 ")
			p.expect(encode("\x00" + long + "\x00" + password))
			p.send("235 2.7.0 welcome")
		}, "235 2.7.0 welcome"},
		{"login", "LOGIN", "anna", func(p *peer) {
			p.expect("AUTH LOGIN")
			p.send("334 VXNlcm5hbWU6")
			p.expect(encode("anna"))
			p.send("334 UGFzc3dvcmQ6")
			p.expect(encode(password))
			p.send("535 5.7.8 no")
		}, "535 5.7.8 no"},
		{"the user is refused", "LOGIN", "anna", func(p *peer) {
			p.expect("AUTH LOGIN")
			p.send("334 VXNlcm5hbWU6")
			p.expect(encode("anna"))
			p.send("454 4.7.0 later")
		}, "454 4.7.0 later"},
		{"it wants more", "PLAIN", "anna", func(p *peer) {
			p.expect("AUTH PLAIN " + encode("\x00anna\x00"+password))
			p.send("334 and your mother's name?")
			p.expect("*")
			p.send("501 5.7.0 aborted")
		}, "501 5.7.0 aborted"},
		{"it sends the password back", "PLAIN", "anna", func(p *peer) {
			p.expect("AUTH PLAIN " + encode("\x00anna\x00"+password))
			p.send("535 5.7.8 wrong: " + password)
		}, "535 5.7.8 (the server's words had the password in them)"},
		{"it sends the line back", "PLAIN", "anna", func(p *peer) {
			line := "AUTH PLAIN " + encode("\x00anna\x00"+password)
			p.expect(line)
			p.send(line)
		}, "error: none that AUTH has"},
		{"it sends the password back in pieces", "PLAIN", "anna", func(p *peer) {
			p.expect("AUTH PLAIN " + encode("\x00anna\x00"+password))
			p.send("535-"+password[:9], "535 "+password[9:])
		}, "535 (the server's words had the password in them)"},
		{"no answer to AUTH", "PLAIN", "anna", func(p *peer) {
			p.expect("AUTH PLAIN " + encode("\x00anna\x00"+password))
			p.send("250 ok")
		}, "error: none that AUTH has"},
		{"NUL", "PLAIN", "an\x00na", func(*peer) {}, "error: NUL"},
		{"no user", "PLAIN", "", func(*peer) {}, "error: empty"},
		{"mechanism", "GSSAPI", "anna", func(*peer) {}, "error: neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialogue(t, func(p *peer) {
				p.send("220 hello")
				c.server(p)
				p.gone()
			}, func(tc caller) {
				wantReply(tc, "220 hello")(tc.c.Greeting(tc.Context()))
				r, err := tc.c.Auth(tc.Context(), c.mechanism, c.user, password)
				got := r.String()
				if err != nil {
					got = "error: " + err.Error()
					if part, ok := strings.CutPrefix(c.want, "error: "); ok && strings.Contains(got, part) {
						got = c.want
					}
				}
				if got != c.want {
					tc.Errorf("%s, want %s", got, c.want)
				}
				shown := got
				if err != nil {
					shown = fmt.Sprint(err, tc.c.Err())
				}
				if left := string(tc.c.out[:cap(tc.c.out)]); strings.Contains(shown+left, password) ||
					strings.Contains(shown+left, encode("\x00anna\x00"+password)) {
					tc.Errorf("the password is left in %q and %q", shown, left)
				}
			})
		})
	}
}
