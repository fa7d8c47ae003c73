package verify_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/rcptgate/rcptgate/internal/mxsim"
	"github.com/rcptgate/rcptgate/verify"
)

// TestAskedIsTold: each asking of a mail server, however it ends; memory and DNS alone are none.
func TestAskedIsTold(t *testing.T) {
	down := site("example.com")
	down.Behaviours = []mxsim.Behaviour{mxsim.Refuse(mxsim.Connect, "554 5.7.1 blocked by zen.spamhaus.org")}
	none := site("example.com")
	none.DNS.NullMX = true
	unreachable := site("example.com")
	unreachable.Hosts[0].State = mxsim.Down
	for _, test := range []struct {
		name string
		site *mxsim.Site
		want []string
	}{
		{"unknown", site("example.com"), []string{"postfix mailbox_unknown"}},
		{"blocked", down, []string{" blocked_ip"}},
		{"null MX", none, nil},
		{"unreachable", unreachable, []string{" unreachable"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			cfg := verify.Config{Asked: func(a verify.Asked) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, a.Provider+" "+a.Result)
				if a.Elapsed < 0 {
					t.Errorf("it took %v", a.Elapsed)
				}
			}}
			inBubble(t, cfg, func(w *world) {
				w.verify("nobody@example.com")
				w.verify("nobody@example.com")
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(got, test.want) {
					w.t.Errorf("told %q, want %q", got, test.want)
				}
			}, test.site)
		})
	}
}
