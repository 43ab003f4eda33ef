package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

// forged is a name that would be two lines, the second of which says something else.
const forged = "usr/bin/x\n/usr/bin/y\tarchive coreutils"

// TestNamesStayInTheirLine: no name in an image makes a line of its own.
func TestNamesStayInTheirLine(t *testing.T) {
	for name, c := range map[string]struct {
		write func(*bytes.Buffer) error
		lines int
	}{
		"files": {func(b *bytes.Buffer) error {
			return (&query{}).write(b, []fileHit{{Part: trace.PartRoot, Origin: trace.Origin{Path: forged}, About: "overlay by " + forged}}, 0)
		}, 1},
		"chain": {func(b *bytes.Buffer) error {
			return (&node{text: forged}).add(&node{text: forged}, &node{text: forged}).write(b)
		}, 3},
		"check": {func(b *bytes.Buffer) error {
			writeCheck(b, provenance.Check{Rule: "trace", State: provenance.Invalid, Problems: []provenance.Problem{{File: forged, Detail: "is " + forged}}})
			writeCheck(b, provenance.Check{Rule: "trace", State: provenance.Valid, What: forged})
			return nil
		}, 2},
		"coverage": {func(b *bytes.Buffer) error {
			return writeCoverage(b, coverageAnswer{Findings: []trace.Finding{{Rule: "r", Path: forged, Text: forged}}})
		}, 0},
		"packages": {func(b *bytes.Buffer) error {
			return writePackages(b, []*trace.Package{{Name: forged, Version: forged, Licence: forged}})
		}, 2},
		"rebuild": {func(b *bytes.Buffer) error {
			return writeRebuilt(b, &stages.Rebuilt{Built: &stages.Built{}, Stages: []stages.Compared{{Stage: "base", Differs: forged, Detail: []string{forged}}}}, "out", false)
		}, 3},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "\n/usr/bin/y") || !strings.Contains(b.String(), `usr/bin/x\x0a/usr/bin/y\x09archive`) {
			t.Errorf("%s:\n%s", name, b.String())
		}
		if n := strings.Count(b.String(), "\n"); c.lines > 0 && n != c.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", name, n, c.lines, b.String())
		}
	}
}

// TestBuildTellsAll: a build says of its own output all that does not hold, as its error
// says.
func TestBuildTellsAll(t *testing.T) {
	var b bytes.Buffer
	s := &stages.Session{Progress: &plainProgress{start: time.Now(), out: &b}}
	tellFailed(s)(provenance.Check{Rule: "sums", State: provenance.Invalid, Problems: []provenance.Problem{{File: "a", Detail: "is gone"}, {File: "b", Detail: "is another"}}})
	tellFailed(s)(provenance.Check{Rule: "iso", State: provenance.Valid})
	for _, want := range []string{"sums: a: is gone\n", "sums: b: is another\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
}
