// Package changelog reads Debian changelogs, deb-changelog(5), as streams and within
// bounds. What is no entry, such as an upstream's own text, is passed over.
package changelog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
)

// Bounds of what is read.
const (
	// MaxLine is how much of a line is kept, in bytes.
	MaxLine = 4 << 10
	// MaxText is how much of an entry's text is kept, in bytes.
	MaxText = 64 << 10
)

// Entry is what changed in one version.
type Entry struct {
	Source       string `json:"source"`
	Version      string `json:"version"`
	Distribution string `json:"distribution"`
	Urgency      string `json:"urgency,omitempty"`
	// Text has the changes as they stand, without blank lines at its ends.
	Text string `json:"text"`
	// By and Date are those of the trailer; "" where there is none.
	By   string `json:"by,omitempty"`
	Date string `json:"date,omitempty"`
	// Cut tells that the text was longer than is kept.
	Cut bool `json:"cut,omitempty"`
}

var (
	heading = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]*) \(([^() \t]+)\)((?:[ \t]+[A-Za-z0-9+.-]+)+);(.*)$`)
	trailer = regexp.MustCompile(`^ -- (.*?)(?:  +(.*))?$`)
	urgency = regexp.MustCompile(`(?i)(?:^|[ \t,])urgency=([a-z]+)`)
)

// Read passes each entry to visit, in the order of the file, until that returns false.
func Read(r io.Reader, visit func(Entry) bool) error {
	lines := bufio.NewReaderSize(r, MaxLine)
	var e *entry
	for {
		line, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("changelog: %w", err)
		}
		ended := errors.Is(err, io.EOF)
		next := begin(line)
		if e != nil && (next != nil || ended) {
			if ended && next == nil {
				e.add(line)
			}
			if !visit(e.done()) {
				return nil
			}
			e = nil
		}
		switch {
		case next != nil:
			if e = next; ended {
				visit(e.done())
			}
		case e != nil && e.end(line):
			if !visit(e.done()) {
				return nil
			}
			e = nil
		case e != nil:
			e.add(line)
		}
		if ended {
			return nil
		}
	}
}

// readLine reads a line without its end; of a longer one than is kept the rest is lost.
func readLine(r *bufio.Reader) (string, error) {
	line, more, err := r.ReadLine()
	text := strings.ToValidUTF8(string(bytes.TrimRight(line, " \t\r")), "\uFFFD")
	for more && err == nil {
		_, more, err = r.ReadLine()
	}
	return text, err
}

// entry is one that is being read.
type entry struct {
	Entry
	text strings.Builder
}

// begin makes an entry of its heading; nil of any other line.
func begin(line string) *entry {
	m := heading.FindStringSubmatch(line)
	if m == nil || archive.ValidatePackageName(m[1]) != nil || archive.ValidateVersion(m[2]) != nil {
		return nil
	}
	e := &entry{Entry: Entry{Source: m[1], Version: m[2], Distribution: strings.Join(strings.Fields(m[3]), " ")}}
	if u := urgency.FindStringSubmatch(m[4]); u != nil {
		e.Urgency = strings.ToLower(u[1])
	}
	return e
}

// end takes the trailer.
func (e *entry) end(line string) bool {
	m := trailer.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	e.By, e.Date = strings.TrimSpace(m[1]), strings.TrimSpace(m[2])
	return true
}

func (e *entry) add(line string) {
	if e.Cut = e.Cut || e.text.Len()+len(line) >= MaxText; !e.Cut {
		e.text.WriteString(line + "\n")
	}
}

func (e *entry) done() Entry {
	e.Text = strings.Trim(e.text.String(), "\n")
	return e.Entry
}

// Between tells whether a version is newer than from, and no newer than to.
func Between(version, from, to string) bool {
	return archive.CompareVersions(version, from) > 0 && archive.CompareVersions(version, to) <= 0
}
