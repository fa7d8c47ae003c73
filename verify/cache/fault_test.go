package cache_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rcptgate/rcptgate/verify/cache"
)

// A fault that is not caught ends the process, so the worst is done to a child: the test binary
// itself, which runs one test with this variable set to a directory.
const childVar = "RCPTGATE_CACHE_TEST_DIR"

// inChild runs the test in a process of its own. It returns the directory to work in there, and ""
// in the parent, which has seen the child do well then.
func inChild(t *testing.T) (dir string) {
	t.Helper()
	if dir = os.Getenv(childVar); dir != "" {
		return dir
	}
	cmd := child(t, t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("did not run:\n%s", out)
	}
	return ""
}

func child(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), childVar+"="+dir)
	return cmd
}

// use reads and writes from several goroutines until stop is closed. Whatever is read must be what was
// written.
func use(t *testing.T, s *cache.Store, n int, stop <-chan struct{}) *sync.WaitGroup {
	t.Helper()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := r.IntN(n)
				if v, ok := s.Get(cache.Verdicts, key(i)); ok && string(v) != fmt.Sprintf("value %d", i) {
					t.Errorf("value %d is %q", i, v)
				}
				if r.IntN(10) == 0 {
					s.Put(cache.Verdicts, key(i), fmt.Appendf(nil, "value %d", i), inAnHour())
				}
			}
		})
	}
	return &wg
}

// TestBrokenWhileOpen: a file that is cut or garbled under a Store that is in use is put aside, a new
// one is begun, and nobody sees a value that was never written.
func TestBrokenWhileOpen(t *testing.T) {
	dir := inChild(t)
	if dir == "" {
		return
	}
	const n = 5000
	damages := map[string]func(f *os.File, size int64) error{
		"cut to nothing":  func(f *os.File, _ int64) error { return f.Truncate(0) },
		"cut to one page": func(f *os.File, _ int64) error { return f.Truncate(4096) },
		"cut in a page":   func(f *os.File, size int64) error { return f.Truncate(size/2 + 77) },
		"zeros":           func(f *os.File, size int64) error { return overwrite(f, 0, make([]byte, size)) },
		"zeros but metas": func(f *os.File, size int64) error { return overwrite(f, 8192, make([]byte, size-8192)) },
		"noise":           func(f *os.File, size int64) error { return overwrite(f, 0, noise(size, 1)) },
		"noise but metas": func(f *os.File, size int64) error { return overwrite(f, 8192, noise(size-8192, 2)) },
		"noise in odd pages": func(f *os.File, size int64) error {
			for at := int64(4096 * 3); at < size; at += 8192 {
				if err := overwrite(f, at, noise(4096, uint64(at))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			var log logged
			s := cache.OpenStore(path, quick(&log))
			fill(t, s, n)
			stop := make(chan struct{})
			users := use(t, s, n, stop)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err == nil {
				err = damage(f, info.Size())
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			await(t, "the file is put aside", func() bool {
				aside, _ := filepath.Glob(path + ".corrupt-*")
				return len(aside) == 1
			})
			await(t, "a new one is in use", func() bool { ok, _ := s.Status(); return ok })
			close(stop)
			users.Wait()
			fill(t, s, n)
			for i := range n {
				if !has(s, i) {
					t.Fatalf("value %d is not in the new file", i)
				}
			}
			if !strings.Contains(log.String(), "renamed_to=") {
				t.Errorf("log: %s", &log)
			}
			closeStore(t, s)
		})
	}
}

func overwrite(f *os.File, at int64, b []byte) error {
	_, err := f.WriteAt(b, at)
	return err
}

func noise(n int64, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestGarbledAtRest: whatever a file has become while nobody used it, the Store opens, says only what
// was written, takes what comes, and keeps it.
func TestGarbledAtRest(t *testing.T) {
	dir := inChild(t)
	if dir == "" {
		return
	}
	const n = 2000
	path := filepath.Join(dir, "cache")
	s := cache.OpenStore(path, patient())
	fill(t, s, n)
	for i := range n / 2 {
		s.Delete(cache.Verdicts, key(2*i)) // for free pages
	}
	await(t, "written", func() bool { return s.Stats().Pending == 0 })
	fill(t, s, n)
	closeStore(t, s)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	lost := 0
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 5))
		bad := bytes.Clone(good)
		garble(r, &bad)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var log logged
		s := cache.OpenStore(path, quick(&log))
		for i := range n {
			v, ok := s.Get(cache.Verdicts, key(i))
			if ok && string(v) != fmt.Sprintf("value %d", i) {
				t.Errorf("round %d: value %d is %q", round, i, v)
			}
			if !ok {
				lost++
			}
		}
		s.Range(cache.Verdicts, nil, func(k, v []byte, _ time.Time) bool {
			if !bytes.HasPrefix(v, []byte("value ")) || !bytes.HasPrefix(k, []byte("domain")) {
				t.Errorf("round %d: %q = %q", round, k, v)
			}
			return true
		})
		for i := range 20 {
			s.Put(cache.Sites, key(i), []byte("new"), inAnHour())
		}
		await(t, "written", func() bool { return s.Stats().Pending == 0 })
		if _, ok := s.Get(cache.Sites, key(1)); !ok {
			t.Errorf("round %d: what was put is not there; log: %s", round, &log)
		}
		closeStore(t, s)
	}
	t.Logf("%d of %d values lost", lost, rounds*n)
}

