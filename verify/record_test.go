package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify/cache"
	"github.com/rcptgate/rcptgate/verify/reply"
)

func wednesday() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 123_456_789, time.Local) }

func openStore(tb testing.TB, path string) *cache.Store {
	tb.Helper()
	s := cache.OpenStore(path, cache.StoreConfig{FlushEvery: time.Millisecond, ReadLimit: time.Minute})
	if ok, detail := s.Status(); !ok {
		tb.Fatal(detail)
	}
	return s
}

func closeStore(tb testing.TB, s *cache.Store) {
	tb.Helper()
	if err := s.Close(context.Background()); err != nil {
		tb.Error(err)
	}
}

func refusal() Result {
	r := because(MailboxUnknown)
	r.Provider, r.MX, r.Stage, r.Label = "generic", "mx.example.com", reply.StageRcpt, reply.MailboxUnknown
	r.Reply = esmtp.Reply{Code: 550, Lines: []string{"5.1.1 no such mailbox", "5.1.1 see https://example.com/help"}}
	r.Checked = wednesday().Add(-2 * time.Second)
	return r
}

// notKept are the fields of a Result that memory does not keep: they belong to a question. All others
// must survive, in memory and on disk.
func notKept() []string {
	return []string{"Address", "RetryAfter", "Cached", "Elapsed", "Domain", "Delivered", "Steps"}
}

// TestRecordKeepsAll fills every field of a Result, also those that were added since, and looks
// whether it comes back.
func TestRecordKeepsAll(t *testing.T) {
	now := time.Now().Round(0)
	full := Result{}
	v := reflect.ValueOf(&full).Elem()
	for i := range v.NumField() {
		fillField(t, v.Type().Field(i).Name, v.Field(i), now)
	}
	full.Verdict, full.Reason, full.Proof = Risky, MailboxFull, false
	full.Reply = esmtp.Reply{Code: 452, Lines: []string{"4.2.2 over quota", "4.2.2 later"}}
	full.Expire = now.Add(time.Hour)
	want := cache.Entry[Result]{Value: full, Stored: now, Refresh: now.Add(time.Minute), Expire: now.Add(time.Hour)}

	path := filepath.Join(t.TempDir(), "cache")
	store := openStore(t, path)
	m := newMemory(1<<20, store)
	m.put("anna@example.com", want)
	opts := []cmp.Option{
		cmpopts.IgnoreFields(Result{}, notKept()...), cmpopts.EquateApproxTime(time.Millisecond),
		cmpopts.EquateApprox(0, 1e-4), cmpopts.EquateEmpty(), cmp.AllowUnexported(esmtp.Address{}),
	}
	got, ok := m.get("anna@example.com", now)
	if diff := cmp.Diff(want, got, opts...); !ok || diff != "" {
		t.Errorf("in memory: %v, %s", ok, diff)
	}
	closeStore(t, store)

	store = openStore(t, path)
	defer closeStore(t, store)
	m = newMemory(1<<20, store)
	got, ok = m.get("anna@example.com", now)
	opts[1] = cmpopts.EquateApproxTime(1100 * time.Millisecond)
	if diff := cmp.Diff(want, got, opts...); !ok || diff != "" {
		t.Errorf("on disk: %v, %s", ok, diff)
	}
	if m.table.Len(doubtful) != 1 {
		t.Error("not taken into memory from disk")
	}
}

func fillField(t *testing.T, name string, v reflect.Value, now time.Time) {
	t.Helper()
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(now.Add(-3 * time.Second)))
		return
	case time.Duration:
		v.SetInt(int64(time.Minute))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("some_" + strings.ToLower(name))
	case reflect.Float64:
		v.SetFloat(0.75)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Struct: // set by the test, or by its fields
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fillField(t, v.Type().Field(i).Name, v.Field(i), now)
			}
		}
	default:
	}
}

