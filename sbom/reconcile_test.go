package sbom

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func at(name, version string) Seen {
	return Seen{Name: name, Architecture: "amd64", Version: version, Source: name, SourceVersion: version}
}

func ids(list []Finding) string {
	var all []string
	for _, f := range list {
		all = append(all, f.ID)
	}
	return strings.Join(all, " ")
}

func TestReconcile(t *testing.T) {
	installed := []Seen{at("a", "1"), at("b", "2"), at("c", "1:3-1"), at("d", "4")}
	locked := []string{"a:amd64=1", "b:amd64=2", "c:amd64=1:3-1", "d:amd64=4"}
	if got := Reconcile(slices.Clone(installed), locked, installed, "syft"); len(got) > 0 {
		t.Errorf("all agree: %+v", got)
	}
	other := at("b", "2")
	other.SourceVersion = "2-0"
	arm := at("a", "1")
	arm.Architecture = "arm64"
	for _, c := range []struct {
		name   string
		locked []string
		other  []Seen
		want   string
	}{
		{"not in the lock", locked[1:], installed, "lock-extra:a:amd64"},
		{"not installed", append(slices.Clone(locked), "e:amd64=1"), installed, "lock-missing:e:amd64"},
		{"another version", append(slices.Clone(locked[:3]), "d:amd64=5"), installed, "lock-version:d:amd64"},
		{"another architecture", append(slices.Clone(locked[1:]), "a:arm64=1"), installed, "lock-extra:a:amd64 lock-missing:a:arm64"},
		{"not seen", locked, installed[:3], "cataloguer-missing:d:amd64"},
		{"seen and not there", locked, append(slices.Clone(installed), at("half-configured", "1")), "cataloguer-extra:half-configured:amd64"},
		{"seen in another version", locked, append(slices.Clone(installed[:3]), at("d", "4~")), "cataloguer-version:d:amd64"},
		{"seen for another architecture", locked, append(slices.Clone(installed[1:]), arm), "cataloguer-extra:a:arm64 cataloguer-missing:a:amd64"},
		{"seen from another source", locked, []Seen{installed[0], other, installed[2], installed[3]}, "cataloguer-source:b:amd64"},
		{"nothing at all", nil, nil, "cataloguer-missing:a:amd64 cataloguer-missing:b:amd64 cataloguer-missing:c:amd64 cataloguer-missing:d:amd64 " +
			"lock-extra:a:amd64 lock-extra:b:amd64 lock-extra:c:amd64 lock-extra:d:amd64"},
	} {
		got := Reconcile(installed, c.locked, c.other, "syft")
		if ids(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, ids(got), c.want)
		}
		slices.Reverse(c.locked)
		slices.Reverse(c.other)
		if again := Reconcile(installed, c.locked, c.other, "syft"); fmt.Sprint(again) != fmt.Sprint(got) {
			t.Errorf("%s: another order gives others", c.name)
		}
		for _, f := range got {
			if there := !strings.HasPrefix(f.ID, RuleNotInstalled) && !strings.HasPrefix(f.ID, RuleNotThere); there != (len(f.Components) == 1) || f.Text == "" {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
}

// TestReconcileBounded demands that a tree in which nothing agrees gives no
// document of findings alone, and that how many there are is said.
func TestReconcileBounded(t *testing.T) {
	var installed []Seen
	for i := range maxFindings + 5 {
		installed = append(installed, at(fmt.Sprintf("p%d", i), "1"))
	}
	got := Reconcile(installed, nil, installed, "syft")
	if len(got) != maxFindings+1 || got[0].ID != RuleNotLocked || got[0].Text != "and 5 more of lock-extra" {
		t.Errorf("%d findings, the first %+v", len(got), got[0])
	}
	d := sample()
	d.Findings = append(d.Findings, got[0])
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDepend(t *testing.T) {
	pkg := func(set Set, name, version string) Package {
		return Package{Set: set, Name: name, Version: version, Architecture: "amd64"}
	}
	packages := []Package{
		pkg(Target, "a", "1"), pkg(Target, "libc6", "2.41"), pkg(Target, "mawk", "1"), pkg(Target, "gawk", "1"), pkg(Target, "virtual-user", "1"),
		pkg(Tools, "libc6", "2.41"), pkg(Boot, "grub", "1"), pkg(Target, "loop", "1"), pkg(Target, "bad", "1"),
	}
	needs := []Needs{
		{PreDepends: "libc6 (>= 2.36)", Depends: "awk, mawk | gawk, libc6:any", Recommends: "loop, not-there"},
		{},
		{Provides: "awk (= 1.3)"},
		{Provides: "awk"},
		{Depends: "awk (>= 1.2)"},
		{Depends: "a"},
		{Depends: "libc6"},
		{Depends: "loop, self", Provides: "self"},
		{Depends: "x (", Provides: "~", Recommends: "a (>> 1)"},
	}
	findings := Depend(packages, needs)
	for i, want := range []string{
		"complete target/gawk:amd64=1 depends, target/libc6:amd64=2.41 depends, target/libc6:amd64=2.41 pre-depends, target/loop:amd64=1 recommends, target/mawk:amd64=1 depends",
		"complete ", "complete ", "complete ",
		"complete target/mawk:amd64=1 depends", // a version of what is provided: that of gawk is not said
		"incomplete ",                          // a stands in another set
		"incomplete ",
		"complete ", // itself
		"incomplete ",
	} {
		var all []string
		for _, d := range packages[i].Dependencies {
			all = append(all, d.On+" "+string(d.Kind))
		}
		if got := string(packages[i].Completeness) + " " + strings.Join(all, ", "); got != want {
			t.Errorf("%s: %s\nwant %s", packages[i].Name, got, want)
		}
	}
	if got := ids(findings); got != "dependency:target/bad:amd64 dependency:target/bad:amd64:2" {
		t.Errorf("findings %s", got)
	}
	if err := (&Document{Format: Format, Version: "1", Epoch: 1757318400, Product: Product{Name: "x", Version: "1"}, Findings: findings}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestParseSources(t *testing.T) {
	got, err := ParseSources("glibc (= 2.41-12), busybox (= 1:1.37.0-6), glibc (= 2.41-12)")
	if err != nil || fmt.Sprint(got) != "[{busybox 1:1.37.0-6} {glibc 2.41-12}]" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseSources(""); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"glibc", "glibc (>= 1)", "a (= 1) | b (= 1)", "glibc (= ", "\x1b[2J (= 1)"} {
		if _, err := ParseSources(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
