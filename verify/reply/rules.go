package reply

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"github.com/rcptgate/rcptgate/internal/esmtp"
)

// rulesFS holds the rules. The package comment says how they are written.
//
//go:embed rules/*.toml
var rulesFS embed.FS

// families are the files of rules in the order of their evidence.
func families() []string {
	return []string{"ticket", "veto", "recipient", "enhanced", "hint", "code"}
}

// ruleFile is one file as it is written.
type ruleFile struct {
	Words map[string][]string `toml:"words"`
	Rule  []rawRule           `toml:"rule"`
}

// rawRule is one rule as it is written. Every condition that is given must hold.
type rawRule struct {
	Name       string     `toml:"name"`
	Label      Label      `toml:"label"`
	Subject    Subject    `toml:"subject"`
	Confidence float64    `toml:"confidence"`
	Any        []string   `toml:"any"`       // one of these phrases
	All        [][]string `toml:"all"`       // one of each of these lists as well
	Near       [][]string `toml:"near"`      // one of each of these lists, in one sentence
	Not        []string   `toml:"not"`       // none of these
	Raw        []string   `toml:"raw"`       // one of these stands in the text, letter by letter
	Most       int        `toml:"most"`      // at most so many words in the text
	Codes      []string   `toml:"codes"`     // "550", "55x", "4xx"
	Enhanced   []string   `toml:"enhanced"`  // "5.1.1", "x.2.2", "x.7.606-649", "none"
	Stages     []Stage    `toml:"stages"`    // none given: all at which Subject can be spoken of
	Providers  []string   `toml:"providers"` // "microsoft*"
	Proof      bool       `toml:"proof"`     // may prove, if stage, code and enhanced code agree
	Policy     bool       `toml:"policy"`    // proves in spite of x.6.z and x.7.z
	Exists     bool       `toml:"exists"`    // says that the mailbox exists
	Source     string     `toml:"source"`
	Examples   []string   `toml:"examples"`
}

// rule is a rawRule made ready.
type rule struct {
	class     Class
	policy    bool
	need      []uint16
	not       []uint16
	raw       []string
	most      int
	codes     []codeRange
	enhanced  []codePattern
	stages    stageSet
	providers []string
}

type codeRange struct{ from, to int }

// codePattern is an enhanced code with ranges; class 0 is any.
type codePattern struct {
	none  bool // there is no enhanced code
	parts [3]codeRange
}

func (p codePattern) matches(e esmtp.EnhancedCode) bool {
	none := e == (esmtp.EnhancedCode{})
	if p.none || none {
		return p.none && none
	}
	for i, part := range p.parts {
		if e[i] < part.from || e[i] > part.to {
			return false
		}
	}
	return true
}

type stageSet uint16

func stageBit(s Stage) stageSet {
	for i, known := range allStages() {
		if s == known {
			return 1 << i
		}
	}
	return 0
}

func allStages() []Stage {
	return []Stage{
		StageConnect, StageHelo, StageStartTLS, StageMail, StageRcpt, StageData, StageDot, StageUnknown,
	}
}

// earlyStages come before the server has heard of the recipient: whatever it says there, it
// does not say of the mailbox.
func earlyStages() stageSet {
	return stageBit(StageConnect) | stageBit(StageHelo) | stageBit(StageStartTLS) | stageBit(StageMail)
}

// ruleSet is all rules, compiled.
type ruleSet struct {
	rules []rule
	auto  *automaton
}

// embedded compiles the rules that are part of the program, once. TestRules holds that it
// succeeds; without rules the basic code would decide alone.
var embedded = sync.OnceValue(func() *ruleSet { //nolint:gochecknoglobals // constant once made
	rs, err := loadRules()
	if err != nil {
		return &ruleSet{auto: &automaton{
			root: make([]int32, 1), nodes: make([]node, 1),
			slotOf: make([]uint16, maxFeatures), pairs: make([][]pair, maxFeatures),
		}}
	}
	return rs
})

func loadRules() (*ruleSet, error) {
	files, err := readRules()
	if err != nil {
		return nil, err
	}
	return compile(files)
}

func readRules() ([]ruleFile, error) {
	var files []ruleFile
	for _, family := range families() {
		data, err := rulesFS.ReadFile("rules/" + family + ".toml")
		if err != nil {
			return nil, fmt.Errorf("reply: %w", err)
		}
		var file ruleFile
		dec := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
		if err := dec.Decode(&file); err != nil {
			if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
				return nil, fmt.Errorf("reply: rules/%s.toml: %s", family, strict.String())
			}
			return nil, fmt.Errorf("reply: rules/%s.toml: %w", family, err)
		}
		for i := range file.Rule {
			file.Rule[i].Name = family + "/" + file.Rule[i].Name
		}
		files = append(files, file)
	}
	return files, nil
}

// holds reports whether every condition of the rule does.
func (r *rule) holds(q *query) bool {
	for _, feature := range r.need {
		if !q.found.has(feature) {
			return false
		}
	}
	switch {
	case r.stages&q.stage == 0,
		r.most > 0 && q.words > r.most,
		len(r.codes) > 0 && !r.hasCode(q.in.Code),
		len(r.enhanced) > 0 && !r.hasEnhanced(q.enhanced),
		len(r.providers) > 0 && !r.hasProvider(q.in.Provider),
		len(r.raw) > 0 && !r.hasRaw(q.in.Text):
		return false
	}
	return !slices.ContainsFunc(r.not, q.found.has)
}

func (r *rule) hasCode(code int) bool {
	for _, c := range r.codes {
		if code >= c.from && code <= c.to {
			return true
		}
	}
	return false
}

func (r *rule) hasEnhanced(e esmtp.EnhancedCode) bool {
	for _, p := range r.enhanced {
		if p.matches(e) {
			return true
		}
	}
	return false
}

func (r *rule) hasRaw(text string) bool {
	for _, s := range r.raw {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func (r *rule) hasProvider(name string) bool {
	for _, p := range r.providers {
		prefix, glob := strings.CutSuffix(p, "*")
		if name == p || glob && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
