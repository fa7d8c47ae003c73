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

	Connections int // open client connections
	Relay       []RelayState
	Own         OwnState
	Files       FileLimit
}

// RelayState is one server of the relay.
type RelayState struct {
	Address  string `json:"address"`
	State    string `json:"state"` // "up", also before it was tried, or "down"
	Sessions int    `json:"sessions"`
	Idle     int    `json:"idle"` // of Sessions
	// Since is when it came into this state, Error what was last wrong with it.
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error,omitempty"`
}

// OwnState is how the addresses are that probes leave from.
type OwnState struct {
	Addresses []string     `json:"addresses"`
	Checked   time.Time    `json:"checked,omitzero"` // when DNS was last asked; zero: not yet, or never
	Findings  []OwnFinding `json:"findings"`
}

// OwnFinding is something wrong with them.
type OwnFinding struct {
	Kind     string    `json:"kind"`
	Severity string    `json:"severity"`
	Subject  string    `json:"subject"`
	What     string    `json:"what"`
	Fix      string    `json:"fix"`
	Since    time.Time `json:"since,omitzero"`
}

// FileLimit is how many files, sockets among them, the process has open and may have. 0: not known.
type FileLimit struct {
	Open  int    `json:"open"`
	Limit uint64 `json:"limit"`
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

	Connections int          `json:"connections"` // open, of clients
	Relay       []RelayState `json:"relay"`
	Own         OwnState     `json:"own_addresses"`
	Files       FileLimit    `json:"files"`

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
		Mode: s.Mode, Policy: s.Policy, Preset: s.Preset, Connections: s.Connections,
		Relay: append([]RelayState{}, s.Relay...), Own: s.Own, Files: s.Files,
	}
	answer.Own.Addresses = append([]string{}, s.Own.Addresses...)
	answer.Own.Findings = append([]OwnFinding{}, s.Own.Findings...)
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
