package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificatesEvery is the shortest time between two looks at the files of the certificate.
const certificatesEvery = 10 * time.Second

// certificates is the gate's certificate, read again when its files change. A pair that cannot be
// used never replaces one that can: renewal programs write the two files one after the other, and
// a wrong one is no reason to stop taking mail.
type certificates struct {
	log *slog.Logger

	current atomic.Pointer[tls.Certificate]
	next    atomic.Int64 // when to look at the files, in Unix nanoseconds

	mu     sync.Mutex // held while files are read
	files  certificateFiles
	stamps [2]fileStamp
}

// certificateFiles are proxy.tls_cert_file and proxy.tls_key_file; zero: there is no TLS.
type certificateFiles struct{ cert, key string }

// fileStamp is what a file looked like.
type fileStamp struct {
	changed time.Time
	size    int64
}

// use reads a pair, at the start and when the configuration is read again. The error is of a pair
// that cannot be used when there is none yet; an expired one is better than none.
func (c *certificates) use(files certificateFiles) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if files == (certificateFiles{}) {
		c.files = files
		c.current.Store(nil)
		return nil
	}
	c.files = files
	err := c.read(time.Now())
	if err != nil && c.current.Load() == nil {
		return err
	}
	return nil
}

// config is for listeners and STARTTLS; nil without a certificate.
func (c *certificates) config() *tls.Config {
	if c.current.Load() == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get is tls.Config.GetCertificate. One handshake in ten seconds looks at the files.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.refresh(time.Now())
	pair := c.current.Load()
	if pair == nil { // taken out of the configuration since the connection was accepted
		return nil, errors.New("there is no certificate any more")
	}
	return pair, nil
}

func (c *certificates) refresh(now time.Time) {
	due := c.next.Load()
	if now.UnixNano() < due || !c.next.CompareAndSwap(due, now.Add(certificatesEvery).UnixNano()) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files != (certificateFiles{}) && stampsOf(c.files) != c.stamps {
		_ = c.read(now) // it has been logged
	}
}

// read takes the pair over, or logs why not.
func (c *certificates) read(now time.Time) error {
	c.next.Store(now.Add(certificatesEvery).UnixNano())
	c.stamps = stampsOf(c.files) // before the files are read: a later change is seen
	pair, err := tls.LoadX509KeyPair(c.files.cert, c.files.key)
	old := c.current.Load()
	if err == nil && old != nil && expired(&pair, now) != "" {
		err = errors.New(expired(&pair, now))
	}
	if err != nil {
		if old != nil {
			c.warn(err.Error(), old, "the old one stays")
		}
		return err
	}
	c.current.Store(&pair)
	if problem := expired(&pair, now); problem != "" {
		c.warn(problem, &pair, "it is used all the same, for there is no other")
		return nil
	}
	if old != nil && !old.Leaf.Equal(pair.Leaf) {
		c.log.Info("certificate read again", "file", c.files.cert, "not_after", dateOf(pair.Leaf.NotAfter))
	}
	return nil
}

// warn says what is wrong with a pair, and how long that in use holds.
func (c *certificates) warn(problem string, inUse *tls.Certificate, consequence string) {
	args := []any{
		"cert_file", c.files.cert, "key_file", c.files.key, "error", problem,
		"consequence", consequence,
	}
	if inUse != nil {
		args = append(args, "not_before_in_use", dateOf(inUse.Leaf.NotBefore),
			"not_after_in_use", dateOf(inUse.Leaf.NotAfter))
	}
	c.log.Warn("certificate cannot be used", append(args, "fix",
		"renew it, and write the chain and its own key to these files; they are read again by themselves")...)
}

// end is the end of the certificate in use.
func (c *certificates) end() (time.Time, bool) {
	pair := c.current.Load()
	if pair == nil {
		return time.Time{}, false
	}
	return pair.Leaf.NotAfter, true
}

// expired says why a certificate is not valid at now, "" if it is.
func expired(pair *tls.Certificate, now time.Time) string {
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return "the certificate has expired on " + dateOf(leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return "the certificate is not valid before " + dateOf(leaf.NotBefore)
	default:
		return ""
	}
}

func dateOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stampsOf looks at both files; one that is not there has the zero stamp.
func stampsOf(files certificateFiles) (stamps [2]fileStamp) {
	for i, path := range [...]string{files.cert, files.key} {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}
