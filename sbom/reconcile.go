package sbom

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Seen is an installed package as somebody sees it.
type Seen struct {
	Name          string `json:"name"`
	Architecture  string `json:"architecture"`
	Version       string `json:"version"`
	Source        string `json:"source"`
	SourceVersion string `json:"source-version"`
}

// ID is NAME:ARCH=VERSION.
func (s Seen) ID() string { return s.Name + ":" + s.Architecture + "=" + s.Version }

func (s Seen) key() string { return s.Name + ":" + s.Architecture }

// The rules that Reconcile holds packages to. A finding's ID is the rule's name,
// a colon and the package's name and architecture.
const (
	RuleNotLocked    = "lock-extra"         // installed, and not in the lock
	RuleNotInstalled = "lock-missing"       // in the lock, and not installed
	RuleOtherVersion = "lock-version"       // installed in another version
	RuleNotSeen      = "cataloguer-missing" // installed, and not seen by the other cataloguer
	RuleNotThere     = "cataloguer-extra"   // seen by it, and not installed
	RuleSeenVersion  = "cataloguer-version" // seen by it in another version
	RuleSeenSource   = "cataloguer-source"  // seen by it as built from something else
	RuleDatabase     = "dpkg-database"      // the database is not as dpkg leaves it
	RuleCopyright    = "copyright"          // a copyright file cannot be read
	RuleDependency   = "dependency"         // a dependency field cannot be read
	RuleUnreadable   = "cataloguer"         // a cataloguer could not read something
)

// maxFindings bounds the findings of one rule; how many there are is told.
const maxFindings = 1000

// Reconcile compares what is installed with what the lock has, NAME:ARCH=VERSION
// each, and with what another cataloguer saw in the same tree. Every difference
// is a finding, in order.
func Reconcile(installed []Seen, locked []string, other []Seen, by string) []Finding {
	c := comparison{have: index(installed)}
	want := map[string]Seen{}
	for _, id := range locked {
		name, version, _ := strings.Cut(id, "=")
		name, arch, _ := strings.Cut(name, ":")
		s := Seen{Name: name, Architecture: arch, Version: version}
		want[s.key()] = s
	}
	saw := index(other)
	for _, key := range slices.Sorted(maps.Keys(c.have)) {
		have := c.have[key]
		switch w, ok := want[key]; {
		case !ok:
			c.tell(RuleNotLocked, key, "%s is installed and not in the lock", have.ID())
		case w.Version != have.Version:
			c.tell(RuleOtherVersion, key, "%s is installed, and the lock has version %s", have.ID(), w.Version)
		}
		switch s, ok := saw[key]; {
		case !ok:
			c.tell(RuleNotSeen, key, "%s is installed, and %s does not see it", have.ID(), by)
		case s.Version != have.Version:
			c.tell(RuleSeenVersion, key, "%s is installed, and %s sees version %s", have.ID(), by, s.Version)
		case s.Source != have.Source || s.SourceVersion != have.SourceVersion:
			c.tell(RuleSeenSource, key, "%s is built from %s %s, and %s says from %s %s", have.ID(), have.Source, have.SourceVersion, by, s.Source, s.SourceVersion)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if _, ok := c.have[key]; !ok {
			c.tell(RuleNotInstalled, key, "%s is in the lock and not installed", want[key].ID())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(saw)) {
		if _, ok := c.have[key]; !ok {
			c.tell(RuleNotThere, key, "%s sees %s, which is not installed", by, saw[key].ID())
		}
	}
	return c.finish()
}

func index(list []Seen) map[string]Seen {
	all := make(map[string]Seen, len(list))
	for _, s := range list {
		all[s.key()] = s
	}
	return all
}

type comparison struct {
	have     map[string]Seen
	findings []Finding
	count    map[string]int
}

func (c *comparison) tell(rule, key, format string, args ...any) {
	if c.count == nil {
		c.count = map[string]int{}
	}
	if c.count[rule]++; c.count[rule] > maxFindings {
		return
	}
	f := Finding{ID: line(rule+":"+key, maxWord), Text: fmt.Sprintf(format, args...)}
	if have, ok := c.have[key]; ok {
		f.Components = []string{string(Target) + "/" + have.ID()}
	}
	c.findings = append(c.findings, f)
}

func (c *comparison) finish() []Finding {
	for rule, n := range c.count {
		if n > maxFindings {
			c.findings = append(c.findings, Finding{ID: rule, Text: fmt.Sprintf("and %d more of %s", n-maxFindings, rule)})
		}
	}
	slices.SortFunc(c.findings, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
	return c.findings
}
