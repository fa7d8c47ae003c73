package web

import (
	"context"
	"crypto/rand"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rcptgate/rcptgate/internal/esmtp"
	"github.com/rcptgate/rcptgate/verify"
)

const (
	verifyWait    = 8 * time.Second // for the answer, unless the request says otherwise
	verifyMost    = time.Minute     // for the answer, whatever the request says
	verifyTime    = 2 * time.Minute // for the asking itself
	verifyAgain   = 2               // seconds until an answer is worth looking for
	answersFor    = 10 * time.Minute
	answersMost   = 10_000
	questionsMost = 64 // that go on at a time, by default
)

// VerifyRequest asks what is known of an address, and its mail servers if need be.
type VerifyRequest struct {
	Address string `json:"address"`
	Sender  string `json:"sender,omitempty"` // as for mail from it
	Wait    *Span  `json:"wait,omitempty"`   // nil is 8s; at most 60s
}

// Verdict is what is known of an address, as `rcptgate verify --json` prints it. RetryAfter is in
// whole seconds, 0 if asking again is no use.
type Verdict struct {
	Address        string  `json:"address"`
	Verdict        string  `json:"verdict"`
	Reason         string  `json:"reason"`
	Confidence     float64 `json:"confidence"`
	Deliverability float64 `json:"deliverability"`
	Provider       string  `json:"provider"`
	Reply          string  `json:"reply"`
	Stage          string  `json:"stage"`
	MX             string  `json:"mx"`
	Cached         bool    `json:"cached"`
	RetryAfter     int64   `json:"retry_after"`
	Label          string  `json:"label"`
	CatchAll       bool    `json:"catch_all"`
	ElapsedMS      int64   `json:"elapsed_ms"`
}

// VerdictOf is r for the address as it was written.
func VerdictOf(address string, r *verify.Result) Verdict {
	v := Verdict{
		Address: address, Verdict: string(r.Verdict), Reason: string(r.Reason),
		Confidence: thousandths(r.Confidence), Deliverability: thousandths(r.Deliverability),
		Provider: r.Provider, Stage: string(r.Stage), MX: r.MX, Cached: r.Cached,
		RetryAfter: int64(math.Ceil(r.RetryAfter.Seconds())), Label: string(r.Label),
		CatchAll: r.CatchAll, ElapsedMS: r.Elapsed.Milliseconds(),
	}
	if !r.Reply.IsZero() {
		v.Reply = r.Reply.String()
	}
	return v
}

// Pending tells that an address is still being asked about: GET /v1/verify/{id} has the verdict later.
type Pending struct {
	ID         string `json:"id"`
	RetryAfter int    `json:"retry_after"` // seconds
}

// question is one that was put over the API. It goes on without the one who asked.
type question struct {
	who     string
	begun   time.Time
	done    chan struct{} // closed when verdict is set
	verdict Verdict
}

// questions are those that go on, and those whose verdicts can be fetched. Both are bounded: mail has
// the first claim on the verifier, and an id says nothing about the address.
type questions struct {
	ended <-chan struct{}

	mu    sync.Mutex
	open  int
	byID  map[string]*question
	order []string // of byID, the oldest first
}

// enter takes one of most places.
func (q *questions) enter(most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open >= most {
		return false
	}
	q.open++
	return true
}

func (q *questions) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
}

// keep makes an id for a question whose verdict is fetched later.
func (q *questions) keep(one *question, now time.Time) string {
	id := rand.Text()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) > 0 {
		oldest := q.byID[q.order[0]]
		if len(q.order) < answersMost && now.Sub(oldest.begun) < answersFor {
			break
		}
		delete(q.byID, q.order[0])
		q.order = q.order[1:]
	}
	q.byID[id] = one
	q.order = append(q.order, id)
	return id
}

// find returns a question that this caller has put.
func (q *questions) find(id, who string, now time.Time) (*question, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.byID[id]
	if one == nil || one.who != who || now.Sub(one.begun) >= answersFor {
		return nil, false
	}
	return one, true
}

