package main

import (
	"time"

	"github.com/rcptgate/rcptgate/internal/bulk"
	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/esmtp"
)

const (
	// bulkMemory is for verdicts: the journal has them, and each address is asked about once.
	bulkMemory = 8 << 20
	// bulkNames is for DNS answers: a domain's addresses are asked about close together.
	bulkNames = 20_000
	// bulkRetry is when what could not be learnt may be asked again. Nobody's mail waits for it here, so
	// it need not be long.
	bulkRetry = 30 * time.Second
	// bulkLate makes the wait longer than any question takes, so that none is given up before its end.
	bulkLate = 5 * time.Second
)

// bulkConfig is cfg for a list. No client waits, so every question may take the time that it needs.
func bulkConfig(cfg *config.Config) *config.Config {
	c := *cfg
	c.Verify.RcptBudget = c.Verify.ProbeTimeout + config.Duration(bulkLate)
	c.Verify.Cache.Memory = min(c.Verify.Cache.Memory, bulkMemory)
	c.Verify.Cache.TemporaryExpireTime = min(c.Verify.Cache.TemporaryExpireTime, config.Duration(bulkRetry))
	c.Verify.DNS.CacheSize = min(c.Verify.DNS.CacheSize, bulkNames)
	return &c
}

// asker has the verifier answer a list.
func asker(stack *verification, sender esmtp.Address) bulk.Asker {
	a := &bulk.VerifierAsker{
		Verifier: stack.verifier, Sender: sender, Hosts: stack.hosts, Providers: stack.settings.Providers,
	}
	if stack.settings.Passive {
		a.Hosts = nil
	}
	return a
}
