package journal

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rcptgate/rcptgate/policy"
)

// Version is the format that this package writes, in each line as "v".
const Version = 1

// Kind is what an entry tells about.
type Kind string

// The kinds of entries.
const (
	KindRecipient Kind = "recipient" // a decision about one recipient
	KindMessage   Kind = "message"   // the end of a message
)

// Entry is one line of the journal. What is "", zero or nil was not known or does not apply. All
// text is escaped and may be printed, unless somebody else wrote the file; Explain takes no chance.
// Addresses are in their normal form, the domain in lower case and with A-labels, and shortened or
// hashed as the configuration had it when they were written.
type Entry struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"` // when the client was answered, to the millisecond
	Kind    Kind      `json:"kind"`

	Door        string `json:"door,omitempty"` // "smtp", "policyd"
	Session     string `json:"session,omitempty"`
	Transaction string `json:"transaction,omitempty"`
	Client      string `json:"client,omitempty"` // IP address
	ClientName  string `json:"client_name,omitempty"`
	Helo        string `json:"helo,omitempty"`
	Login       string `json:"login,omitempty"`
	Sender      string `json:"sender,omitempty"` // "<>" is the null sender

	// Of a recipient.

	Recipient string `json:"recipient,omitempty"`
	// Action is what happened: "accept", "defer" or "reject". Shadow is what would have happened in
	// enforce mode, where the mode was "shadow" and the rules would have refused.
	Action      string   `json:"action,omitempty"`
	Shadow      string   `json:"shadow,omitempty"`
	Rule        string   `json:"rule,omitempty"` // "": the gate itself answered, e.g. for a limit
	Ref         string   `json:"ref,omitempty"`
	Reply       string   `json:"reply,omitempty"`        // what the client got
	ShadowReply string   `json:"shadow_reply,omitempty"` // what it would have got
	Relayed     bool     `json:"relayed,omitempty"`      // Reply is the relay's
	Marks       []string `json:"marks,omitempty"`
	Headers     []string `json:"headers,omitempty"`

	// What stood before the rules, if it decided.

	Suppression *Suppression `json:"suppression,omitempty"`
	Override    *Override    `json:"override,omitempty"`
	Hold        *Hold        `json:"hold,omitempty"`

	// What the verifier said, if it was asked.

	Verdict        string    `json:"verdict,omitempty"`
	Reason         string    `json:"reason,omitempty"`
	Confidence     float64   `json:"confidence,omitempty"`
	Deliverability float64   `json:"deliverability,omitempty"`
	Proof          bool      `json:"proof,omitempty"`
	Provider       string    `json:"provider,omitempty"`
	MX             string    `json:"mx,omitempty"`
	Stage          string    `json:"stage,omitempty"`
	MXReply        string    `json:"mx_reply,omitempty"` // the mail server's own words
	Label          string    `json:"label,omitempty"`    // what they were read as
	CatchAll       bool      `json:"catch_all,omitempty"`
	Cached         bool      `json:"cached,omitempty"`
	Checked        time.Time `json:"checked,omitzero"`
	Delivered      time.Time `json:"delivered,omitzero"`      // when mail for it last arrived
	RetryAfter     int64     `json:"retry_after_s,omitempty"` // seconds
	Domain         *Domain   `json:"domain,omitempty"`

	WaitMS int64 `json:"wait_ms,omitempty"` // how long the decision took

	Message *MessageEntry `json:"message,omitempty"` // of a message

	// Unknown are the fields that this version does not know, or knows otherwise, in order.
	Unknown []string `json:"-"`
}

// Domain is what was known of the recipient's domain: see verify.DomainReport.
type Domain struct {
	AcceptsAll float64   `json:"accepts_all,omitempty"`
	Accepted   int       `json:"accepted,omitempty"`
	Tries      int       `json:"tries,omitempty"`
	Invented   int       `json:"invented,omitempty"`
	Late       int       `json:"late,omitempty"`
	Arrived    int       `json:"arrived,omitempty"`
	Refused    time.Time `json:"refused,omitzero"`
	Tested     time.Time `json:"tested,omitzero"`
}

// MessageEntry is what became of a message: see Message.
type MessageEntry struct {
	Outcome    string `json:"outcome,omitempty"`
	Octets     int64  `json:"octets,omitempty"`
	Accepted   int    `json:"accepted,omitempty"`
	Deferred   int    `json:"deferred,omitempty"`
	Refused    int    `json:"refused,omitempty"`
	Relay      string `json:"relay,omitempty"`
	QueueID    string `json:"queue_id,omitempty"`
	Error      string `json:"error,omitempty"`
	FromDomain string `json:"from_domain,omitempty"`
	// CheckAction is what the checks of the message decided: "pass", "defer" or "reject".
	CheckAction string         `json:"check_action,omitempty"`
	CheckMS     int64          `json:"check_ms,omitempty"`
	TotalMS     int64          `json:"total_ms,omitempty"`
	RelayMS     int64          `json:"relay_ms,omitempty"`
	Checks      []FindingEntry `json:"checks,omitempty"`
}

// FindingEntry is what one check of a message found.
type FindingEntry struct {
	Check  string `json:"check"`
	Level  string `json:"level,omitempty"`
	Detail string `json:"detail,omitempty"`
	Reply  string `json:"reply,omitempty"`
}

// Decided is the action that the rules chose: what would have happened where only that was
// recorded, else what happened.
func (e *Entry) Decided() string {
	if e.Shadow != "" {
		return e.Shadow
	}
	return e.Action
}

// Refused reports whether the client was refused, now or for good, or would have been in enforce
// mode.
func (e *Entry) Refused() bool {
	return refusal(e.Decided()) || e.Reply != "" && e.Reply[0] != '2'
}

func refusal(action string) bool {
	return action == policy.Defer.String() || action == policy.Reject.String()
}

// SenderDomain is the domain of the sender, "" for the null sender.
func (e *Entry) SenderDomain() string { return domainOf(e.Sender) }

func domainOf(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return address[at+1:]
	}
	return ""
}

// errNoEntry is a line that is JSON, but no entry.
var errNoEntry = errors.New("neither the time nor the kind of an entry")

// decode reads one line, without its end, over e. It takes what it knows: fields of other versions
// go into e.Unknown, by name.
func (e *Entry) decode(line []byte) error {
	*e = Entry{}
	var odd *json.UnmarshalTypeError
	err := json.Unmarshal(line, e)
	if errors.As(err, &odd) { // the rest has been read all the same
		e.Unknown = append(e.Unknown, odd.Field)
		err = nil
	}
	switch {
	case err != nil:
		return err
	case e.Time.IsZero() || e.Kind == "":
		return errNoEntry
	case e.Version != Version || odd != nil:
		e.unknown(line)
	}
	return nil
}

// maxUnknown is how many fields of other versions an entry names.
const maxUnknown = 32

// unknown finds the fields that an entry of this version does not have.
func (e *Entry) unknown(line []byte) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(line, &fields) != nil {
		return // it is an object, as has been seen
	}
	for field := range reflect.TypeFor[Entry]().Fields() {
		known, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		for name := range fields {
			if strings.EqualFold(name, known) { // as encoding/json matches them
				delete(fields, name)
			}
		}
	}
	e.Unknown = slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(e.Unknown, maps.Keys(fields)))))
	e.Unknown = e.Unknown[:min(len(e.Unknown), maxUnknown)]
}
