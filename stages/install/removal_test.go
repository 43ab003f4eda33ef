package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContradiction: the stage itself refuses what a lock could not see, for removals are
// no part of what a lock belongs to.
func TestContradiction(t *testing.T) {
	stanza := func(name, status, more string) string {
		return "Package: " + name + "\nStatus: " + status + "\nArchitecture: amd64\nVersion: 1\n" + more + "\n"
	}
	const ok = "install ok installed"
	before := stanza("wget", ok, "Depends: libpsl5t64\n") + stanza("libpsl5t64", ok, "") + stanza("exim4", ok, "Provides: mail-transport-agent\n") + stanza("app", ok, "")
	after := stanza("wget", "deinstall ok config-files", "") + stanza("app", ok, "")
	for _, c := range []struct {
		name, status, before, after string
		manual, remove              []string
	}{
		{"kept", before, "", "", []string{"wget=1", "mail-transport-agent", "app=1"}, []string{"unknown"}},
		{"taken", before, "remove[0] (libpsl5t64) takes wget, which packages[1] asks for: it needs libpsl5t64", "", []string{"app=1", "wget=1"}, []string{"libpsl5t64"}},
		{"taken by apt alone", after, "", "remove (libpsl5t64) takes wget, which packages[1] asks for", []string{"app=1", "wget=1"}, []string{"libpsl5t64"}},
		{"a provider gone", after, "", "remove (x) takes mail-transport-agent, which packages[0] asks for", []string{"mail-transport-agent"}, []string{"x"}},
		{"nothing to remove", after, "", "", []string{"wget=1"}, nil},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, statusFile)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(c.status), 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		p := Params{Manual: c.manual, Remove: c.remove, Places: []string{"packages[0]", "packages[1]", "packages[2]"}}
		for _, check := range []struct {
			err  error
			want string
		}{{(&installation{root: root}).contradictions(p), c.before}, {kept(root, p), c.after}} {
			if (check.err == nil) != (check.want == "") || check.err != nil && !strings.HasPrefix(check.err.Error(), check.want) {
				t.Errorf("%s: %v, want %q", c.name, check.err, check.want)
			}
		}
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
