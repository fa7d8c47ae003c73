package web

import (
	"time"

	"github.com/rcptgate/rcptgate/policy/register"
	"github.com/rcptgate/rcptgate/policy/senders"
)

// Status is how the gate is.
type Status struct {
	Version, Commit string
	Started         time.Time
	Config          string    // the file
	Loaded          time.Time // when the configuration in use was read
	Mode            string    // verify.mode in effect: "active" or "passive"
	Policy          string    // policy.mode: "enforce" or "shadow"
	Preset          string
	Checks          []Check
}

// StatusAnswer is Status in JSON, with counts of what is kept.
type StatusAnswer struct {
	Ready  bool        `json:"ready"` // as /readyz
	State  string      `json:"state"` // the worst of the parts: "ok", "degraded" or "failed"
	Checks []PartState `json:"checks"`

	Version string    `json:"version"`
	Commit  string    `json:"commit,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Config  string    `json:"config"`
	Loaded  time.Time `json:"loaded,omitzero"`
	Mode    string    `json:"mode"`
	Policy  string    `json:"policy"`
	Preset  string    `json:"preset,omitempty"`

	Suppressions map[register.Reason]int    `json:"suppressions,omitempty"`
	Suppressed   map[register.Reason]uint64 `json:"suppressed,omitempty"` // recipients, since the start
	Overrides    int                        `json:"overrides"`
	Senders      map[senders.State]int      `json:"senders,omitempty"`
	Journal      *JournalCounts             `json:"journal,omitempty"`
}

// PartState is a Check in JSON.
type PartState struct {
	Part   string `json:"part"`
	State  string `json:"state"`
	Detail string `json:"detail"`
}

// JournalCounts are counts since the start.
type JournalCounts struct {
	Entries        uint64 `json:"entries"`
	Lost           uint64 `json:"lost"`
	Unsaved        uint64 `json:"unsaved"`
	WebhookSent    uint64 `json:"webhook_sent"`
	WebhookGivenUp uint64 `json:"webhook_given_up"`
	WebhookWaiting int    `json:"webhook_waiting"`
}

func (c *call) status() error {
	if c.parts.Status == nil {
		return missing("gate that runs", "start it: systemctl start rcptgate")
	}
	s := c.parts.Status()
	state := worst(s.Checks)
	answer := StatusAnswer{
		Ready: state != Failed, State: state.String(), Checks: make([]PartState, len(s.Checks)),
		Version: s.Version, Commit: s.Commit, Started: s.Started, Config: s.Config, Loaded: s.Loaded,
		Mode: s.Mode, Policy: s.Policy, Preset: s.Preset,
	}
	for i, check := range s.Checks {
		answer.Checks[i] = PartState{check.Part, check.State.String(), check.Detail}
	}
	if list := c.parts.Register; list != nil {
		answer.Suppressions, answer.Suppressed = list.Counts(), list.Hits()
		answer.Overrides = len(list.Overrides())
	}
	if c.parts.Senders != nil {
		answer.Senders = c.parts.Senders.States()
	}
	if c.parts.Journal != nil {
		n := c.parts.Journal.Stats()
		answer.Journal = &JournalCounts{
			Entries: n.Entries, Lost: n.Lost, Unsaved: n.Unsaved, WebhookSent: n.Webhook.Sent,
			WebhookGivenUp: n.Webhook.GivenUp, WebhookWaiting: n.Webhook.Waiting,
		}
	}
	return c.reply(answer)
}
