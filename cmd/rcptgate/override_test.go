package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
)

func TestOverride(t *testing.T) {
	both(t, func(d *desk) {
		known := func(address string) bool {
			s, err := cache.OpenExisting(filepath.Join(d.dir, "verdicts.db"), cache.StoreConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close(t.Context()) }()
			a, err := esmtp.ParseAddress(address, false)
			if err != nil {
				t.Fatal(err)
			}
			key := s.AddressKey(a)
			_, found := s.Get(cache.Verdicts, key[:])
			return found
		}
		s := cache.OpenStore(filepath.Join(d.dir, "verdicts.db"), cache.StoreConfig{})
		for _, name := range []string{"bob@example.com", "eve@example.com", "dan@example.net"} {
			a, err := esmtp.ParseAddress(name, false)
			if err != nil {
				t.Fatal(err)
			}
			key := s.AddressKey(a)
			s.Put(cache.Verdicts, key[:], []byte("verdict"), time.Now().Add(time.Hour))
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.steps([]step{
			{"override list", 0, `^no overrides are in force$`, ``},
			{"override allow", 2, ``, `nothing is named`},
			{"override allow example.com", 2, ``, `"example.com" is no address.*write @example.com, for a provider --provider`},
			{
				"override allow bob@example.com @.example.net --provider google --domain example.org --note by~phone --until 2099-01-01", 0,
				`^bob@example.com: allowed until 2099-01-02.*^@.example.net: .*^@example.org: .*^provider google: `, ``,
			},
			{"override allow eve@example.com", 0, `^eve@example.com: allowed until 20`, ``},
			{"override list", 0, `^bob@example.com +since 20.* until 2099-01-02 .* by phone$.*^@.example.net .*^provider google`, ``},
			{"override list --json", 0, `{"kind":"provider","name":"google","note":"by phone"`, ``},
			{"override revoke bob@example.com x@example.com", 1, `^bob@example.com: revoked$.*^x@example.com: was not allowed$`, `override list`},
			{"override forget Bob@example.com @example.net", 0, `^Bob@example.com: forgotten$.*^@example.net: forgotten$`, ``},
			{"override forget --provider google", 1, ``, `provider google: what is known of a provider cannot be forgotten.*allow it instead`},
			{"override forget @a..b", 2, ``, `error: @a..b: name: a..b is no domain`},
		})
		if !known("bob@example.com") || known("dan@example.net") {
			t.Error("Bob is not bob, and nobody of example.net is known any more")
		}
		d.steps([]step{{"override forget bob@example.com", 0, `forgotten`, ``}})
		if known("bob@example.com") || !known("eve@example.com") {
			t.Error("bob is still known, or eve is not")
		}
	})
}
