package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

var idForm = form(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)

// Entry is a part of the config that may say which requirements it is there for.
type Entry struct {
	Path         string // such as packages[3]
	Name         string // of the package, file or account; "" where the path says it all
	Requirements []string
}

// String names the entry for people: packages[3]: openssh-server.
func (e Entry) String() string {
	if e.Name == "" {
		return e.Path
	}
	return e.Path + ": " + e.Name
}

// Entries lists the parts of the config that may name requirements, whether or
// not they do.
func (c *Config) Entries() []Entry {
	var all []Entry
	for i, p := range c.Packages {
		all = append(all, Entry{at("packages", i), p.Name, p.Requirements})
	}
	for i, d := range c.Debs {
		all = append(all, Entry{at("debs", i), d.File, d.Requirements})
	}
	for _, k := range []keyed[Source]{{"preseed", c.Preseed}, {"scripts", c.Scripts}} {
		for i, s := range k.list {
			all = append(all, Entry{at(k.key, i), s.From, s.Requirements})
		}
	}
	for i, o := range c.Overlay {
		all = append(all, Entry{at("overlay", i), o.From, o.Requirements})
	}
	for i, u := range c.Users {
		all = append(all, Entry{at("users", i), u.Name, u.Requirements})
	}
	return append(all, Entry{"boot", "", c.Boot.Requirements})
}

func (f *file) requirements(c *Config) error {
	if c.RequirementsFile != "" {
		if err := local(c.RequirementsFile); err != nil {
			return f.errorAt("requirements-file", inProject, "%w", err)
		}
	}
	for _, e := range c.Entries() {
		for i, id := range e.Requirements {
			if !idForm(id) {
				return f.errorAt(at(e.Path+".requirements", i), "such as HLR-12", "%q is not an identifier", id)
			}
		}
	}
	return nil
}

// ErrorAt is an error about the value at a path of a config that Parse took,
// such as packages[3].requirements[0]: for what shows only when the files that
// the config names are read.
func ErrorAt(text []byte, path, hint, format string, args ...any) error {
	f := &file{name: FileName, root: &yaml.Node{Line: 1}}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) == nil && len(doc.Content) > 0 {
		f.root = doc.Content[0]
	}
	return f.errorAt(path, hint, "%w", fmt.Errorf(format, args...))
}
