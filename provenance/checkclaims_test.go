package provenance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

func fileEntry(path, content string) roottree.Entry {
	return roottree.Entry{Path: path, Type: roottree.File, Mode: 0o644, Size: int64(len(content)), SHA256: digest(content)}
}

// claimed is a root tree with the .debs of three packages: pam has a module that permits
// and one that denies, dash diverts sh, and own is a file of the project.
type claimed struct {
	head       trace.Head
	tree       *roottree.Manifest
	diversions map[string]dpkgdb.Diversion
	debs       []debContent
	lines      map[string]*trace.Origin
}

const (
	permit = "usr/lib/security/pam_permit.so"
	deny   = "usr/lib/security/pam_deny.so"
)

func newClaimed() *claimed {
	c := &claimed{
		head: trace.Head{
			Packages: []trace.Package{
				{Name: "pam", Version: "1", Architecture: "amd64", Set: "target", Origin: trace.Archive},
				{Name: "dash", Version: "1", Architecture: "amd64", Set: "target", Origin: trace.Archive},
				{Name: "own", Version: "1", Architecture: "all", Set: "target", Origin: trace.Overlay, Archive: "project", Path: "debs/own.deb"},
				{Name: "grub", Version: "1", Architecture: "amd64", Set: "boot", Origin: trace.Archive},
				{Name: "libpam", Version: "1", Architecture: "amd64", Set: "target", Origin: trace.Archive},
			},
			Actors: []trace.Actor{
				{Stage: "install", Actor: stage.Actor{Kind: stage.ByPackage, Name: "pam", Script: "postinst", Action: "configure"}},
				{Stage: "sanitise", Actor: stage.Actor{Kind: stage.ByPass, Name: "p"}},
				{Stage: "install", Actor: stage.Actor{Kind: stage.ByOverlay, Name: "project/debs/own.deb"}},
			},
			Removed: []trace.Removed{{Path: "usr/share/doc/pam", Package: 0}},
		},
		tree: &roottree.Manifest{Entries: []roottree.Entry{
			fileEntry("etc/changed", "new"), fileEntry("etc/made", "made"), fileEntry("etc/pass", "pass"), fileEntry("opt/own", "own"), fileEntry("usr/bin/sh.distrib", "bash"),
			fileEntry("usr/lib/security/copy", "doc"), fileEntry(deny, "deny"), fileEntry(permit, "permit"),
		}},
		diversions: map[string]dpkgdb.Diversion{"usr/bin/sh": {To: "usr/bin/sh.distrib", Package: "dash"}},
		debs: []debContent{
			{Deb: trace.Deb{Package: 0, List: &roottree.Manifest{Entries: []roottree.Entry{
				fileEntry("etc/changed", "old"), fileEntry("usr/bin/sh", "bash"), fileEntry(deny, "deny"), fileEntry(permit, "permit"), fileEntry("usr/share/doc/pam", "doc"),
			}}}, scripts: []string{"postinst"}},
			{Deb: trace.Deb{Package: 1, List: &roottree.Manifest{}}, scripts: []string{"preinst"}, divert: "dpkg-divert --add --divert /usr/bin/sh.distrib /usr/bin/sh"},
			{Deb: trace.Deb{Package: 2, List: &roottree.Manifest{Entries: []roottree.Entry{fileEntry("opt/own", "own")}}}},
			{Deb: trace.Deb{Package: 4, List: &roottree.Manifest{Entries: []roottree.Entry{fileEntry("usr/lib/security/copy", "doc")}}}},
		},
		lines: map[string]*trace.Origin{},
	}
	for _, e := range c.tree.Entries {
		c.lines[e.Path] = &trace.Origin{Path: e.Path, Type: e.Type, SHA256: e.SHA256, Size: e.Size, Kind: trace.Archive, Package: number(0)}
	}
	c.lines["etc/changed"].Kind, c.lines["etc/changed"].By, c.lines["etc/changed"].Was = trace.Modified, number(0), &trace.Was{Type: roottree.File, SHA256: digest("old")}
	*c.lines["etc/made"] = trace.Origin{Path: "etc/made", Type: roottree.File, Kind: trace.Generated, By: number(0)}
	*c.lines["etc/pass"] = trace.Origin{Path: "etc/pass", Type: roottree.File, Kind: trace.Modified, By: number(1), Was: &trace.Was{By: number(0)}}
	c.lines["opt/own"].Kind, c.lines["opt/own"].Package, c.lines["opt/own"].By = trace.Overlay, number(2), number(2)
	c.lines["usr/lib/security/copy"].Package = number(4)
	return c
}

