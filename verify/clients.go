package verify

import (
	"context"
	"time"

	"github.com/rcptgate/rcptgate/internal/limit"
)

// What one client may have us ask, whatever it sends: its recipients are asked about for a mail that
// it hands over, and not for their own sake.
const (
	clientFlights = 500       // at a time, waited for or not
	clientUnknown = 2000      // different recipients that turn out to be unknown, ...
	clientWindow  = time.Hour // ... in this time
	clientsSize   = 1024      // that are remembered by the unknown ones they named
)

// clients bounds what each client has us ask. One without a name is not bounded: the command line.
type clients struct {
	flights *limit.Slots
	unknown *limit.Distinct
}

func newClients() *clients {
	return &clients{
		flights: limit.NewSlots(clientFlights),
		unknown: limit.NewDistinct(clientUnknown, clientWindow, clientsSize),
	}
}

// askerKey is the context key of AskedBy.
type askerKey struct{}

// AskedBy has questions with Trace counted as those of client, whatever their Question.Client says:
// who wants a decision explained must not use up the share of the client that it is about.
func AskedBy(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, askerKey{}, client)
}

// enter asks for one flight for client. leave is to be called at its end; why says for people why
// there is none.
func (c *clients) enter(client string, now time.Time) (leave func(), why string) {
	if client == "" {
		return func() {}, ""
	}
	if left, full := c.unknown.Full(client, now); full {
		return nil, "the client has named too many recipients that do not exist; asked again in " +
			left.Round(time.Minute).String()
	}
	leave, ok := c.flights.TryAcquire(client)
	if !ok {
		return nil, "the client has too many recipients asked about at one time"
	}
	return leave, ""
}

// learn notes what became of a recipient of client.
func (c *clients) learn(client, key string, r Result, now time.Time) {
	if client != "" && !r.Cached && r.Reason == MailboxUnknown {
		c.unknown.Add(client, key, now)
	}
}
