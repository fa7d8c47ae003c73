package main

import (
	"slices"
	"strings"
)

// topColumn is a column of a table. Where the terminal is narrow, columns of high rank go first;
// those of rank 0 stay.
type topColumn struct {
	title topText
	right bool // aligned
	rank  int
	// most is the width beyond which a column takes no more unless there is room: 0 is no limit.
	most int
}

// topTable is rows below titles.
type topTable struct {
	columns []topColumn
	rows    []topRow
}

// topRow is a row, in one style.
type topRow struct {
	cells []topText
	style topStyle
}

const topGap = 2 // between columns

func (t *topTable) add(style topStyle, cells ...topText) {
	t.rows = append(t.rows, topRow{cells, style})
}

// filter keeps the rows that have a text in them, however it is written.
func (t *topTable) filter(text topText) {
	if text == "" {
		return
	}
	want := strings.ToLower(string(text))
	t.rows = slices.DeleteFunc(t.rows, func(r topRow) bool {
		return !slices.ContainsFunc(r.cells, func(cell topText) bool {
			return strings.Contains(strings.ToLower(string(cell)), want)
		})
	})
}

// lines lays the table out. Width 0 is as wide as it takes.
func (t *topTable) lines(c topCharset, width int) []topLine {
	widths := t.widths(width)
	titles := make([]topText, len(t.columns))
	for i, column := range t.columns {
		titles[i] = column.title
	}
	lines := []topLine{t.line(c, titles, topFaint, widths)}
	for _, row := range t.rows {
		lines = append(lines, t.line(c, row.cells, row.style, widths))
	}
	return lines
}

// widths is that of each column, 0 of those that are left out.
func (t *topTable) widths(room int) []int {
	natural := make([]int, len(t.columns))
	for i, column := range t.columns {
		natural[i] = column.title.width()
		for _, row := range t.rows {
			natural[i] = max(natural[i], row.cells[i].width())
		}
	}
	if room == 0 {
		return natural
	}
	widths := make([]int, len(natural))
	for i, column := range t.columns {
		widths[i] = natural[i]
		if column.most > 0 {
			widths[i] = min(natural[i], max(column.most, column.title.width()))
		}
	}
	for total(widths) > room {
		worst := -1
		for i, column := range t.columns {
			if widths[i] > 0 && column.rank > 0 && (worst < 0 || column.rank > t.columns[worst].rank) {
				worst = i
			}
		}
		if worst < 0 {
			break // the line is cut
		}
		widths[worst] = 0
	}
	spare := room - total(widths)
	for i := range widths {
		if widths[i] > 0 && spare > 0 {
			more := min(natural[i]-widths[i], spare)
			widths[i], spare = widths[i]+more, spare-more
		}
	}
	return widths
}

// total is the width of all columns with their gaps.
func total(widths []int) int {
	n := -topGap
	for _, w := range widths {
		if w > 0 {
			n += w + topGap
		}
	}
	return n
}

func (t *topTable) line(c topCharset, cells []topText, style topStyle, widths []int) topLine {
	var b strings.Builder
	for i, width := range widths {
		if width == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(strings.Repeat(" ", topGap))
		}
		cell := c.cut(cells[i], width)
		blank := strings.Repeat(" ", width-cell.width())
		if t.columns[i].right {
			b.WriteString(blank + string(cell))
		} else {
			b.WriteString(string(cell) + blank)
		}
	}
	return topWords(style, topText(strings.TrimRight(b.String(), " ")))
}
