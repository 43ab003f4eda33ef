package selftest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/sandbox"
)

// ProbeCommand is the word with which isotrace says what it sees around it.
const ProbeCommand = "probe"

// Seen is what a program sees around it.
type Seen struct {
	Hostname   string   `json:"hostname"`
	Interfaces []string `json:"interfaces"` // but for the loopback
	Variables  []string `json:"variables"`  // names
	User       int      `json:"user"`
	Top        []string `json:"top"` // the names in /
	Writable   bool     `json:"writable"`
	// Escapes are the ways out of the sandbox that are open, of those that were Tried.
	Escapes []string `json:"escapes"`
	Tried   int      `json:"tried"`
}

// Look looks around.
func Look() (s Seen, err error) {
	if s.Hostname, err = os.Hostname(); err != nil {
		return s, err
	}
	all, err := net.Interfaces()
	if err != nil {
		return s, err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			s.Interfaces = append(s.Interfaces, i.Name)
		}
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		s.Variables = append(s.Variables, name)
	}
	s.User = os.Getuid()
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		s.Top = append(s.Top, e.Name())
	}
	s.Writable = os.WriteFile("/selftest", nil, 0o600) == nil
	s.Escapes, s.Tried = escapes(), len(ways)
	return s, err
}

// top are the folders of the sandbox's root tree.
var top = []string{"dev", "lib", "lib64", "proc", "run", "sys", "tmp", "usr"}

// probe runs isotrace itself in a root tree that has nothing else.
func probe(ctx context.Context, b *bench, l sandbox.Limits) (s Seen, err error) {
	root := filepath.Join(b.dir, "root")
	for _, name := range top {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return s, err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "isotrace"), nil, 0o755); err != nil {
		return s, err
	}
	spec := sandbox.Spec{Root: root, Limits: l, Binds: []sandbox.Bind{{Source: b.program, Target: "/isotrace"}}, Argv: []string{"/isotrace", "selftest", ProbeCommand}}
	if libraries, err := dynamic(b.program); err != nil {
		return s, err
	} else if libraries { // with tokens and key services it has some
		for _, dir := range []string{"/usr", "/lib", "/lib64"} {
			if source, err := filepath.EvalSymlinks(dir); err == nil {
				spec.Binds = append(spec.Binds, sandbox.Bind{Source: source, Target: dir})
			}
		}
	}
	var out, said bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &said
	if err := b.run(ctx, spec); err != nil {
		return s, fmt.Errorf("%w: %s", err, said.String())
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("%w: %.200s", err, out.String())
	}
	return s, nil
}

func sandboxed(ctx context.Context, b *bench) error {
	s, err := probe(ctx, b, sandbox.Limits{})
	if err != nil {
		return err
	}
	foreign := slices.DeleteFunc(slices.Clone(s.Top), func(n string) bool { return n == "isotrace" || slices.Contains(top, n) })
	secret := slices.DeleteFunc(slices.Clone(s.Variables), func(n string) bool {
		return slices.Contains([]string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LC_ALL", "LANG", "TZ", "TERM"}, n)
	})
	switch {
	case s.Hostname != sandbox.Hostname:
		return fmt.Errorf("the host name is %q", s.Hostname)
	case len(s.Interfaces) > 0:
		return fmt.Errorf("there is a network: %s", strings.Join(s.Interfaces, ", "))
	case len(foreign) > 0:
		return fmt.Errorf("files of the host are there: %s", strings.Join(foreign, ", "))
	case len(secret) > 0:
		return fmt.Errorf("variables of the host are there: %s", strings.Join(secret, ", "))
	case s.User != 0:
		return fmt.Errorf("the user is %d", s.User)
	case s.Writable:
		return errors.New("the root tree can be written to")
	}
	return nil
}

// dynamic tells whether a program needs libraries.
func dynamic(program string) (bool, error) {
	f, err := elf.Open(program)
	if err != nil {
		return false, err
	}
	found := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	return found, f.Close()
}
