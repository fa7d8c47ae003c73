package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/internal/web"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/reply"
)

// places is how many addresses the API may have asked about at a time: mail keeps half of all.
func (s *service) places() int {
	cfg, _, _ := s.health.configuration()
	return max(1, min(cfg.HTTP.MaxVerifications, cfg.Verify.MaxQuestions/2, cfg.Verify.MaxProbes/2))
}

// classifyReply is `rcptgate classify` for the API.
func classifyReply(r web.MailReply) (read web.ReadReply, what, fix string) {
	record := classifyRecord{
		Enhanced: r.Enhanced, Text: r.Text, Stage: r.Stage, Provider: r.Provider,
	}
	if r.Code != 0 {
		record.Code = json.RawMessage(strconv.Itoa(r.Code))
	}
	in, what, fix := record.input()
	if what != "" {
		return read, what, fix
	}
	class := reply.Classify(in)
	return web.ReadReply{
		Label: string(class.Label), Subject: string(class.Subject), Confidence: class.Confidence,
		Rule: class.Rule, Proof: class.Proof, Exists: class.Exists,
		RetryAfter: int(class.Retry.Seconds()),
	}, "", ""
}

// explain is `rcptgate explain` of the gate that runs, with all that it knows.
func (s *service) explain(
	ctx context.Context, tx *policy.Transaction, rcpt esmtp.Rcpt,
) (policy.Decision, string) {
	cfg, _, _ := s.health.configuration()
	tx.Budget = verify.NewBudget(time.Duration(cfg.Verify.TransactionBudget), 0)
	d := s.gate.parts().engine.Explain(ctx, tx, rcpt)
	var text strings.Builder
	printExplanation(&text, cfg, tx, d)
	return d, text.String()
}

// askDrain ends the gate as SIGTERM does. A second one changes nothing.
func (s *service) askDrain(limit time.Duration) {
	select {
	case s.drains <- limit:
	default:
	}
}

// drainLimit is how long open transactions have.
func (s *service) drainLimit() time.Duration {
	if s.within > 0 {
		return s.within
	}
	return time.Duration(s.cfg.Proxy.DrainTimeout)
}
