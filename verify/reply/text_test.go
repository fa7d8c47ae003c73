package reply

import (
	"slices"
	"strings"
	"testing"
)

// TestScan holds what the rules get to see of a text.
func TestScan(t *testing.T) {
	tests := []struct{ text, words, masked string }{
		{"5.1.1 <anna@example.com>: User unknown", "@addr user unknown", "anna@example.com"},
		{"550-5.1.1 a\n550 5.1.1 b", "a b", ""},
		{"550-User unknown", "user unknown", ""},
		{"user spam@example.com is full.", "user @addr is full .", "spam@example.com"},
		{`<"no such user"@example.com> gone`, "@addr gone", `"no such user"@example.com`},
		{"to:full@example.com bounced", "to @addr bounced", "full@example.com"},
		{"RCPT TO:<full@example.com>", "rcpt to @addr", "full@example.com"},
		{"o'brien+x=y@example.com.", "@addr .", "o'brien+x=y@example.com"},
		{"Host [192.0.2.1] at 192.0.2.1:25, 2001:db8::1", "host @ip at @ip @ip", "192.0.2.1 192.0.2.1:25 2001:db8::1"},
		{"see https://example.com/?p=NoSuchUser now", "see @url now", "https://example.com/?p=NoSuchUser"},
		{"see www.example.com/spam", "see @url", "www.example.com/spam"},
		{"mx.spam.example.com refused", "@host refused", "mx.spam.example.com"},
		{"<blocked> gone <two words>", "@host gone two words", "blocked"},
		{"rejected.Please try again!", "rejected . please try again .", ""},
		{"RESOLVER.ADR.RecipNotFound; not found", "resolver adr recipnotfound . not found", ""},
		{"doesn't exist, the recipient’s box", "doesnt exist the recipients box", ""},
		{"L'utilisateur n'existe pas", "l utilisateur n existe pas", ""},
		{"Empfänger über Straße, Łódź", "empfanger uber strasse lodz", ""},
		{"用户不存在", "用 户 不 存 在", ""},
		{"Ящик ПЕРЕПОЛНЕН", "ящик переполнен", ""},
		{"non-existent no_such HELO/EHLO A/AAAA", "non existent no such helo ehlo a aaaa", ""},
		{"(#5.7.1) sorry", "sorry", ""},
		{"\x00\x1b[31mred\xff\xfe", "31mred", ""},
		{strings.Repeat("x", 41) + " y", "y", ""},
	}
	for _, tt := range tests {
		f := finder{a: embedded().auto, notes: &notes{}}
		s := scanner{out: &f}
		s.scan(tt.text)
		words := strings.TrimSpace(f.notes.words.String())
		if masked := strings.Join(f.notes.hidden, " "); words != tt.words || masked != tt.masked {
			t.Errorf("%q: %q without %q; want %q without %q", tt.text, words, masked, tt.words, tt.masked)
		}
	}
}

// TestEnds: of a long text the beginning and the end are read.
func TestEnds(t *testing.T) {
	f := finder{a: embedded().auto, notes: &notes{}}
	s := scanner{out: &f}
	s.scan("first " + strings.Repeat("filler ", 10000) + " last")
	got := f.notes.words.String()
	if !strings.HasPrefix(got, " first filler") || !strings.HasSuffix(got, "filler last") || len(got) > maxText+100 {
		t.Errorf("%d octets: %.20q ... %q", len(got), got, got[len(got)-20:])
	}
}

