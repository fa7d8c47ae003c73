package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// advised is a fault together with what to do about it.
func advised(err error, advice string) error {
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}

// dialAdvice is what to do about a connection that does not come to be.
func dialAdvice(err error) string {
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return "correct the name in relay.upstreams, or the DNS"
	case errors.Is(err, os.ErrNotExist):
		return "there is no such socket: check that the relay runs and that relay.upstreams is right"
	case errors.Is(err, os.ErrPermission):
		return "let this program write to the socket: its mode, group and directory decide"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check that it runs and that relay.upstreams is right"
	case isTimeout(err):
		return "nothing answers there: check the address, the route and the firewalls"
	}
	return "check that it runs and that relay.upstreams is right"
}

// bannerAdvice is what to do about a server that does not greet.
func bannerAdvice(err error, wrapper bool) string {
	switch {
	case isTimeout(err) && !wrapper:
		return "is it overloaded? If it begins with TLS, as on port 465, write relay.tls_wrappermode = true"
	case isTimeout(err):
		return "is it overloaded?"
	}
	return "see its own log"
}

// tlsAdvice is what to do about a handshake that failed.
func tlsAdvice(err error, wrapper bool) string {
	var alert tls.AlertError
	var record tls.RecordHeaderError
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		if c := invalid.Cert; c != nil {
			return fmt.Sprintf("it is valid from %s to %s: renew it at the relay, or check the clocks",
				c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		}
		return "renew the relay's certificate, or check the clocks"
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	switch {
	case unknown:
		return "name the file with the authority's certificate in relay.tls_ca_file"
	case name:
		return "write the name that the certificate has in relay.tls_server_name"
	case strings.Contains(err.Error(), "either ServerName or InsecureSkipVerify"):
		return "write the name that its certificate has in relay.tls_server_name"
	case errors.As(err, &record) && wrapper:
		return "it does not begin with TLS: write relay.tls_wrappermode = false, or its port 465"
	case errors.As(err, &alert):
		return "the relay refuses the handshake: its own log says why"
	case isTimeout(err):
		return "the relay is silent in the handshake: see its own log"
	}
	return "see the relay's own log"
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