// says is all that is wrong.
func (c *claimed) says(t *testing.T) string {
	t.Helper()
	k, err := newClaims(&c.head, c.tree, c.diversions, trace.Owners{}, c.debs)
	if err != nil {
		t.Fatal(err)
	}
	var problems []Problem
	lines := map[string]trace.Origin{}
	for _, e := range c.tree.Entries {
		lines[e.Path] = *c.lines[e.Path]
		if wrong := k.judge(c.lines[e.Path]); wrong != "" {
			problems = append(problems, Problem{"/" + e.Path, wrong})
		}
	}
	problems = append(problems, k.diverted(lines)...)
	problems = append(problems, k.removed()...)
	problems = append(problems, k.actors(func(name string) bool { return name == "of-base" })...)
	return fmt.Sprint(problems)
}

// put makes a file of the tree have other content, as an attacker would.
func (c *claimed) put(path, content string) {
	for i := range c.tree.Entries {
		if e := &c.tree.Entries[i]; e.Path == path {
			e.SHA256, e.Size = digest(content), int64(len(content))
			c.lines[path].SHA256, c.lines[path].Size = e.SHA256, e.Size
		}
	}
}

func (c *claimed) generated(path string) {
	o := c.lines[path]
	o.Kind, o.Package, o.Was, o.By = trace.Generated, nil, nil, number(0)
}

func TestClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*claimed)
		says   string
	}{
		"as it is":                     {func(*claimed) {}, "[]"},
		"equal bytes at another path":  {func(c *claimed) { c.put(deny, "permit") }, "/" + deny + ": is said to be in pam:amd64=1, which does not hold it so"},
		"of another package":           {func(c *claimed) { c.lines[permit].Package = number(4) }, "is said to be in libpam:amd64=1, which does not hold it so"},
		"of the boot set":              {func(c *claimed) { c.lines[permit].Package = number(3) }, "is said to be in grub:amd64=1, which does not hold it so"},
		"of others, too":               {func(c *claimed) { c.lines[permit].Others = []int{1} }, "in other packages than those that hold it so"},
		"replaced, said generated":     {func(c *claimed) { c.put(deny, "evil"); c.generated(deny) }, "/" + deny + ": is in pam:amd64=1, but not as it is, and is said to be generated"},
		"as it is, said generated":     {func(c *claimed) { c.generated(deny) }, "/" + deny + ": is in pam:amd64=1 as it is, and is said to be generated"},
		"as it is, said the project's": {func(c *claimed) { c.lines[deny].Kind = trace.Overlay }, "as it is, and is said to be overlay"},
		"the project's, said a .deb's": {func(c *claimed) { c.lines["opt/own"].Kind = trace.Archive }, "/opt/own: is in own:all=1 as it is, and is said to be archive"},
		"changed from other bytes": {func(c *claimed) { c.lines["etc/changed"].Was.SHA256 = digest("never") },
			"/etc/changed: is said to have been"},
		"changed in more than is said": {func(c *claimed) { c.tree.Entries[0].Mode = 0o4755 }, "/etc/changed: is said to have been"},
		"changed, of no package":       {func(c *claimed) { c.lines["etc/changed"].Package = nil }, "but not as it is, and is said to be modified"},
		"changed from what no .deb has": {func(c *claimed) {
			*c.lines["etc/made"] = trace.Origin{Path: "etc/made", Type: roottree.File, Kind: trace.Modified, By: number(1), Package: number(0), Was: &trace.Was{SHA256: digest("x")}}
		}, "/etc/made: is said to be modified from what pam:amd64=1 has, which does not have it"},
		"changed from nothing at all": {func(c *claimed) { c.lines["etc/pass"].Was.SHA256 = digest("x") }, "/etc/pass: is said to have been another file before"},
		"diverted by nobody": {func(c *claimed) {
			c.diversions[permit] = dpkgdb.Diversion{To: "etc/made", Package: "dash"}
			c.put("etc/made", "permit")
			c.lines["etc/made"].Kind, c.lines["etc/made"].Package, c.lines["etc/made"].By = trace.Archive, number(0), nil
		}, "/" + permit + " is diverted to /etc/made: no script of dash:amd64=1 does so"},
		"diverted onto another file": {func(c *claimed) {
			c.put(deny, "permit")
			c.diversions[permit] = dpkgdb.Diversion{To: deny, Package: "dash"}
			c.debs[1].divert += " pam_permit.so"
		}, "is diverted to /" + deny + ": pam:amd64=1 has a file there"},
		"diverted by a script with its name in another word": {func(c *claimed) {
			c.diversions[permit] = dpkgdb.Diversion{To: "etc/made", Package: "dash"}
			c.put("etc/made", "permit")
			c.lines["etc/made"].Kind, c.lines["etc/made"].Package, c.lines["etc/made"].By = trace.Archive, number(0), nil
			c.generated(permit)
			c.put(permit, "evil")
			c.debs[1].divert += " /lib/pam_permit.so.1 not-pam_permit.so"
		}, "/" + permit + " is diverted to /etc/made: no script of dash:amd64=1 does so"},
		"diverted in a chain": {func(c *claimed) {
			c.put(deny, "permit")
			c.diversions[permit], c.diversions[deny] = dpkgdb.Diversion{To: deny, Package: "dash"}, dpkgdb.Diversion{To: "etc/made", Package: "dash"}
			c.debs[1].divert += " pam_permit.so pam_deny.so"
		}, "one of the two is diverted otherwise, too"},
		"two diverted to one place": {func(c *claimed) { c.diversions[permit] = dpkgdb.Diversion{To: "usr/bin/sh.distrib", Package: "dash"} }, "are diverted to one place"},
		"diverted by the administrator, and said generated": {func(c *claimed) {
			c.diversions[deny] = dpkgdb.Diversion{To: "etc/made"}
			c.put("etc/made", "deny")
			*c.lines["etc/made"] = *c.lines[deny]
			c.lines["etc/made"].Path = "etc/made"
			c.put(deny, "evil")
			c.generated(deny)
		}, "no package of an archive did so, and what stands in its place is said to be generated"},
		"said to be removed":     {func(c *claimed) { c.head.Removed = append(c.head.Removed, trace.Removed{Path: permit, Package: 0}) }, "is said to be removed from what pam:amd64=1 has, and is not"},
		"removed, and not said":  {func(c *claimed) { c.head.Removed = nil }, "/usr/share/doc/pam is in pam:amd64=1, and neither in the image nor said to be removed"},
		"a script that is none":  {func(c *claimed) { c.head.Actors[0].Script = "preinst" }, "pam's preinst configure is said to have written files, and no .deb of that name has a preinst"},
		"a script of the base's": {func(c *claimed) { c.head.Actors[0].Name = "of-base" }, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newClaimed()
			c.change(i)
			if text := i.says(t); !strings.Contains(text, c.says) {
				t.Errorf("says %s, want %q", text, c.says)
			}
		})
	}
}

