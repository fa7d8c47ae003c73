package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcptgate/rcptgate/verify"
	"github.com/rcptgate/rcptgate/verify/cache"
)

const (
	exportFormat  = "rcptgate cache"
	exportVersion = 1
	// maxExportLine bounds a line of an export, in octets.
	maxExportLine = 1 << 20
)

// exportHead is the first line of an export.
type exportHead struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	SecretID string    `json:"secret_id"`
	Secret   string    `json:"secret,omitempty"`
	Exported time.Time `json:"exported"`
}

// exportValue is a line for what is not a verdict: facts of domains, schedules and so on, as they are
// stored.
type exportValue struct {
	Bucket string    `json:"bucket"`
	Key    string    `json:"key"`   // hexadecimal
	Value  string    `json:"value"` // base64
	Expire time.Time `json:"expire"`
}

func newCacheExportCmd() *cobra.Command {
	var (
		config     string
		withSecret bool
	)
	cmd := &cobra.Command{
		Use:   "export --config FILE [--with-secret]",
		Short: "Print what the cache holds, as JSON lines",
		Long: `Export prints one line about the cache and then one for each verdict: its key, which is an
HMAC of the address, the verdict, its times, and the mail server's words without the address.

An export can be imported only where the keys are made with the same secret. With
--with-secret it carries the secret to a gate that has no cache yet; whoever reads it can
then find out whether an address is in it.`,
		Example: "  rcptgate cache export --config rcptgate.toml > verdicts.jsonl",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCache(cmd, config, func(ctx context.Context, s *cache.Store) error {
				return exportCache(ctx, cmd.OutOrStdout(), s, withSecret)
			})
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	cmd.Flags().BoolVar(&withSecret, "with-secret", false, "include the secret, for a gate without a cache")
	return cmd
}

func exportCache(ctx context.Context, w io.Writer, s *cache.Store, withSecret bool) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	head := exportHead{
		Format: exportFormat, Version: exportVersion, SecretID: s.SecretID(), Exported: time.Now().UTC(),
	}
	if withSecret {
		head.Secret = hex.EncodeToString(s.Secret())
	}
	err := enc.Encode(head) //nolint:gosec // the secret is what was asked for
	verify.EachSaved(s, func(x verify.Saved) bool {
		err = errors.Join(err, enc.Encode(x), ctx.Err())
		return err == nil
	})
	for _, b := range cache.Buckets() {
		if b == cache.Verdicts || b == cache.Words { // words are in the verdicts
			continue
		}
		s.Range(b, nil, func(key, value []byte, expire time.Time) bool {
			err = errors.Join(err, ctx.Err(), enc.Encode(exportValue{
				Bucket: b.String(), Key: hex.EncodeToString(key),
				Value: base64.StdEncoding.EncodeToString(value), Expire: expire.UTC(),
			}))
			return err == nil
		})
	}
	return errors.Join(err, out.Flush())
}

func newCacheImportCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "import --config FILE [EXPORT]",
		Short: "Take over what another cache held",
		Long: `Import reads an export, from a file or from standard input. Of two verdicts about one address
the newer one stays; what has expired is left out.

The keys must be made with the same secret. Where there is no cache yet, it is begun with the
secret of the export, if that was made with --with-secret.`,
		Example: "  rcptgate cache import --config rcptgate.toml verdicts.jsonl",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return failed(err.Error(), "name a file that `rcptgate cache export` has made")
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			return runImport(cmd, config, in)
		},
	}
	configFlag(cmd, &config, "the gate's configuration")
	return cmd
}

func runImport(cmd *cobra.Command, config string, in io.Reader) error {
	path, err := cachePath(config)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxExportLine)
	head, err := readHead(lines)
	if err != nil {
		return err
	}
	s, err := openForImport(path, head)
	if err != nil {
		return err
	}
	return useCache(cmd, s, func(ctx context.Context, s *cache.Store) error {
		if s.SecretID() != head.SecretID {
			return failed("the export was made with another secret, so its keys fit no address here",
				"export with --with-secret, and import where there is no cache and no "+cache.SecretPath(path))
		}
		i := importRun{store: s, line: 1}
		if err := i.all(ctx, lines); err != nil {
			return err
		}
		if err := s.Sync(ctx); err != nil {
			return err
		}
		writef(cmd.OutOrStdout(), "%d taken over, %d expired or older than what is here\n", i.done, i.left)
		return nil
	})
}

