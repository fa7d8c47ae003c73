package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rcptgate/rcptgate/policy"
	"github.com/rcptgate/rcptgate/verify"
)

// bounce is the body of the request for a refusal.
func (it *item) bounce(source string) []byte {
	if source == "" {
		source = DefaultWebhookSource
	}
	var f formatter
	f.mode = RedactOff
	l := &f.line
	l.b = append(make([]byte, 0, 1024), '{')
	l.key("email")
	email, _ := json.Marshal(it.recipient.String()) // a string has no errors
	l.b = append(l.b, email...)
	l.text("source", source)
	kind := "soft"
	if it.proven() {
		kind = "hard"
	}
	l.text("type", kind)
	l.ms("created_at", it.at)
	l.open("meta")
	l.text("ref", it.ref)
	l.text("rule", it.rule)
	f.reply("reply", it.reply)
	f.address("sender", it.sender)
	l.text("session", it.session)
	l.text("transaction", it.id)
	if it.extra != nil {
		f.gates(it.extra)
	}
	if it.result.said != nil {
		f.result(&it.result)
	}
	l.close()
	l.close()
	return l.b
}

// proven reports whether the mailbox was refused for good by proof that it takes no mail: now, or
// when mail for it bounced and put it on the suppression list.
func (it *item) proven() bool {
	if it.action != policy.Reject || it.relayed {
		return false
	}
	if x := it.extra; x != nil && x.suppression != nil && x.suppression.Reason == hardBounce {
		return true
	}
	return it.result.said != nil && it.result.proof && it.result.verdict == verify.Undeliverable
}

// work sends bounces until the queue is closed and empty.
func (w *webhook) work() {
	for b := range w.queue {
		w.deliver(b)
	}
}

// deliver tries until the bounce is taken, is refused, or has had its attempts.
func (w *webhook) deliver(b bounce) {
	attempts := orDefault(w.cfg.Attempts, DefaultWebhookAttempts)
	for {
		stopping := w.pause()
		b.attempts++
		again, err := w.post(b.body)
		if err == nil {
			w.succeeded()
			return
		}
		if again {
			w.failed()
		}
		if !again || stopping || b.attempts >= attempts || w.ctx.Err() != nil {
			w.giveUp(b, err)
			return
		}
		w.retried.Add(1)
	}
}

// pause waits while the other side is down. stopping: there is no time for another attempt.
func (w *webhook) pause() (stopping bool) {
	for {
		w.mu.Lock()
		wait := time.Until(w.until)
		stopping = w.closed
		w.mu.Unlock()
		if stopping || wait <= 0 {
			return stopping
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-w.stop:
		}
		timer.Stop()
	}
}

func (w *webhook) succeeded() {
	w.sent.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails, w.until = 0, time.Time{}
}

// failed makes all wait, each time twice as long, and not all gates at the same time. The workers
// that failed together count once.
func (w *webhook) failed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.until) {
		return
	}
	wait := min(firstBackOff<<min(w.fails, 16), longestBackOff)
	w.fails++
	w.until = now.Add(wait/2 + rand.N(wait/2+1)) //nolint:gosec // spreads load, keeps no secret
}

// giveUp counts a bounce that could not be told and says so, once in a while.
func (w *webhook) giveUp(b bounce, err error) {
	w.givenUp.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.said.IsZero() || now.Sub(w.said) >= complainAt {
		w.said = now
		w.log.Error("journal: the webhook was not told of a refusal", "ref", b.ref,
			"attempts", b.attempts, "error", err.Error(), "given_up", w.givenUp.Load(),
			"hint", "see to the other side, its URL, user and password; the journal has what is missing")
	}
}

// statusError is an answer other than 2xx.
type statusError struct {
	code int
	text string // the beginning of the body, quoted
}

func (e *statusError) Error() string {
	hint := ""
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = ": check user and password, and the user's permission to post bounces"
	case http.StatusNotFound:
		hint = ": check the URL; listmonk has it only with bounce processing switched on"
	}
	if e.code/100 == 3 {
		hint = ": it is somewhere else, and a redirect to another host, or by GET, is not followed; " +
			"correct the URL"
	}
	return fmt.Sprintf("it answered %d %s%s %s", e.code, http.StatusText(e.code), hint, e.text)
}

// maxAnswer is how much of an answer is read, in octets.
const maxAnswer = 64 << 10

// post makes one attempt. again says whether another one may do better.
func (w *webhook) post(body []byte) (again bool, err error) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return false, plainError(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "rcptgate")
	if w.cfg.User != "" {
		r.SetBasicAuth(w.cfg.User, w.cfg.Password)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return true, plainError(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // read, so that the connection stays
	if answer.StatusCode/100 == 2 {
		return false, nil
	}
	failed := &statusError{code: answer.StatusCode}
	if len(text) > 0 {
		failed.text = strconv.QuoteToASCII(string(text[:min(len(text), 200)]))
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true, failed // somebody may put it right
	}
	return answer.StatusCode/100 == 5, failed
}

// plainError leaves out the URL, in which there may be a secret.
func plainError(err error) error {
	if in := new(url.Error); errors.As(err, &in) {
		return in.Err
	}
	return err
}