// TestPhrases holds the syntax of phrases.
func TestPhrases(t *testing.T) {
	rule := func(name string, change func(*rawRule)) rawRule {
		r := rawRule{Name: name, Label: PolicyOther, Subject: SubjectUnclear, Confidence: 1}
		change(&r)
		return r
	}
	file := ruleFile{
		Words: map[string][]string{"box": {"box", "mail box"}, "gone": {"is gone", "{box} ~ went"}},
		Rule: []rawRule{
			rule("stem", func(r *rawRule) { r.Any = []string{"grey*"} }),
			rule("longer stem", func(r *rawRule) { r.Any = []string{"greyhound*"} }),
			rule("list", func(r *rawRule) { r.Any = []string{"no {box}"} }),
			rule("pair", func(r *rawRule) { r.Any = []string{"cat ~1 dog"} }),
			rule("nested", func(r *rawRule) { r.Any = []string{"{gone}"} }),
			rule("near", func(r *rawRule) { r.Near = [][]string{{"sun"}, {"moon"}} }),
			rule("all", func(r *rawRule) { r.All = [][]string{{"sun"}, {"moon"}} }),
			rule("not", func(r *rawRule) { r.Any, r.Not = []string{"tea"}, []string{"milk"} }),
			rule("raw", func(r *rawRule) { r.Any, r.Raw = []string{"oh"}, []string{"Oh!"} }),
			rule("most", func(r *rawRule) { r.Any, r.Most = []string{"few"}, 2 }),
			rule("url", func(r *rawRule) { r.Any = []string{"url:nowhere"} }),
			rule("mark", func(r *rawRule) { r.Any = []string{"@ip"} }),
			rule("code", func(r *rawRule) { r.Codes = []string{"57x"} }),
			rule("enhanced", func(r *rawRule) { r.Enhanced = []string{"x.7.10-19"} }),
			rule("none", func(r *rawRule) { r.Codes, r.Enhanced = []string{"569"}, []string{"none"} }),
			rule("provider", func(r *rawRule) { r.Providers = []string{"acme*"} }),
		},
	}
	rs, err := compile([]ruleFile{file})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text, provider string
		code           int
		want           string
	}{
		{"greyed", "", 550, "stem"},
		{"greyhounds", "", 550, "stem"},
		{"agrey", "", 550, ""},
		{"no mail box", "", 550, "list"},
		{"no mailbox", "", 550, ""},
		{"no. box", "", 550, ""},
		{"cat x dog", "", 550, "pair"},
		{"cat x y dog", "", 550, ""},
		{"dog cat", "", 550, ""},
		{"cat. dog", "", 550, ""},
		{"cat <a@example.com> dog", "", 550, "pair"},
		{"it is gone", "", 550, "nested"},
		{"mail box it went", "", 550, "nested"},
		{"moon and sun", "", 550, "near"},
		{"moon. sun", "", 550, "all"},
		{"moon", "", 550, ""},
		{"tea", "", 550, "not"},
		{"tea and milk", "", 550, ""},
		{"Oh!", "", 550, "raw"},
		{"oh!", "", 550, ""},
		{"few x", "", 550, "most"},
		{"few x y", "", 550, ""},
		{"http://x.example.com/nowhere", "", 550, "url"},
		{"nowhere", "", 550, ""},
		{"192.0.2.1", "", 550, "mark"},
		{"x", "", 571, "code"},
		{"5.7.12 x", "", 550, "enhanced"},
		{"5.7.20 x", "", 550, ""},
		{"x", "", 569, "none"},
		{"5.0.0 x", "", 569, ""},
		{"x", "acme1", 550, "provider"},
		{"x", "ac", 550, ""},
	}
	for _, tt := range tests {
		f := finder{a: rs.auto}
		got := rs.classify(&Input{Code: tt.code, Text: tt.text, Provider: tt.provider}, &f).Rule
		if got != tt.want && (tt.want != "" || got != "code/5xx") {
			t.Errorf("%d %q of %q: %s; want %s", tt.code, tt.text, tt.provider, got, tt.want)
		}
	}
}

func TestRuleFaults(t *testing.T) {
	tests := []struct {
		change func(*rawRule)
		want   string
	}{
		{func(r *rawRule) { r.Any = []string{"{nolist}"} }, "nolist"},
		{func(r *rawRule) { r.Any = []string{"ab*"} }, "shorter"},
		{func(r *rawRule) { r.Any = []string{""} }, "empty"},
		{func(r *rawRule) { r.Any = []string{"@who"} }, "@who"},
		{func(r *rawRule) { r.Codes = []string{"abc"} }, `code "abc"`},
		{func(r *rawRule) { r.Enhanced = []string{"5.1"} }, `"5.1"`},
		{func(r *rawRule) { r.Enhanced = []string{"5.1.z"} }, `"5.1.z"`},
		{func(r *rawRule) { r.Stages = []Stage{"dinner"} }, "dinner"},
	}
	for _, tt := range tests {
		r := rawRule{Name: "it", Label: PolicyOther, Subject: SubjectUnclear, Confidence: 1}
		tt.change(&r)
		_, err := compile([]ruleFile{{Rule: []rawRule{r}}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want it to name %s", r, err, tt.want)
		}
	}
	if slices.Contains(families(), "") {
		t.Error("a family without a name")
	}
}