func TestNamesFile(t *testing.T) {
	const script = "#!/bin/sh\n# as su would\nset -e # usual\nfor t in awk 'mawk'; do\n\tdpkg-divert --rename --divert=/usr/bin/$t.x /usr/bin/$t \"/lib/${lib}/libz.so.1\"\ndone\n"
	text := withoutComments(script)
	for name, want := range map[string]bool{"awk": true, "mawk": true, "libz.so.1": true, "done": true, "su": false, "sh": false, "libz.so": false, "wk": false, "e": false} {
		if have := namesFile(text, name); have != want {
			t.Errorf("%s: %v, want %v", name, have, want)
		}
	}
}

// TestListed: lists are known in each form in which isotrace has ever written them.
func TestListed(t *testing.T) {
	p := lockfile.Package{Archive: "debian/trixie", Path: "pool/a.deb"}
	entry := fileEntry("usr/bin/su", "su")
	entry.Mode, entry.Uname, entry.Gname = 0o4755, "root", "root"
	entry.Xattrs = []roottree.Xattr{{Name: "user.a", Value: []byte("b")}}
	bare := entry
	bare.Uname, bare.Gname = "", ""
	named, without := &roottree.Manifest{Entries: []roottree.Entry{entry}}, &roottree.Manifest{Entries: []roottree.Entry{bare}}
	other := &roottree.Manifest{Entries: []roottree.Entry{fileEntry("usr/bin/su", "other")}}
	b := &Bundle{Lock: &lockfile.Lock{Archives: []lockfile.Archive{{ID: "debian/trixie", Repository: "debian"}}}}
	for want, ok := range map[artifact.Digest]bool{
		named.Digest(): true, named.Identity(): true, without.Digest(): true, without.Identity(): true, other.Digest(): false, other.Identity(): false, "": false,
	} {
		v := &verification{Bundle: b, made: map[string]artifact.Digest{recordLists + "debian/" + p.Path + listSuffix: want}}
		if err := v.listed(p, debContent{Deb: trace.Deb{List: named}}); (err == nil) != ok {
			t.Errorf("%s: %v", want, err)
		}
	}
}