func readHead(lines *bufio.Scanner) (head exportHead, err error) {
	if lines.Scan() {
		err = json.Unmarshal(lines.Bytes(), &head)
	}
	switch err = errors.Join(err, lines.Err()); {
	case err != nil || head.Format != exportFormat:
		return head, failed("this is no export of a cache", "make one with `rcptgate cache export`")
	case head.Version > exportVersion:
		return head, failed(fmt.Sprintf("the export has version %d, and this rcptgate knows %d", head.Version, exportVersion),
			"update rcptgate")
	}
	return head, nil
}

// openForImport opens the cache, or begins one with the secret of the export.
func openForImport(path string, head exportHead) (*cache.Store, error) {
	cfg := cache.StoreConfig{ReadLimit: time.Minute}
	s, err := cache.OpenExisting(path, cfg)
	switch {
	case err == nil:
		return s, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, cacheFailure(path, err)
	}
	if head.Secret != "" {
		secret, err := hex.DecodeString(head.Secret)
		if err == nil {
			err = cache.Begin(path, secret)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) { // a secret without a cache: it may fit
			return nil, failed(fmt.Sprintf("cannot begin %s with the secret of the export: %v", path, err),
				"check the export, and that you may write in the directory")
		}
	} else if _, err := os.Stat(cache.SecretPath(path)); err != nil {
		return nil, failed(fmt.Sprintf("there is no cache at %s, and the export does not carry the secret", path),
			"export with --with-secret")
	}
	s = cache.OpenStore(path, cfg)
	if ok, detail := s.Status(); !ok {
		_ = s.Close(context.Background()) // nothing was put
		return nil, failed(detail, "")
	}
	return s, nil
}

type importRun struct {
	store            *cache.Store
	line, done, left int
}

func (i *importRun) all(ctx context.Context, lines *bufio.Scanner) error {
	for lines.Scan() {
		i.line++
		done, err := i.one(lines.Bytes())
		if errors.Is(err, verify.ErrStoreBusy) {
			if err = i.store.Sync(ctx); err == nil {
				done, err = i.one(lines.Bytes())
			}
		}
		switch {
		case err != nil:
			return failed(fmt.Sprintf("line %d: %v; the lines before it were taken over", i.line, err),
				"correct or remove the line, and import again: nothing is taken twice")
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case done:
			i.done++
		default:
			i.left++
		}
	}
	if err := lines.Err(); err != nil {
		return failed(fmt.Sprintf("line %d: %v", i.line+1, err), "is the export complete?")
	}
	return nil
}

func (i *importRun) one(line []byte) (done bool, err error) {
	var which struct {
		Bucket string `json:"bucket"`
	}
	if err := json.Unmarshal(line, &which); err != nil {
		return false, err
	}
	if which.Bucket == cache.Verdicts.String() {
		var x verify.Saved
		if err := strictJSON(line, &x); err != nil {
			return false, err
		}
		return x.Save(i.store, time.Now())
	}
	for _, b := range cache.Buckets() {
		if b.String() == which.Bucket && b != cache.Words {
			var x exportValue
			if err := strictJSON(line, &x); err != nil {
				return false, err
			}
			return i.value(b, x)
		}
	}
	return false, fmt.Errorf("unknown bucket %q", which.Bucket)
}

func strictJSON(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// value takes over what is not a verdict, where nothing is known.
func (i *importRun) value(b cache.Bucket, x exportValue) (done bool, err error) {
	key, err := hex.DecodeString(x.Key)
	if err != nil || len(key) == 0 {
		return false, fmt.Errorf("key %q is not hexadecimal", x.Key)
	}
	value, err := base64.StdEncoding.DecodeString(x.Value)
	if err != nil {
		return false, fmt.Errorf("the value is not base64: %w", err)
	}
	if _, known := i.store.Get(b, key); known || !time.Now().Before(x.Expire) {
		return false, nil
	}
	if !i.store.Put(b, key, value, x.Expire) {
		return false, verify.ErrStoreBusy
	}
	return true, nil
}
