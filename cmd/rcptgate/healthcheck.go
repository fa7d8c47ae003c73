package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/internal/config"
)

const (
	healthTimeout = 5 * time.Second
	healthAnswer  = 64 << 10 // octets of /readyz that are read
)

// newHealthcheckCmd is for containers: an image without a shell has no other program to ask with.
func newHealthcheckCmd() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:    "healthcheck --config FILE",
		Short:  "Ask the running gate whether mail can pass",
		Hidden: true,
		Long: `Healthcheck asks /readyz of http.listen, prints the answer, and ends with exit code 0 if
mail can pass (also where a part is degraded), else with 1.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return askReady(cmd.Context(), cfg.HTTP, cmd.OutOrStdout())
		},
	}
	configFlag(cmd, &path, "the gate's configuration")
	return cmd
}

func askReady(ctx context.Context, where config.HTTP, out io.Writer) error {
	if where.Listen == "" {
		return usageError("http.listen is empty: there is nobody to ask",
			`set it, such as http.listen = "127.0.0.1:8025"`)
	}
	status, text, err := readyz(ctx, where)
	const hint = "look at the log of rcptgate serve"
	if err != nil {
		return failed(err.Error(), hint)
	}
	writef(out, "%s", text)
	if status != http.StatusOK {
		return failed(fmt.Sprintf("not ready: %d", status), hint)
	}
	return nil
}

// readyz asks /readyz of a gate on this machine.
func readyz(ctx context.Context, where config.HTTP) (status int, text []byte, err error) {
	scheme := "http"
	if where.TLSCertificate != "" {
		scheme = "https"
	}
	network, address := readyAddress(where.Listen)
	return getHere(ctx, network, address, scheme+"://rcptgate/readyz")
}

// getHere is a GET at a socket of this machine, within healthTimeout.
func getHere(ctx context.Context, network, address, url string) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
		DisableKeepAlives: true,
		// The name of this machine for itself need not be in the certificate, and nothing secret is
		// asked: /readyz is open to everybody.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("no answer at %s: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	if text, err = io.ReadAll(io.LimitReader(response.Body, healthAnswer)); err != nil {
		return 0, nil, fmt.Errorf("the answer is cut: %w", err)
	}
	return response.StatusCode, text, nil
}

// readyAddress is where the listener is reached from the same machine: 0.0.0.0 and [::] are for
// listening only.
func readyAddress(at config.Endpoint) (network, address string) {
	network, address = at.Network()
	host, port, err := net.SplitHostPort(address)
	if network == "unix" || err != nil {
		return network, address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if strings.Contains(address, "::") {
			host = "::1"
		}
	}
	return network, net.JoinHostPort(host, port)
}