func garble(r *rand.Rand, b *[]byte) {
	for range 1 + r.IntN(4) {
		size := len(*b)
		at := r.IntN(size)
		switch r.IntN(6) {
		case 0: // one octet
			(*b)[at] ^= byte(1 + r.IntN(255))
		case 1: // the header of a page
			page := at / 4096 * 4096
			for i := range 16 {
				if r.IntN(3) == 0 {
					(*b)[page+i] = byte(r.Uint32())
				}
			}
		case 2: // a page
			page := at / 4096 * 4096
			copy((*b)[page:], noise(4096, r.Uint64()))
		case 3: // one page over another
			from, to := at/4096*4096, r.IntN(size)/4096*4096
			copy((*b)[to:], (*b)[from:from+4096])
		case 4: // the first element of a page
			page := at / 4096 * 4096
			copy((*b)[page+16:], noise(16, r.Uint64()))
		case 5: // cut
			*b = (*b)[:max(1, at)]
		}
	}
}

// TestKill: what a process had written is there after it was killed, at whatever moment.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childVar); dir != "" {
		writeForEver(t, filepath.Join(dir, "cache"))
		return
	}
	dir := t.TempDir()
	for round := range 4 {
		cmd := child(t, dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err = cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := 0
		in := bufio.NewScanner(out)
		for in.Scan() {
			if n, ok := strings.CutPrefix(in.Text(), "written "); ok {
				acked, _ = strconv.Atoi(n)
			}
			if acked > 200+100*round {
				break
			}
		}
		if err = cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		var log logged
		s := cache.OpenStore(filepath.Join(dir, "cache"), quick(&log))
		if ok, detail := s.Status(); !ok || log.String() != "" {
			t.Fatalf("%s; log: %s", detail, &log)
		}
		for i := range acked {
			if !has(s, i) {
				t.Errorf("round %d: value %d of %d is gone", round, i, acked)
			}
		}
		closeStore(t, s)
	}
}

func writeForEver(t *testing.T, path string) {
	t.Helper()
	s := cache.OpenStore(path, cache.StoreConfig{FlushEvery: time.Microsecond})
	for i := 0; t.Context().Err() == nil; i++ {
		s.Put(cache.Verdicts, key(i), fmt.Appendf(nil, "value %d", i), inAnHour())
		if i%7 == 0 {
			await(t, "written", func() bool { return s.Stats().Pending == 0 })
			fmt.Fprintf(os.Stdout, "written %d\n", i)
		}
	}
}

