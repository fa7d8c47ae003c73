package cache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// secretSize is the length of the secret in octets, that of SHA-256's output (RFC 2104 section 3).
const secretSize = 32

// keys makes keys that tell nothing of the address to whom lacks the secret.
//
// The secret has a file of its own beside the cache, PATH.secret, and not a place in it: a backup or
// a copy of the cache alone can then not be searched for addresses, and a cache that was garbled and
// begun anew keeps its keys, so that an export still fits.
type keys struct {
	secret [secretSize]byte
	macs   sync.Pool
}

func newKeys(secret []byte) *keys {
	k := &keys{}
	copy(k.secret[:], secret)
	k.macs.New = func() any { return hmac.New(sha256.New, k.secret[:]) }
	return k
}

func (k *keys) mac(s string, out *[sha256.Size]byte) {
	h, _ := k.macs.Get().(hash.Hash) // nothing else is put there
	h.Reset()
	_, _ = h.Write([]byte(s)) // never fails (package hash)
	h.Sum(out[:0])
	k.macs.Put(h)
}

func (k *keys) domain(domain string) (key [8]byte) {
	var sum [sha256.Size]byte
	k.mac(domain, &sum)
	copy(key[:], sum[:])
	return key
}

func (k *keys) address(domain, address string) (key [24]byte) {
	var sum [sha256.Size]byte
	k.mac(domain, &sum)
	copy(key[:8], sum[:])
	k.mac(address, &sum)
	copy(key[8:], sum[:])
	return key
}

// id names the secret without telling it.
func (k *keys) id() string {
	var sum [sha256.Size]byte
	k.mac("rcptgate cache secret", &sum)
	return hex.EncodeToString(sum[:8])
}

// DomainKey is HMAC-SHA256 of a domain, cut to 8 octets. The domain is taken as
// [esmtp.Address.ASCIIDomain] gives it: A-labels in lower case.
func (s *Store) DomainKey(domain string) [8]byte { return s.keyring().domain(domain) }

// AddressKey begins with the key of the domain, so that all of a domain can be erased by prefix, and
// goes on with HMAC-SHA256 of [esmtp.Address.Key], cut to 16 octets.
func (s *Store) AddressKey(a esmtp.Address) [24]byte {
	return s.keyring().address(a.ASCIIDomain(), a.Key())
}

// KeyOf is AddressKey for an [esmtp.Address.Key].
func (s *Store) KeyOf(address string) [24]byte {
	return s.keyring().address(address[strings.LastIndexByte(address, '@')+1:], address)
}

// Secret is what the keys are made with, for other pseudonyms that must last as long; nil for a nil
// Store. It must not be changed.
func (s *Store) Secret() []byte {
	if s == nil {
		return nil
	}
	return s.keys.secret[:]
}

// SecretID names the secret without telling it: caches with the same ID have the same keys. It is ""
// for a nil Store.
func (s *Store) SecretID() string {
	if s == nil {
		return ""
	}
	return s.keys.id()
}

// keyring of a nil Store makes keys too: its users keep them in memory only, where they need no
// secret.
func (s *Store) keyring() *keys {
	if s == nil {
		return newKeys(nil)
	}
	return s.keys
}

// SecretPath is where the secret of the cache at path lives.
func SecretPath(path string) string { return path + ".secret" }

// Begin gives a cache that does not exist yet the secret of another, so that what was exported there
// fits. There must be neither a file at path nor a secret beside it.
func Begin(path string, secret []byte) error {
	if len(secret) != secretSize {
		return fmt.Errorf("a secret has %d octets, not %d", secretSize, len(secret))
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("there is a cache at %s already", path), err)
	}
	return writeSecret(SecretPath(path), secret)
}

// readSecret returns the secret of a file; fs.ErrNotExist if there is none.
func readSecret(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != secretSize {
		return nil, fmt.Errorf("%s is not a secret of %d octets in hexadecimal: restore it, "+
			"or remove it to begin a new cache", path, secretSize)
	}
	return secret, nil
}

// writeSecret makes a new file, and never writes over one: it is complete before it has its name.
func writeSecret(path string, secret []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// ensureSecret returns the secret of the cache at path, made from fresh if there is none. fresh is
// made of 32 random octets, which [newSecret] gives.
func ensureSecret(path string, fresh []byte) (secret []byte, made bool, err error) {
	secret, err = readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	switch err = writeSecret(path, fresh); {
	case err == nil:
		return fresh, true, nil
	case errors.Is(err, fs.ErrExist): // another process was faster
		secret, err = readSecret(path)
		return secret, false, err
	}
	return nil, false, err
}

func newSecret() []byte {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails (package crypto/rand)
	return secret
}