// TestMask: no address in what is kept, and one text for what a server says to all.
func TestMask(t *testing.T) {
	tests := []struct{ local, line, want string }{
		{"anna", "5.1.1 <anna@example.com>: Recipient address rejected", "5.1.1 <...>: Recipient address rejected"},
		{"anna", "5.1.1 <ANNA@Example.COM>... User unknown", "5.1.1 <...>... User unknown"},
		{"anna", "5.1.1 User anna unknown, sorry anna", "5.1.1 User ... unknown, sorry ..."},
		{"anna", "5.1.1 susanna anna2 annals", "5.1.1 susanna anna2 annals"},
		{"user", "5.1.1 no such user here", "5.1.1 no such user here"},
		{"user", "5.1.1 no user@example.com", "5.1.1 no ..."},
		{"j.doe+x", "5.1.1 (j.doe+x) not found", "5.1.1 (...) not found"},
		{"", "2.1.5 ok", "2.1.5 ok"},
		{"anna", "2.1.5 OK p13-20020a056a0026cd00b0069323619f66si1234567pfw.12 - gsmtp", "2.1.5 OK ... - gsmtp"},
		{"anna", "2.0.0 Ok: queued as 4bXy2Z1c9D", "2.0.0 Ok: queued as ..."},
		{"anna", "blocked, see https://example.com/q?ip=192.0.2.1234567", "blocked, see https://example.com/q?ip=192.0.2.1234567"},
		{"anna", "5.7.1 [192.0.2.115] listed by dnsbl.example.net", "5.7.1 [192.0.2.115] listed by dnsbl.example.net"},
		{"anna", "by mx0012345.example.net at 8:00", "by mx0012345.example.net at 8:00"},
	}
	for _, tt := range tests {
		if got := maskLine(tt.line, tt.local, "example.com"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.local, got, tt.want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("anna", "5.1.1 <anna@example.com> anna", "example.com")
	f.Add("é", "\xff é@É \xc3", "É")
	f.Fuzz(func(t *testing.T, local, line, domain string) {
		got := maskLine(line, local, domain)
		if local != "" && domain != "" && !strings.Contains(blank, local) &&
			strings.Contains(strings.ReplaceAll(got, blank, "\x00"), local+"@"+domain) &&
			!strings.Contains(local+domain, "\x00") {
			t.Errorf("%q: the address %s@%s is still there", got, local, domain)
		}
		if len(got) > len(line)+len(line)*len(blank) {
			t.Errorf("grew from %d to %d", len(line), len(got))
		}
	})
}

// FuzzDisk: what stands on a disk is read without a fault, and what was written comes back.
func FuzzDisk(f *testing.F) {
	r := refusal()
	k := keyOfSaid(&r, r.Reply)
	f.Add(k.disk())
	e := cache.Entry[Result]{Value: r, Stored: wednesday(), Refresh: wednesday(), Expire: wednesday()}
	rec := newRecord(&e)
	f.Add(rec.disk(wordsHash{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, ok := parseSaid(b); ok {
			again, ok := parseSaid(k.disk())
			if !ok || again != k {
				t.Errorf("%+v became %+v", k, again)
			}
			if k.verdict != Deliverable && k.verdict != Undeliverable && k.verdict != Risky {
				t.Errorf("verdict %q", k.verdict)
			}
		}
		if r, h, ok := parseDisk(b, wednesday()); ok {
			again, h2, ok := parseDisk(r.disk(h), wednesday())
			if !ok || again != r || h2 != h {
				t.Errorf("%+v became %+v", r, again)
			}
		}
	})
}

// TestWordsAreBounded: texts that are all different are kept without them in the end, the verdicts
// stay, and what leaves gives its room back.
func TestWordsAreBounded(t *testing.T) {
	m := newMemory(1<<20, nil)
	r := refusal()
	for i := range 20_000 {
		r.MX = "mx" + strconv.Itoa(i) + ".example.com"
		r.Reply.Lines[0] = strings.Repeat(strconv.Itoa(i)+" ", 100)
		m.learn(strconv.Itoa(i)+"@example.com", r, time.Hour, 24*time.Hour, wednesday())
	}
	w := &m.words[negative]
	if w.bytes > w.most+2*saidCost || w.bytes < w.most/2 {
		t.Errorf("%d octets of words, bound %d", w.bytes, w.most)
	}
	e, ok := m.get("19999@example.com", wednesday())
	if !ok || e.Value.Verdict != Undeliverable || !e.Value.Proof || e.Value.Reply.Code != 550 {
		t.Errorf("%v, %+v", ok, e.Value)
	}
	m.sweep(wednesday().Add(25 * time.Hour))
	if w.bytes != 0 || len(w.table) != 0 {
		t.Errorf("%d octets, %d words left of nothing", w.bytes, len(w.table))
	}
}

// TestGarbage: 20 000 addresses that do not exist take little memory and push out nothing that is
// known, neither in memory nor on disk.
func TestGarbage(t *testing.T) {
	store := openStore(t, filepath.Join(t.TempDir(), "cache"))
	defer closeStore(t, store)
	m := newMemory(16<<20, store)
	good := because(MailboxExists)
	good.MX = "mx.example.com"
	const known = 40_000
	for i := range known {
		m.learn("good"+strconv.Itoa(i)+"@example.com", good, 24*time.Hour, 7*24*time.Hour, time.Now())
	}
	if n := m.table.Len(positive); n != known {
		t.Fatalf("%d of %d are in memory", n, known)
	}
	before := heap()
	bad, temporary := refusal(), because(Timeout)
	for i := range 20_000 {
		bad.Reply.Lines[0] = "5.1.1 no garbage" + strconv.Itoa(i)
		m.learn("bad"+strconv.Itoa(i)+"@example.com", bad, time.Hour, 24*time.Hour, time.Now())
		m.learn("tmp"+strconv.Itoa(i)+"@example.com", temporary, time.Minute, 5*time.Minute, time.Now())
	}
	if grown := int64(heap()) - int64(before); grown > 20<<20 {
		t.Errorf("grown by %d octets", grown)
	}
	if n := m.table.Len(positive); n != known {
		t.Errorf("%d of %d are left", n, known)
	}
	runtime.KeepAlive(m)
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestMemorySurvives: a verdict outlives the process with its times, and the right to refuse by it; a
// contradiction goes to the disk too; what is temporary does not.
func TestMemorySurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	now := time.Now().Truncate(time.Second)
	store := openStore(t, path)
	m := newMemory(1<<20, store)
	for _, name := range []string{"gone", "forgotten", "contradicted"} {
		m.learn(name+"@example.com", refusal(), time.Hour, 24*time.Hour, now)
	}
	m.learn("anna@example.com", because(MailboxExists), 24*time.Hour, 7*24*time.Hour, now)
	m.learn("anna@example.org", because(MailboxExists), 24*time.Hour, 7*24*time.Hour, now)
	m.learn("slow@example.com", because(Timeout), time.Minute, time.Hour, now)
	m.forget("forgotten@example.com")
	contradiction := because(Temporary)
	contradiction.Stage, contradiction.Reply = reply.StageRcpt, esmtp.Reply{Code: 450, Lines: []string{"later"}}
	m.learn("contradicted@example.com", contradiction, time.Minute, 5*time.Minute, now)
	closeStore(t, store)

	store = openStore(t, path)
	m = newMemory(1<<20, store)
	for key, want := range map[string]Verdict{
		"gone@example.com": Undeliverable, "anna@example.com": Deliverable, "anna@example.org": Deliverable,
		"forgotten@example.com": "", "contradicted@example.com": "", "slow@example.com": "",
	} {
		e, ok := m.get(key, now.Add(time.Minute))
		if ok != (want != "") || e.Value.Verdict != want {
			t.Errorf("%s: %v, %s", key, ok, e.Value.Verdict)
		}
	}
	e, _ := m.get("gone@example.com", now)
	if !e.Value.Proof || e.Value.MX != "mx.example.com" || len(e.Value.Reply.Lines) != 2 ||
		!e.Stored.Equal(now) || !e.Refresh.Equal(now.Add(time.Hour)) || !e.Expire.Equal(now.Add(24*time.Hour)) {
		t.Errorf("%+v", e)
	}
	m.forgetDomain("example.com")
	closeStore(t, store)

	store = openStore(t, path)
	defer closeStore(t, store)
	for _, m := range []*memory{m, newMemory(1<<20, store)} {
		if _, ok := m.get("anna@example.com", now); ok {
			t.Error("the erased domain is known")
		}
		if _, ok := m.get("anna@example.org", now); !ok {
			t.Error("the other domain is gone")
		}
	}
}

// TestNewFile: when a new file has taken the place of the old one, words that were in that are written
// again.
func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	store := openStore(t, path)
	m := newMemory(1<<20, store)
	learn := func(key string) {
		m.learn(key, refusal(), time.Hour, 24*time.Hour, time.Now())
		for store.Stats().Pending > 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
	}
	learn("a@example.com")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	learn("b@example.com")
	if n := store.Generation(); n != 2 {
		t.Errorf("generation %d", n)
	}
	learn("c@example.com")
	closeStore(t, store)
	store = openStore(t, path)
	defer closeStore(t, store)
	if e, ok := newMemory(1<<20, store).get("c@example.com", time.Now()); !ok || e.Value.MX != "mx.example.com" {
		t.Errorf("%v, %+v", ok, e)
	}
}

func fillMemory(m *memory, n int) (keys []string) {
	keys = make([]string, n)
	now := time.Now()
	r := because(MailboxExists)
	r.Stage, r.Label = reply.StageRcpt, reply.Accepted
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@d%d.example.com", i, i%20_000)
		r.MX, r.Checked = fmt.Sprintf("mx%d.example.net", i%10_000), now
		r.Reply = esmtp.Reply{Code: 250, Lines: []string{"2.1.5 Ok " + strconv.Itoa(i%10_000)}}
		m.learn(keys[i], r, 24*time.Hour, 7*24*time.Hour, now)
	}
	return keys
}

// BenchmarkCachedVerdict is one of a million verdicts from memory, asked for by 64 goroutines.
func BenchmarkCachedVerdict(b *testing.B) {
	m := newMemory(280<<20, nil)
	keys := fillMemory(m, 1_000_000)
	if n := m.table.Len(positive); n != len(keys) {
		b.Fatalf("%d are in memory", n)
	}
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		now := time.Now()
		var e cache.Entry[Result]
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		for pb.Next() {
			if !m.read(keys[r.IntN(len(keys))], now, &e) || e.Value.Verdict != Deliverable {
				b.Error("not known")
			}
		}
	})
}

// BenchmarkMemoryPerEntry is what a cached verdict takes, without and with its share of the words.
func BenchmarkMemoryPerEntry(b *testing.B) {
	for b.Loop() {
		before := heap()
		m := newMemory(250<<20, nil)
		keys := fillMemory(m, 1_000_000)
		words := int64(0)
		for i := range m.words {
			words += int64(m.words[i].bytes)
		}
		clear(keys)
		all := int64(heap()) - int64(before)
		n := m.table.Len(positive)
		b.ReportMetric(float64(all)/float64(n), "octets/entry")
		b.ReportMetric(float64(words)/float64(n), "words/entry")
		b.ReportMetric(float64(n), "entries")
		runtime.KeepAlive(m)
	}
}

// BenchmarkLearn is a verdict that is put into memory.
func BenchmarkLearn(b *testing.B) {
	m := newMemory(64<<20, nil)
	r := refusal()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.learn("user"+strconv.Itoa(i%200_000)+"@example.com", r, time.Hour, 24*time.Hour, wednesday())
	}
}
