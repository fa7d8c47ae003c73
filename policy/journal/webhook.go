package journal

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcptgate/rcptgate/policy"
)

// Defaults of Webhook.
const (
	DefaultWebhookTimeout  = 10 * time.Second
	DefaultWebhookQueue    = 10_000
	DefaultWebhookAttempts = 8
	DefaultWebhookSource   = "rcptgate"
)

const (
	webhookWorkers = 4 // requests at one time
	firstBackOff   = time.Second
	longestBackOff = 5 * time.Minute
)

// Webhook is who is told of refusals: one POST for each, in the shape in which listmonk takes
// bounces (https://listmonk.app/docs/bounces/):
//
//	{"email": "bob@example.net", "source": "rcptgate", "type": "hard",
//	 "created_at": "2026-11-23T14:15:00.123Z", "meta": {"ref": "KX2M7QRT", "reply": ..., ...}}
//
// The address is whole, whatever Config.Redact says. The type is "hard" only where the recipient's
// own server, or its domain, has proved that the mailbox takes no mail; else it is "soft".
type Webhook struct {
	URL            string // "" = off; "https://listmonk.example.com/webhooks/bounce"
	User, Password string // basic authentication, if there is a User
	Source         string // "" is DefaultWebhookSource
	// Deferred also tells of recipients that were refused for now. Their mail may still get there.
	Deferred bool
	// TLS is for https: roots, client certificates. nil is the system's.
	TLS *tls.Config

	Timeout  time.Duration // of one request; 0 is DefaultWebhookTimeout
	Queue    int           // refusals that may wait; 0 is DefaultWebhookQueue
	Attempts int           // for one refusal, with growing pauses; 0 is DefaultWebhookAttempts
}

// WebhookStats are counts since the start.
type WebhookStats struct {
	Sent    uint64 // taken by the other side
	Retried uint64 // attempts that failed and were followed by another
	GivenUp uint64 // refusals that could not be told
	Lost    uint64 // refusals that found the queue full
	Waiting int    // now
}

// Check returns what is wrong, with the next step.
func (w *Webhook) Check() error {
	if w.URL == "" {
		return nil
	}
	const form = "write it as https://listmonk.example.com/webhooks/bounce"
	u, err := url.Parse(w.URL)
	switch {
	case err != nil:
		return errors.New("the webhook's URL cannot be read; " + form)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("the webhook's URL has the scheme %q; %s", u.Scheme, form)
	case u.Host == "":
		return errors.New("the webhook's URL has no host; " + form)
	case u.User != nil:
		return errors.New("the webhook's URL has a login in it: use user and password instead")
	case w.User == "" && w.Password != "":
		return errors.New("the webhook has a password, but no user")
	case w.Timeout < 0 || w.Queue < 0 || w.Attempts < 0:
		return errors.New("a negative number for the webhook: write 0 for the default")
	}
	return nil
}

// same reports whether a running webhook need not be changed.
func (w *Webhook) same(other *Webhook) bool {
	return w.URL == other.URL && w.User == other.User && w.Password == other.Password &&
		w.Source == other.Source && w.Deferred == other.Deferred && w.TLS == other.TLS &&
		w.Timeout == other.Timeout && w.Queue == other.Queue && w.Attempts == other.Attempts
}

// bounce is one refusal on its way.
type bounce struct {
	body     []byte
	ref      string
	attempts int
}

// webhook sends bounces. Workers take them from a bounded queue; while the other side is down they
// wait together.
type webhook struct {
	cfg    Webhook
	log    *slog.Logger
	client *http.Client
	queue  chan bounce
	stop   chan struct{} // no more comes; what waits is still sent, but not retried
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the workers
	group  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	fails  int       // in a row, of the other side as a whole
	until  time.Time // nobody tries before
	said   time.Time

	sent, retried, givenUp, lost atomic.Uint64
}

// startWebhook starts the workers of a webhook that has been checked.
func startWebhook(cfg Webhook, log *slog.Logger) *webhook {
	timeout := orDefault(cfg.Timeout, DefaultWebhookTimeout)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: webhookWorkers, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: 64 << 10,
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &webhook{
		cfg: cfg, log: log, ctx: ctx, cancel: cancel,
		client: &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: sameHost},
		queue:  make(chan bounce, orDefault(cfg.Queue, DefaultWebhookQueue)),
		stop:   make(chan struct{}),
	}
	for range webhookWorkers {
		w.group.Go(w.work)
	}
	return w
}

// sameHost lets a request follow a redirect only within its host, and only as the POST that it is.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > 3:
		return errRedirects
	case r.URL.Scheme != first.Scheme || r.URL.Host != first.Host || r.Method != http.MethodPost:
		return http.ErrUseLastResponse // a 3xx is then the answer
	}
	return nil
}

var errRedirects = errors.New("too many redirects")

// offer takes a refusal of a recipient, without a wait.
func (w *webhook) offer(it *item) {
	if it.message != nil || it.recipient.IsNull() || it.reply.Positive() ||
		it.shadow != policy.Continue {
		return
	}
	if !it.reply.Permanent() && !w.cfg.Deferred {
		return
	}
	b := bounce{body: it.bounce(w.cfg.Source), ref: it.ref}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	select {
	case w.queue <- b:
	default:
		w.lost.Add(1)
	}
}

func (w *webhook) stats() WebhookStats {
	return WebhookStats{
		Sent: w.sent.Load(), Retried: w.retried.Load(), GivenUp: w.givenUp.Load(),
		Lost: w.lost.Load(), Waiting: len(w.queue),
	}
}

// finish takes no more and has what waits sent, each once. wait waits for that.
func (w *webhook) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.stop)
		close(w.queue)
	}
}

func (w *webhook) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		w.group.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%d refusals were not told to the webhook: %w", len(w.queue), ctx.Err())
	}
	w.cancel()
	w.client.CloseIdleConnections()
	return err
}
