package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/mx"
	"github.com/rcptgate/rcptgate/verify/probe"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func randomStage(r *rand.Rand) reply.Stage {
	return pick(r, reply.StageConnect, reply.StageHelo, reply.StageStartTLS, reply.StageMail,
		reply.StageRcpt, reply.StageRcpt, reply.StageRcpt, "")
}

func randomLabel(r *rand.Rand) reply.Label {
	return pick(r, reply.MailboxUnknown, reply.MailboxDisabled, reply.MailboxFull,
		reply.DomainUnknown, reply.Greylisted, reply.RateLimited, reply.BlockedIP,
		reply.BlockedSender, reply.PolicyOther, reply.TooBig, reply.ProtocolError,
		reply.TempOther, reply.Moved, reply.Accepted, "")
}

func randomOutcome(r *rand.Rand) probe.Outcome {
	out := probe.Outcome{
		Stage: randomStage(r), MX: pick(r, "mx.example.com", ""), Connected: r.IntN(2) == 0,
		TLS: r.IntN(2) == 0, Self: r.IntN(8) == 0, NoUTF8: r.IntN(8) == 0,
		ConnectTimeout: r.IntN(8) == 0, LocalLimit: r.IntN(8) == 0,
	}
	if r.IntN(4) > 0 {
		code := pick(r, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452, 500, 501, 521, 530, 550,
			550, 550, 551, 552, 553, 554, 556, 571, 599, 0, 999)
		var e esmtp.EnhancedCode
		if r.IntN(3) > 0 {
			e = esmtp.EnhancedCode{pick(r, 2, 4, 5, 5, code/100), r.IntN(8), r.IntN(12)}
		}
		out.Reply = esmtp.NewReply(code, e, pick(r, "no such user", "", "blocked", "a\nb"))
	}
	if out.Reply.IsZero() || r.IntN(8) == 0 {
		out.Err = pick[error](r, io.ErrUnexpectedEOF, context.DeadlineExceeded, context.Canceled,
			os.ErrDeadlineExceeded, syscall.ECONNREFUSED, &esmtp.ProtocolError{Detail: "x"},
			probe.ErrClosed, &net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, errors.New("x"))
	}
	return out
}

func classOf(out probe.Outcome) reply.Class {
	return reply.Classify(reply.Input{
		Code: out.Reply.Code, Enhanced: out.Reply.Enhanced(), Text: out.Reply.Text(), Stage: out.Stage,
	})
}

// TestJudgeProperties holds the judge to its rules for 100 000 outcomes, half of
// them with a class that no classifier would give.
func TestJudgeProperties(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := map[Reason]int{}
	for range 100_000 {
		out := randomOutcome(r)
		class := classOf(out)
		honest := r.IntN(2) == 0
		if !honest {
			class.Label, class.Proof = randomLabel(r), r.IntN(2) == 0
		}
		got := reading(out, class, now)
		seen[got.Reason]++
		if fault := judgeFault(out, class, honest, got); fault != "" {
			t.Fatalf("seed %d: %s:\noutcome %+v\nclass %+v\nresult %+v", seed, fault, out, class, got)
		}
		if again := reading(out, class, now); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: not a function of its input:\n%+v\n%+v", seed, got, again)
		}
	}
	for _, reason := range []Reason{
		MailboxExists, MailboxUnknown, MailboxDisabled, Moved, DomainUnknown, MailboxFull,
		NoSMTPUTF8, Self, LocalLimit, Closing, Timeout, Unreachable, TLSFailure, ProtocolError,
		Temporary, Greylisted, RateLimited, BlockedIP, BlockedSender, Policy, Unconfirmed,
	} {
		if seen[reason] == 0 {
			t.Errorf("seed %d: %s was never reached", seed, reason)
		}
	}
}