// TestLocked: a second process runs without the file, says so, and takes it over when it is free.
func TestLocked(t *testing.T) {
	path := tempPath(t)
	first := cache.OpenStore(path, patient())
	synctest.Test(t, func(t *testing.T) {
		var log logged
		second := cache.OpenStore(path, quick(&log))
		defer closeStore(t, second)
		second.Put(cache.Verdicts, key(1), []byte("value 1"), inAnHour())
		time.Sleep(time.Minute)
		if ok, detail := second.Status(); ok || !strings.Contains(detail, "another process") {
			t.Errorf("Status: %v, %s", ok, detail)
		}
		if !has(second, 1) {
			t.Error("does not remember what waits")
		}
		if n := strings.Count(log.String(), "another process"); n != 1 {
			t.Errorf("logged %d times: %s", n, &log)
		}
		if second.SecretID() != first.SecretID() {
			t.Error("other keys")
		}
		closeStore(t, first)
		time.Sleep(10 * time.Second)
		if ok, detail := second.Status(); !ok || second.Stats().Entries[cache.Verdicts] != 1 {
			t.Errorf("Status: %v, %s, %+v", ok, detail, second.Stats())
		}
		if !strings.Contains(log.String(), "in use again") {
			t.Errorf("log: %s", &log)
		}
	})
	if _, err := cache.OpenExisting(path+"x", patient()); err == nil {
		t.Error("opened what is not there")
	}
}

