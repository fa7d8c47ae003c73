package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/bench"
)

// benchPostfix is a private Postfix with four listeners.
type benchPostfix struct {
	filter string // smtpd_proxy_filter to the sink
	verify string // reject_unverified_recipient, whose probes go to the sink
	asks   string // check_policy_service, of benchLab.policyAt
	plain  string // neither
	tree   bench.Tree
}

var errNoPostfix = errors.New("no Postfix: give --postfix e2e/postfix.sh, as root")

// startPostfix starts it with the project's script. It ends when our end of its input is closed.
func (l *benchLab) startPostfix(ctx context.Context, script string) (*benchPostfix, error) {
	if script == "" || os.Getuid() != 0 {
		return nil, errNoPostfix
	}
	p := new(benchPostfix)
	var err error
	for _, address := range []*string{&p.filter, &p.verify, &p.asks, &p.plain} {
		if *address, err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	// Postfix's own user reads below it.
	dir, err := os.MkdirTemp("", "rcptgate-bench-postfix-")
	if err != nil {
		return nil, err
	}
	l.ends = append(l.ends, func() { _ = os.RemoveAll(dir) })
	services := filepath.Join(l.dir, "services")
	err = os.WriteFile(services, fmt.Appendf(nil, `%s inet n - n - - smtpd
  -o smtpd_proxy_filter=%s
%s inet n - n - - smtpd
  -o smtpd_recipient_restrictions=reject_unverified_recipient
%s inet n - n - - smtpd
  -o { smtpd_recipient_restrictions = check_policy_service inet:%s }
%s inet n - n - - smtpd
verify unix - - n - 1 verify
`, p.filter, l.sink, p.verify, p.asks, l.policyAt, p.plain), 0o600)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(l.sink)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), script, "run", dir, services,
		"default_process_limit=300", "smtpd_client_connection_count_limit=0",
		"message_size_limit=0", "mailbox_size_limit=0", "smtpd_recipient_limit=10000",
		"smtpd_error_sleep_time=0", "smtpd_soft_error_limit=100000",
		"smtpd_hard_error_limit=100000", "address_verify_map=", "address_verify_poll_count=1",
		"relayhost=["+host+"]:"+port)
	return p, l.runPostfix(cmd, p, dir)
}

func (l *benchLab) runPostfix(cmd *exec.Cmd, p *benchPostfix, dir string) error {
	cmd.Stderr = l.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	l.ends = append(l.ends, func() { _ = stdin.Close(); _ = cmd.Wait() })
	said, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || said != "ready\n" {
		return fmt.Errorf("the script of Postfix says %q: %w", said, err)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "spool/pid/master.pid"))
	if err != nil {
		return err
	}
	p.tree.PID, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	return err
}

// warmUp asks about all recipients until Postfix knows them. It answers 450 at first.
func (p *benchPostfix) warmUp(ctx context.Context, recipients []string) error {
	load := bench.Load{
		Work:    bench.Work{Name: "warm-up", Sessions: 1, Rcpts: 50, NoData: true},
		Address: p.verify, Recipients: recipients, Messages: int64(len(recipients)) / 50,
		Refused: 450,
	}
	for range 10 {
		r := load.Run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Errors == 0 && r.Refused == 0 {
			return nil
		}
		again := time.NewTimer(time.Second)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
	return errors.New("the verify server of Postfix does not get to know the recipients")
}
