package requirement

import "strings"

// maxID is the length of the longest identifier, in bytes.
const maxID = 64

// Nearest returns the listed identifier that id is most likely meant to be, and
// whether one is near: the same but for case, punctuation and leading zeros, or
// else but for one letter in four, and two at most. Of several it is the first.
func (l *List) Nearest(id string) (string, bool) {
	best, score, folded := "", min(len(id)/4, 2)+1, foldID(id)
	for _, r := range l.all {
		if foldID(r.ID) == folded {
			return r.ID, true
		}
		if d := distance(id, r.ID, score-1); d < score {
			best, score = r.ID, d
		}
	}
	return best, best != ""
}

// foldID makes of HLR-07 and hlr_7 the same text.
func foldID(id string) string {
	var b strings.Builder
	for id != "" {
		if n := digits(id); n > 0 {
			b.WriteString(strings.TrimLeft(id[:n], "0") + ".")
			id = id[n:]
			continue
		}
		if c := id[0]; 'A' <= c && c <= 'Z' {
			b.WriteByte(c - 'A' + 'a')
		} else if 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		}
		id = id[1:]
	}
	return b.String()
}

// distance counts the letters by which two texts differ, a pair in the wrong
// order as one, where it is no more than limit; else it is limit+1. It looks at
// 2*limit+1 cells a letter.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit || len(b) > maxID {
		return limit + 1
	}
	// A row's cell j is the distance of a's beginning to b[:j].
	var rows [3][maxID + 1]int
	before, above, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		from, to := max(0, i-limit), min(len(b), i+limit)
		least := limit + 1
		for j := from; j <= to; j++ {
			d := limit + 1
			if j < i+limit {
				d = above[j] + 1
			}
			if j > from {
				d = min(d, row[j-1]+1)
			}
			if j > 0 {
				same := above[j-1]
				if a[i-1] != b[j-1] {
					same++
				}
				d = min(d, same)
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			row[j] = d
			least = min(least, d)
		}
		if least > limit {
			return limit + 1
		}
	}
	return min(row[len(b)], limit+1)
}