// judgeFault returns which rule a result breaks, "" if none.
func judgeFault(out probe.Outcome, class reply.Class, honest bool, got Result) string {
	e := out.Reply.Enhanced()
	undeliverable := got.Verdict == Undeliverable
	switch {
	case !slices.Contains([]Verdict{Unknown, Deliverable, Undeliverable, Risky}, got.Verdict):
		return "not a verdict"
	case got.Reason == "":
		return "no reason"
	case got.Proof != undeliverable:
		return "proof and undeliverable differ"
	case got.Confidence < 0 || got.Confidence > 1 || got.Deliverability < 0 || got.Deliverability > 1:
		return "not a probability"
	case (got.Confidence == 0) != (got.Verdict == Unknown):
		return "sure of what is not known, or not of what is"
	case undeliverable && out.Reply.Code/100 != 5:
		return "undeliverable without a 5xx"
	case undeliverable && out.Stage != reply.StageRcpt:
		return "undeliverable by a reply that is not to RCPT"
	case undeliverable && (out.Err != nil || out.Reply.IsZero()):
		return "undeliverable by an error"
	case undeliverable && (out.LocalLimit || out.Self):
		return "undeliverable by our own limit, or by ourselves"
	case undeliverable && !class.Proof:
		return "undeliverable without proof"
	case undeliverable && honest && e == (esmtp.EnhancedCode{}) && !strings.Contains(out.Reply.Text(), "user"):
		return "undeliverable by a bare code"
	case undeliverable && honest && e[1] == 7 && !strings.HasPrefix(class.Rule, "ticket/"):
		return "undeliverable by x.7, and no provider is known to say so"
	case got.Verdict == Deliverable && (out.Reply.Code != 250 && out.Reply.Code != 251 || out.Stage != reply.StageRcpt):
		return "deliverable without 250 or 251 to RCPT"
	case got.Verdict == Deliverable && (out.Err != nil || out.NoUTF8 || out.Self || out.LocalLimit):
		return "deliverable in spite of a fault"
	case !got.Expire.IsZero() || got.Cached:
		return "the judge remembers"
	}
	return ""
}

func TestJudgeSet(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		kind    mx.Kind
		verdict Verdict
		reason  Reason
		checked bool
	}{
		{mx.NullMX, Undeliverable, NullMX, true},
		{mx.NXDomain, Undeliverable, DomainUnknown, true},
		{mx.NoHosts, Unknown, NoMailHost, true},
		{mx.Failure, Unknown, DNSFailure, true},
		{mx.Internal, Unknown, InternalDomain, false},
		{mx.Literal, Unknown, NotProbed, false},
		{mx.NotProbed, Unknown, NotProbed, false},
		{mx.Kind(99), Unknown, DNSFailure, true},
	}
	for _, tt := range tests {
		got, ok := judgeSet(mx.Set{Kind: tt.kind}, now)
		if !ok || got.Verdict != tt.verdict || got.Reason != tt.reason || got.Checked.IsZero() == tt.checked {
			t.Errorf("%v: %+v, %t", tt.kind, got, ok)
		}
		if got.Proof != (tt.verdict == Undeliverable) {
			t.Errorf("%v: proof %t", tt.kind, got.Proof)
		}
	}
	if got, ok := judgeSet(mx.Set{Kind: mx.Hosts}, now); ok {
		t.Errorf("hosts to ask are settled: %+v", got)
	}
}

func TestTrim(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, n := range []int{0, 1, 2, 8, 9, 100} {
		r := esmtp.Reply{Code: 550}
		for i := range n {
			r.Lines = append(r.Lines, fmt.Sprint(i, " ", long))
		}
		before := slices.Clone(r.Lines)
		got := trim(r)
		octets := 0
		for _, line := range got.Lines {
			octets += len(line)
		}
		if got.Code != 550 || len(got.Lines) != min(n, keepLines) || octets > keepOctets {
			t.Errorf("%d lines: code %d, %d lines, %d octets", n, got.Code, len(got.Lines), octets)
		}
		if n > 0 && !strings.HasPrefix(got.Lines[len(got.Lines)-1], fmt.Sprint(n-1, " ")) {
			t.Errorf("%d lines: the last is gone", n)
		}
		if !slices.Equal(before, r.Lines) {
			t.Errorf("%d lines: the argument was changed", n)
		}
	}
	short := esmtp.NewReply(550, esmtp.EnhancedCode{5, 1, 1}, "no such user\nsee below")
	if got := trim(short); !reflect.DeepEqual(got, short) {
		t.Errorf("trim(%q) = %q", short, got)
	}
}

