package main

import (
	"strings"
	"unicode/utf8"
)

// table draws a table as PrettyTable of Python does: every cell centred. paint may
// colour a cell, given its column's heading.
func table(columns []string, rows [][]any, paint func(heading, cell string) string) string {
	cells := [][]string{columns}
	for _, row := range rows {
		var line []string
		for _, v := range row {
			line = append(line, show(v))
		}
		cells = append(cells, line)
	}
	widths := make([]int, len(columns))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	rule(&b, widths)
	for n, line := range cells {
		for i, cell := range line {
			cell = centre(cell, widths[i])
			if n > 0 {
				cell = paint(columns[i], cell)
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if n == 0 {
			rule(&b, widths)
		}
	}
	rule(&b, widths)
	return b.String()
}

func rule(b *strings.Builder, widths []int) {
	for _, w := range widths {
		b.WriteString("+" + strings.Repeat("-", w+2))
	}
	b.WriteString("+\n")
}

// centre centres a cell. Where the space cannot be halved, the larger part goes
// to the right of a text of odd length and to the left of one of even length.
func centre(cell string, width int) string {
	length := utf8.RuneCountInString(cell)
	left := (width - length) / 2
	if (width-length)%2 == 1 && length%2 == 0 {
		left++
	}
	return strings.Repeat(" ", left) + cell + strings.Repeat(" ", width-length-left)
}
