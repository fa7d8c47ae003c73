package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzConfig: whatever the file holds, Parse returns a configuration or faults that each have a
// place in the file, a problem, and fit on one line of a terminal.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, seed := range []string{
		"", "[proxy]\nlisten = [\"x\"]\n", "a = {b = {c = []}}", "[[policy.rules]]\nwhen = '''\na'''\n",
		"policy.rules = [{}, {name = 1}]", "[proxy]\n[proxy]", "verify.dns.servers = [[1]]",
		"[verify]\nrcpt_budget = \"99999w\"", "[policy.rules.x]\n", "[[proxy.listen]]\na=1",
		"\"\\u0000\" = 1", "x = 1979-05-27T07:32:00Z", "[verify]\nhelo = \"\\u001b[31m\"",
		"[[policy.rules]]\n[[policy.rules.when]]\nx = 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse("f", []byte(text))
		if err == nil {
			if cfg == nil {
				t.Fatal("neither configuration nor error")
			}
			checkUsable(t, cfg)
			return
		}
		faults, ok := errors.AsType[Errors](err)
		if !ok || len(faults) == 0 || cfg != nil {
			t.Fatalf("error of type %T: %v", err, err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > lines || fault.Column < 1 || fault.Problem == "" {
				t.Errorf("fault at %d:%d of %d lines: %q", fault.Line, fault.Column, lines, fault)
			}
			for _, r := range fault.Error() {
				if r < ' ' || r == 0x7f || r == 0x9b {
					t.Errorf("control character in %q", fault.Error())
				}
			}
		}
	})
}

// checkUsable holds what every accepted configuration promises to the packages.
func checkUsable(t *testing.T, cfg *Config) {
	t.Helper()
	if len(cfg.Proxy.Listen) == 0 || len(cfg.Relay.Upstreams) == 0 {
		t.Error("no listener or no relay")
	}
	if cfg.Verify.RcptBudget > cfg.Verify.TransactionBudget ||
		cfg.Verify.RcptBudget+cfg.Relay.Timeout >= cfg.Proxy.ReplyLimit {
		t.Error("the order of the budgets is wrong")
	}
	if _, err := cfg.VerifyConfig(nil); err != nil {
		t.Error(err)
	}
	for _, warning := range cfg.Warnings() {
		if warning.Line < 1 || warning.Fix == "" {
			t.Errorf("warning without place or fix: %q", warning)
		}
	}
	for _, endpoint := range cfg.Proxy.Listen {
		if !endpoint.Loopback() && !cfg.IsSet("proxy.client_networks") {
			t.Errorf("%s is open", endpoint)
		}
	}
}