// context ends with the API, or when time is over.
func (q *questions) context(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	go func() {
		defer cancel()
		select {
		case <-q.ended:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// ask has the verifier ask until it knows. Its own wait is that of a client at RCPT; who asks again
// gets the answer of the asking that goes on.
func (q *questions) ask(v *verify.Verifier, asked verify.Question, one *question) {
	defer q.leave()
	defer close(one.done)
	ctx, cancel := q.context(verifyTime)
	defer cancel()
	r := v.Verify(ctx, asked)
	for r.Reason == verify.Timeout && r.Stage == "" && !r.Cached && ctx.Err() == nil {
		r = v.Verify(ctx, asked)
	}
	r.Elapsed = time.Since(one.begun)
	one.verdict = VerdictOf(one.verdict.Address, &r)
}

// client is what a caller's questions are counted by: see verify.Question.
func (c *call) client() string { return "api " + c.who }

// places is how many questions may go on at a time.
func (c *call) places() int {
	if c.parts.MaxVerifications > 0 {
		return c.parts.MaxVerifications
	}
	return questionsMost
}

// busy is the answer to a question that there is no place for.
func (c *call) busy() error {
	c.w.Header().Set("Retry-After", strconv.Itoa(verifyAgain))
	return problem(http.StatusServiceUnavailable,
		"too many addresses are being asked about over the API", "try again in "+
			strconv.Itoa(verifyAgain)+" s, with fewer at a time (http.max_verifications); for lists "+
			"there is `rcptgate check`")
}

func (c *call) verify() error {
	v := c.parts.Verifier
	if v == nil {
		return missing("gate that runs", "start it: systemctl start rcptgate")
	}
	var asked VerifyRequest
	if err := c.decode(&asked); err != nil {
		return err
	}
	q, wait, err := c.question(&asked)
	if err != nil {
		return err
	}
	var known verify.Result
	begun := time.Now()
	if v.Recall(&q, begun, &known) {
		known.Elapsed = time.Since(begun)
		return c.reply(VerdictOf(asked.Address, &known))
	}
	if !c.api.questions.enter(c.places()) {
		return c.busy()
	}
	one := &question{
		who: c.who, begun: begun, done: make(chan struct{}), verdict: Verdict{Address: asked.Address},
	}
	go c.api.questions.ask(v, q, one)
	c.patient(wait + requestTime)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-one.done:
		return c.reply(one.verdict)
	case <-timer.C:
	case <-c.r.Context().Done():
		return nil // nobody waits
	}
	return c.pending(c.api.questions.keep(one, time.Now()))
}

// question reads a request.
func (c *call) question(asked *VerifyRequest) (q verify.Question, wait time.Duration, err error) {
	a, err := esmtp.ParseAddress(asked.Address, true)
	if err != nil || a.ASCIIDomain() == "" {
		return q, 0, badField("address", shown(asked.Address)+" is no address", "write bob@example.com")
	}
	q = verify.Question{Address: a, UTF8: a.NeedsUTF8(), Client: c.client(), CatchAll: true}
	if asked.Sender != "" {
		if q.Sender, err = esmtp.ParseAddress(asked.Sender, true); err != nil || q.Sender.IsNull() {
			return q, 0, badField("sender", shown(asked.Sender)+" is no address",
				"write news@example.com, or leave it out")
		}
	}
	wait = verifyWait
	if asked.Wait != nil {
		wait = time.Duration(*asked.Wait)
	}
	if wait > verifyMost {
		return q, 0, badField("wait", "it is longer than "+verifyMost.String(),
			"write less, and fetch the verdict later")
	}
	return q, wait, nil
}

func (c *call) pending(id string) error {
	header := c.w.Header()
	header.Set("Location", "/v1/verify/"+id)
	header.Set("Retry-After", strconv.Itoa(verifyAgain))
	return c.replyWith(http.StatusAccepted, Pending{ID: id, RetryAfter: verifyAgain})
}

func (c *call) verified() error {
	id := c.r.PathValue("id")
	one, ok := c.api.questions.find(id, c.who, time.Now())
	if !ok {
		return problem(http.StatusNotFound, "there is no such question of this token",
			"ask again: verdicts can be fetched for 10 minutes, by who asked")
	}
	select {
	case <-one.done:
		return c.reply(one.verdict)
	default:
		return c.pending(id)
	}
}
