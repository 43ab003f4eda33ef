package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// What a parameter of a stage may follow from, besides keys of the config.
const (
	fromLock     = "(lock)"
	fromProject  = "(project)"
	fromIsotrace = "(isotrace)"
	fromItself   = "(itself)" // it is a file of the project that is recorded nowhere else
	fromRelease  = "name release"
)

// backing says from what each parameter of a stage follows: keys of the config, the
// lock, the project's files, or isotrace itself. One that differs though nothing of it
// does is unexplained. A parameter that is not listed follows from all of it.
var backing = map[string]string{
	"install manual": "packages debs " + fromLock, "install expect": fromLock, "install remove": "remove", "install preseed": "preseed",
	"customise files": "overlay " + fromProject, "customise scripts": "scripts", "customise hostname": "hostname", "customise locale": "locale",
	"customise locales": "locales", "customise timezone": "timezone", "customise keyboard": "keyboard", "customise users": "users",
	"customise root-password-hash": "root-password-hash", "sanitise keep": "sanitise", "sanitise protect": "overlay " + fromProject,
	"customise live-session": "live-session title name", "kernel verity": "squashfs", "kernel casper": "live",
	"kernel live": "live", "kernel persistence": "boot", "kernel disk": "outputs", "kernel init": "boot disk outputs", "manifest live-only": "manifest", "catalogue expect": fromLock,
	"squashfs compression": "squashfs", "squashfs level": "squashfs", "squashfs verity": "squashfs",
	"bootparts marker": fromRelease, "bootparts memtest": "boot", "bootparts secure-boot": "boot",
	"livetree name": "name", "livetree title": "title name", "livetree release": "release", "livetree architecture": "architecture", "livetree live": "live",
	"livetree parameters": "boot", "livetree timeout": "boot", "livetree serial": "boot", "livetree secure-boot": "boot", "livetree persistence": "boot", "livetree memory-tests": "boot",
	"livetree template": "boot " + fromProject + " " + fromIsotrace, "iso file": "name", "iso volume": fromRelease,
	"diskboot title": "title name", "diskboot release": "release", "diskboot timeout": "boot", "diskboot serial": "boot", "diskboot parameters": "disk boot",
	"diskboot secure-boot": "boot", "diskboot template": fromIsotrace, "disk outputs": "outputs name", "disk size": "disk",
	"trace name": "name", "trace release": "release", "trace archives": fromLock, "trace packages": fromLock, "trace asked": "packages debs " + fromLock, "trace own": "boot", "trace installer": fromIsotrace,
	"trace remove": "remove", "trace requirements": fromItself, "trace allow": "unexplained", "trace kernel": fromIsotrace, "trace initrd": fromIsotrace,
	"sbom isotrace": fromIsotrace, "sbom name": "name", "sbom title": "title name", "sbom release": "release", "sbom file-name": "name", "sbom location": "name " + fromIsotrace,
	"sbom bios-image": fromIsotrace, "sbom licences": "boot", "sbom supplier": "supplier", "sbom archives": fromLock, "sbom packages": fromLock, "sbom base": fromLock, "sbom sources": fromLock,
	"sourceiso file": "name", "sourceiso volume": fromRelease, "fetch": fromLock,
}

// parameters are the parts of a stage's parameters; one without a name where they are
// no object.
func parameters(raw json.RawMessage) map[string]json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err == nil {
		return m
	}
	return map[string]json.RawMessage{"": raw}
}

// differing are the parameters that two records of a stage have differently.
func differing(a, b json.RawMessage) []string {
	was, is := parameters(a), parameters(b)
	var list []string
	for _, key := range keysOf(was, is) {
		if !bytes.Equal(compact(was[key]), compact(is[key])) {
			list = append(list, key)
		}
	}
	return list
}

func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// paramCauses are the reasons for which a parameter differs; none where it should not.
func (c *comparison) paramCauses(stage, key string) []Cause {
	follows, listed := backing[strings.TrimSpace(stage+" "+key)]
	if !listed {
		follows = strings.Join(append(c.changedKeys(), fromLock, fromProject, fromIsotrace), " ")
	}
	var causes []Cause
	for _, from := range strings.Fields(follows) {
		switch from {
		case fromLock:
			if !c.lock.Same {
				causes = append(causes, Cause{CauseLock, "isotrace.lock"})
			}
		case fromProject:
			causes = append(causes, c.projectCauses(stage, key)...)
		case fromItself:
			causes = append(causes, Cause{CauseProject, "the project's " + key})
		case fromIsotrace: // below
		default:
			if slices.Contains(c.changedKeys(), from) {
				causes = append(causes, Cause{CauseConfig, "config " + from})
			}
		}
	}
	if c.isotrace != nil && len(causes) == 0 { // another version may take another default
		causes = append(causes, c.isotraceCause())
	}
	return causes
}

// placed is a file of the project as customise is told to put it into the tree.
type placed struct {
	Material string `json:"material"`
	LinkOf   string `json:"link-of"`
	To       string `json:"to"`
	Mode     uint32 `json:"mode"`
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	Link     string `json:"link"`
}

func (m *Model) placed() map[string]placed {
	var files []placed
	raw := parameters(m.Records["customise"].Params)["files"]
	if json.Unmarshal(raw, &files) != nil {
		return nil
	}
	all := map[string]placed{}
	for _, f := range files {
		all[f.To] = f
	}
	return all
}

// projectCauses are the project's files that differ, in content or in how customise
// places them: a file's mode stands nowhere else.
func (c *comparison) projectCauses(stage, key string) []Cause {
	var causes []Cause
	for _, f := range c.project {
		causes = append(causes, Cause{CauseProject, f.Path + " is " + f.Change()})
	}
	if stage != "customise" && stage != "sanitise" || key != "files" && key != "protect" {
		return causes
	}
	was, is := c.placed[0], c.placed[1]
	for _, to := range keysOf(was, is) {
		if x, y := was[to], is[to]; x != y {
			causes = append(causes, placedCause(to, x, y))
		}
	}
	return causes
}

func placedCause(to string, was, is placed) Cause {
	switch {
	case was == placed{}:
		return Cause{CauseProject, "overlay " + to + " is added"}
	case is == placed{}:
		return Cause{CauseProject, "overlay " + to + " is removed"}
	case was.Mode != is.Mode:
		return Cause{CauseProject, fmt.Sprintf("overlay %s has mode %04o → %04o", to, was.Mode, is.Mode)}
	}
	return Cause{CauseProject, "overlay " + to + " is placed otherwise"}
}