func TestLifetimes(t *testing.T) {
	l := lifetimes{
		positiveRefresh: 24 * time.Hour, positiveExpire: 7 * 24 * time.Hour,
		negativeRefresh: time.Hour, negativeExpire: 24 * time.Hour, temporaryExpire: 5 * time.Minute,
	}
	tests := []struct {
		r               Result
		ttl             time.Duration
		refresh, expire time.Duration
	}{
		{because(MailboxExists), 0, 24 * time.Hour, 7 * 24 * time.Hour},
		{because(MailboxUnknown), 0, time.Hour, 24 * time.Hour},
		{because(NullMX), 24 * time.Hour, time.Hour, time.Hour},
		{because(DomainUnknown), time.Minute, time.Minute, time.Minute},
		{Result{Reason: DomainUnknown, MX: "mx.example.com"}, 0, time.Hour, 24 * time.Hour},
		{because(MailboxFull), 0, 3 * time.Hour, 3 * time.Hour},
		{because(AcceptAll), 0, 24 * time.Hour, 7 * 24 * time.Hour},
		{because(Delivered), 0, 24 * time.Hour, 7 * 24 * time.Hour},
		{Result{Reason: MailboxUnknown, Stage: "dot"}, 0, time.Hour, 30 * 24 * time.Hour},
		{because(Busy), 0, 5 * time.Minute, 5 * time.Minute},
		{because(NoSMTPUTF8), 0, 24 * time.Hour, 24 * time.Hour},
		{because(Timeout), 0, 5 * time.Minute, 5 * time.Minute},
		{because(DNSFailure), 0, time.Minute, time.Minute},
	}
	for _, tt := range tests {
		if refresh, expire := l.of(tt.r, tt.ttl); refresh != tt.refresh || expire != tt.expire {
			t.Errorf("%s: %v, %v; want %v, %v", tt.r.Reason, refresh, expire, tt.refresh, tt.expire)
		}
	}
	// What is about us, the sender, or only this moment is never kept by the recipient.
	for _, reason := range []Reason{
		Greylisted, RateLimited, BlockedIP, BlockedSender, LocalLimit, Breaker, BudgetSpent,
		Closing, InternalDomain, NotProbed, OwnAddress, NullSender, Passive, Incident,
	} {
		if refresh, expire := l.of(because(reason), time.Hour); refresh != 0 || expire != 0 {
			t.Errorf("%s: %v, %v", reason, refresh, expire)
		}
	}
}

// TestSweep: what has expired does not stay in memory, whether anybody asks or not.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(Config{Passive: true}, nil, nil)
		held := func() int {
			deliverable, undeliverable, unknown := v.memory.lens()
			return deliverable + undeliverable + unknown +
				v.standing.len()
		}
		rcpt, err := esmtp.ParseAddress("anna@example.com", false)
		if err != nil {
			t.Fatal(err)
		}
		for i, reason := range []Reason{MailboxExists, MailboxUnknown, Timeout, Greylisted, BlockedIP} {
			r := because(reason)
			r.MX = "mx.example.com"
			v.standing.learn("", nil, r, rcpt, rcpt, time.Now())
			refresh, expire := v.settings.Load().lifetimes.of(r, time.Hour)
			v.memory.learn(strconv.Itoa(i), r, refresh, expire, time.Now())
		}
		for _, step := range []struct {
			after time.Duration
			held  int
		}{{0, 5}, {11 * time.Minute, 3}, {10 * time.Minute, 3}, {24 * time.Hour, 1}, {7 * 24 * time.Hour, 0}} {
			time.Sleep(step.after)
			synctest.Wait()
			if n := held(); n != step.held {
				t.Errorf("%v later: %d entries, want %d", step.after, n, step.held)
			}
		}
		if err := v.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
