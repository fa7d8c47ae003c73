package main

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/config"
	"github.com/rcptgate/rcptgate/internal/durable"
	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/policy/journal"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// TestWhy asks for decisions that a gate has made, while it runs and afterwards.
func TestWhy(t *testing.T) {
	d := newDesk(t)
	cfg, err := config.Load(d.config)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := journal.Open(cfg.JournalConfig(nil), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	to, err := esmtp.ParseAddress("bob@example.net", false)
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range []string{"KX2M7QRT", "AAAAAAAA"} {
		decision := &policy.Decision{
			Recipient: to, Action: policy.Reject, Rule: "no such mailbox", Ref: ref,
			Reply: esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no mailbox (ref "+ref+")"),
		}
		reply := decision.Reply
		if i == 1 {
			decision.Action, decision.Shadow, decision.ShadowReply = policy.Accept, policy.Reject, reply
			reply = esmtp.NewReply(250, esmtp.EnhancedCode{2, 1, 5}, "Ok")
		}
		entries.Decision(&policy.Transaction{Session: "S", ID: ref}, decision, reply, i == 1)
	}
	if err := entries.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := []step{
		{"why KX2M7QRT", 0, `KX2M7QRT.*What to do`, ``},
		{"why (ref~kx2m7qrt)", 0, `KX2M7QRT`, ``},
		{"why ref kx2m7qrt", 0, `KX2M7QRT`, ``},
		{"why --json KX2M7QRT", 0, `^{"entry":{"v":1,.*"ref":"KX2M7QRT".*"transaction":\[`, ``},
		{"why", 2, ``, `no reference given`},
		{"why ../status", 1, ``, `no decision has the reference /STATUS`},
		{"report", 0, `^2 decisions.*no such mailbox`, ``},
		{"report --shadow --csv", 0, `^rule,no such mailbox,1,1,1,0,1.0000,1.0000`, ``},
		{"report --since 2020-01-01 --json", 0, `"total":{"decided":2,"rejected":2,"deferred":0}`, ``},
		{"report --since 2099-01-01", 0, `^No decisions in this time`, `note: The journal has no file of this time`},
		{"report --since never", 2, ``, `neither a time span nor a day`},
		{"report --csv --json", 2, ``, `both given`},
	}
	d.steps(append(list, step{
		"why NOSUCH77", 1, ``, `no decision has the reference NOSUCH77; no gate runs, so only the journal's files.*policy.journal.path`,
	}))
	stop := d.open()
	defer stop()
	d.steps(append(list, step{"why NOSUCH77", 1, ``, `no decision has the reference NOSUCH77$.*hint: compare`}))
}

func TestSendersCommand(t *testing.T) {
	d := newDesk(t)
	dir, err := durable.Open(d.state())
	if err != nil {
		t.Fatal(err)
	}
	table, err := senders.New(senders.Config{Hygiene: senders.Hygiene{Mode: "enforce"}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 200 {
		id := senders.Identity{Login: "news", SenderDomain: "example.com", Client: "192.0.2.1"}
		table.Take(id, true, now)
		table.Checked(id, fmt.Sprintf("r%d@example.org", i), true, now)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	list := []step{
		{"senders frob", 2, ``, `rcptgate senders has no "frob"`},
		{"senders --state bad", 2, ``, `state: bad is none`},
		{"senders --state ok", 0, `^no senders are known$`, ``},
		{"senders --limit 0", 2, ``, `1 to 1000`},
		{"senders", 0, `^SENDER .*^login:news +hold +\d+ +\d+ +\d+ +100.0 %`, ``},
		{"senders list --json --state hold", 0, `^{"key":"login:news","login":"news","state":"hold"`, ``},
		{"senders release nobody", 1, ``, `nobody is not known as a sender`},
		{"senders release", 2, ``, `no sender given`},
	}
	stop := d.open()
	d.steps(list)
	stop()
	d.steps(append(list, step{"senders release news", 0, `^news: released$`, ``}))
	d.steps([]step{{"senders list --state hold", 0, `^no senders are known$`, ``}})
}
