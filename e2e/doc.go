// Package e2e runs the real rcptgate binary between real Postfix instances, in the set-ups
// that docs/postfix.md describes, with the configuration fragments of that page as they stand:
//
//	filter:  client → smtpd (smtpd_proxy_filter) → rcptgate → re-injection smtpd → sink
//	front:   client → rcptgate → smtpd → sink
//	policyd: client → smtpd (check_policy_service: asks rcptgate) → sink
//
// The Internet around them, DNS and the mail servers that rcptgate asks, is internal/mxsim on
// loopback sockets; the sink where Postfix delivers is an mxsim.Relay, which keeps every octet.
//
// The tests need Postfix and root, or sudo without a password, since Postfix changes users. They
// install nothing: .ci/setup does. Without these they are skipped, except where the environment
// variable CI is set: there they fail. Each process uses loopback addresses of its own, so runs
// side by side do not meet. Nothing is sent beyond loopback, and the system's own Postfix, if
// there is one, is not touched (see postfix.sh).
package e2e
