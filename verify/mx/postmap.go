package mx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// row is a line of a lookup table.
type row struct{ key, value string }

// table is what postmap said of one.
type table struct {
	rows []row
	err  error
}

// table dumps a lookup table type:name by `postmap -s` (postmap(1)). The error says what to do by
// hand.
func (p *postfix) table(ctx context.Context, item string) ([]row, error) {
	if t, ok := p.tables[item]; ok {
		return t.rows, t.err
	}
	rows, err := p.dump(ctx, item)
	p.tables[item] = table{rows, err}
	return rows, err
}

func (p *postfix) dump(ctx context.Context, item string) ([]row, error) {
	// The proxymap service opens the same table; postmap can do so itself.
	name := strings.TrimPrefix(strings.TrimPrefix(item, "proxy:"), "proxywrite:")
	kind, _, ok := strings.Cut(name, ":")
	if !ok {
		return nil, errors.New("not a lookup table; list its domains by hand")
	}
	switch kind {
	case "hash", "btree", "cdb", "lmdb", "dbm", "sdbm", "texthash", "inline":
	case "static":
		return nil, errors.New("matches every domain; set verify.mode = \"passive\" if that is meant")
	default:
		return nil, fmt.Errorf("%s tables cannot be listed; list their domains by hand", kind)
	}
	out, err := p.run(ctx, "postmap", "-s", name)
	if err != nil {
		return nil, fmt.Errorf("postmap -s %s failed (%w); list its domains by hand", name, err)
	}
	return parseRows(string(out)), nil
}

// parseRows reads the output of postmap -s: key, a tab, value on each line. The order is that of
// the hash; the rows are sorted.
func parseRows(out string) []row {
	var rows []row
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if key = strings.TrimSpace(key); key != "" {
			rows = append(rows, row{key, strings.TrimSpace(value)})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
	return rows
}
