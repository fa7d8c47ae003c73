package senders

import (
	"maps"
	"testing"
	"time"
)

func TestList(t *testing.T) {
	cfg := enforce()
	cfg.Limits = []Limit{{Name: "a", Per: "client", Recipients: []string{"1000/hour"}}}
	table := newTable(t, cfg)
	now := start().Add(30 * time.Hour)
	by := func(name string) Identity { return Identity{Login: name, Client: "192.0.2.1"} }
	for range 3 {
		table.Take(by("busy"), true, now)
	}
	table.Take(by("calm"), true, now)
	check(table, by("worst"), "a", 15, 60, now)
	for _, name := range []string{"bad", "good"} {
		check(table, by(name), "g", 0, 54, now)
	}
	check(table, by("bad"), "b", 6, 6, now)
	check(table, by("warned"), "g", 0, 45, now)
	check(table, by("warned"), "b", 5, 5, now)
	check(table, by("some"), "b", 2, 2, now)

	list := table.List(now, 0)
	want := []struct {
		login string
		state State
	}{
		{"worst", StateHold},
		{"bad", StateThrottle},
		{"warned", StateWarn},
		{"some", StateOK},
		{"busy", StateOK},
		{"calm", StateOK},
		{"good", StateOK},
	}
	if len(list) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i, st := range list {
		if st.Login != want[i].login || st.State != want[i].state || st.Key != "login:"+st.Login {
			t.Errorf("%d: %s, %s; want %v", i, st.Login, st.State, want[i])
		}
	}
	bad := list[1]
	if bad.Day != bad.Hour || bad.Hour.Recipients != 60 || bad.Hour.Invalid != 6 ||
		bad.Hour.Share != 0.1 || bad.Hour.Surely < 0.0525 || bad.Hour.Surely > 0.0527 ||
		bad.Invalid != 0.1 || bad.InvalidHour != 6 ||
		!bad.Since.Equal(now) || !bad.Until.Equal(now.Add(time.Hour)) || !bad.Active.Equal(now) ||
		bad.Why != "6 of 60 recipients in the last hour are invalid, surely more than 5.3 %" {
		t.Errorf("%+v", bad)
	}
	if busy := list[4]; busy.MessagesMinute != 3 || busy.RecipientsDay != 3 || !busy.Since.IsZero() {
		t.Errorf("%+v", busy)
	}
	if cut := table.List(now, 2); len(cut) != 2 || cut[1].Login != "bad" {
		t.Errorf("%+v", cut)
	}
	wantStates := map[State]int{StateOK: 4, StateWarn: 1, StateThrottle: 1, StateHold: 1}
	if got := table.States(); !maps.Equal(got, wantStates) {
		t.Errorf("%v", got)
	}

	// Two hours later the trial has begun, and the hour is empty.
	now = now.Add(2 * time.Hour)
	table.Take(by("worst"), true, now)
	check(table, by("worst"), "t", 1, 4, now)
	worst := table.List(now, 1)[0]
	if !worst.Trial || worst.TrialChecked != 4 || worst.TrialFailed != 1 || !worst.Until.IsZero() ||
		worst.Hour.Recipients != 4 || worst.Day.Recipients != 64 || worst.State != StateHold {
		t.Errorf("%+v", worst)
	}
	table.Release("worst", now)
	for _, st := range table.List(now, 0) {
		if st.Login == "worst" && (st.State != StateOK || !st.Grace.Equal(now.Add(time.Hour)) || st.Trial) {
			t.Errorf("%+v", st)
		}
	}
}