// TestNotOurs: what is no cache is not touched.
func TestNotOurs(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "main.cf")
	if err := os.WriteFile(text, bytes.Repeat([]byte("myhostname = gate.example.com\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, dir, filepath.Join(dir, "missing", "cache"), "/proc/self/cache"} {
		var log logged
		s := cache.OpenStore(path, quick(&log))
		s.Put(cache.Verdicts, key(1), []byte("value 1"), inAnHour())
		if !has(s, 1) {
			t.Errorf("%s: does not work without its file", path)
		}
		ok, detail := s.Status()
		if ok || !strings.Contains(log.String(), "fix=") {
			t.Errorf("%s: %v, %s; log: %s", path, ok, detail, &log)
		}
		t.Log(detail)
		closeStore(t, s)
	}
	if b, err := os.ReadFile(text); err != nil || !bytes.HasPrefix(b, []byte("myhostname")) || len(b) != 30_000 {
		t.Errorf("changed: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(names) > 0 {
		t.Errorf("renamed: %v", names)
	}
}

// TestNewerFile: a file of a later version is put aside whole; a value of a later version is only not
// known, and stays.
func TestNewerFile(t *testing.T) {
	path := tempPath(t)
	s := cache.OpenStore(path, patient())
	fill(t, s, 3)
	closeStore(t, s)
	err := cache.EditValue(path, cache.Verdicts, key(1), func(b []byte) []byte { b[0] = 200; return b })
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	s = cache.OpenStore(path, quick(&log))
	if has(s, 1) || !has(s, 2) || s.Stats().Garbled != 0 || log.String() != "" {
		t.Errorf("a newer value: %v, %v; log: %s", has(s, 1), has(s, 2), &log)
	}
	s.Put(cache.Verdicts, key(1), []byte("value 1"), inAnHour())
	if !has(s, 1) {
		t.Error("cannot be replaced")
	}
	closeStore(t, s)

	if err = cache.SetFileVersion(path, cache.FileVersion+1); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.OpenExisting(path, patient()); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("OpenExisting: %v", err)
	}
	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	aside, _ := filepath.Glob(path + ".newer-*")
	if ok, _ := s.Status(); !ok || len(aside) != 1 || has(s, 2) {
		t.Errorf("%v, put aside: %v", ok, aside)
	}
}

// TestGarbledValue: a value that is not what was written is not known, and goes.
func TestGarbledValue(t *testing.T) {
	path := tempPath(t)
	s := cache.OpenStore(path, patient())
	fill(t, s, 300)
	closeStore(t, s)
	for i := range 10 {
		err := cache.EditValue(path, cache.Verdicts, key(i), func(b []byte) []byte { b[len(b)-1-i%8] ^= 4; return b })
		if err != nil {
			t.Fatal(err)
		}
	}
	// A value under another key, whole in itself.
	var other []byte
	_ = cache.EditValue(path, cache.Verdicts, key(20), func(b []byte) []byte { other = bytes.Clone(b); return b })
	_ = cache.EditValue(path, cache.Verdicts, key(10), func([]byte) []byte { return other })
	var log logged
	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	for i := range 300 {
		if has(s, i) != (i > 10) {
			t.Errorf("value %d: %v", i, has(s, i))
		}
	}
	await(t, "they are gone", func() bool { return s.Stats().Entries[cache.Verdicts] == 289 })
	if n := strings.Count(log.String(), "wrong checksum"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
}

// TestSecretIsLost: nothing can be found any more, so a new cache is begun.
func TestSecretIsLost(t *testing.T) {
	path := tempPath(t)
	s := cache.OpenStore(path, patient())
	fill(t, s, 3)
	closeStore(t, s)
	if err := os.Remove(cache.SecretPath(path)); err != nil {
		t.Fatal(err)
	}
	var log logged
	s = cache.OpenStore(path, quick(&log))
	aside, _ := filepath.Glob(path + ".other-secret-*")
	if ok, _ := s.Status(); !ok || len(aside) != 1 || s.Stats().Entries[cache.Verdicts] != 0 {
		t.Errorf("%v, put aside: %v", ok, aside)
	}
	closeStore(t, s)

	if err := os.WriteFile(cache.SecretPath(path), []byte("no secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	if ok, detail := s.Status(); ok || !strings.Contains(detail, "restore it") {
		t.Errorf("Status: %v, %s", ok, detail)
	}
}

// TestRemovedWhileOpen: who removes the file of a running gate gets a new one.
func TestRemovedWhileOpen(t *testing.T) {
	path := tempPath(t)
	var log logged
	s := cache.OpenStore(path, quick(&log))
	fill(t, s, 10)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.Put(cache.Verdicts, key(20), []byte("value 20"), inAnHour())
	await(t, "it is written to a new file", func() bool {
		_, err := os.Stat(path)
		return err == nil && s.Stats().Pending == 0
	})
	closeStore(t, s)
	s = cache.OpenStore(path, quick(&log))
	defer closeStore(t, s)
	if !has(s, 20) || has(s, 5) || !strings.Contains(log.String(), "removed or replaced") {
		t.Errorf("has it %v, the old %v; log: %s", has(s, 20), has(s, 5), &log)
	}
}

// TestFewAreKeptAside: files that are garbled again and again do not fill the disk.
func TestFewAreKeptAside(t *testing.T) {
	path := tempPath(t)
	for range 5 {
		s := cache.OpenStore(path, patient())
		closeStore(t, s)
		if err := os.WriteFile(path, noise(8192, 1), 0o600); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Millisecond) // they are named by the millisecond
	}
	closeStore(t, cache.OpenStore(path, patient()))
	if aside, _ := filepath.Glob(path + ".corrupt-*"); len(aside) != cache.KeepAside {
		t.Errorf("kept aside: %v", aside)
	}
}

// TestSizeIsBounded: a full file forgets what expires first, and goes on.
func TestSizeIsBounded(t *testing.T) {
	path := tempPath(t)
	synctest.Test(t, func(t *testing.T) {
		const most = 4 << 20
		var log logged
		s := cache.OpenStore(path, cache.StoreConfig{ReadLimit: time.Minute, MaxBytes: most, Log: log.logger()})
		defer closeStore(t, s)
		value := make([]byte, 40)
		for round := range 60 {
			for i := range 1000 {
				n := round*1000 + i
				life := time.Duration(1+n%100) * 24 * time.Hour / 4 // the higher n%100, the longer
				s.Put(cache.Verdicts, key(n), value, time.Now().Add(life))
			}
			time.Sleep(time.Minute)
		}
		stats := s.Stats()
		if stats.Used > most || stats.Size > 3*most {
			t.Errorf("%d of %d octets in use, bound %d", stats.Used, stats.Size, most)
		}
		long, short := 0, 0
		s.Range(cache.Verdicts, nil, func(_, _ []byte, expire time.Time) bool {
			if time.Until(expire) > 12*24*time.Hour {
				long++
			} else {
				short++
			}
			return true
		})
		if long+short < 10_000 || short*3 > long {
			t.Errorf("%d that live long, %d that do not", long, short)
		}
		if _, ok := s.Get(cache.Verdicts, key(59_999)); !ok {
			t.Error("the newest is gone")
		}
		if !strings.Contains(log.String(), "nearly full") {
			t.Errorf("log: %s", &log)
		}
		t.Logf("%+v, long %d, short %d", stats, long, short)
	})
}
