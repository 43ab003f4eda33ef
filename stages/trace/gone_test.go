package trace

import (
	"testing"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

func TestGone(t *testing.T) {
	absent := func(name, depends string) sbom.Absent {
		return sbom.Absent{Name: name, Version: "1", ID: name + ":amd64=1", Needs: sbom.Needs{Depends: depends}}
	}
	want := map[string]string{
		"libc6": "", "libpsl5t64": "remove[1]: libpsl5t64", "wget": "remove[1]: needs libpsl5t64", "mirror": "remove[1]: needs wget, which needs libpsl5t64",
		"libidn": "nothing that is left needs it", "sudo": "removed by script project/scripts/a.sh", "of-base": "went with what remove names (none, libpsl5t64)",
	}
	r := &run{absent: []sbom.Absent{absent("libpsl5t64", "libc6, libidn"), absent("wget", "libpsl5t64"), absent("mirror", "wget | curl"), absent("libidn", "libc6"), absent("sudo", "libc6")}}
	r.params.Remove = []string{"none", "libpsl5t64"}
	var packages []trace.Package
	for name := range want {
		packages = append(packages, trace.Package{Name: name, Architecture: "amd64", Version: "1", Set: "target"})
	}
	r.tracer = trace.NewTracer("x", "1", nil, packages)
	script := stage.Actor{Kind: stage.ByScript, Name: "project/scripts/a.sh"}
	r.params.Installer = "install"
	r.gone(&dpkgdb.DB{Packages: []dpkgdb.Package{{Name: "libc6", Architecture: "amd64", Version: "1"}}}, []trace.Turn{
		{Stage: "customise", Changes: &stage.Changes{Removed: map[string]stage.Actor{"var/lib/dpkg/info/sudo.list": script}}},
		{Stage: "install", Changes: &stage.Changes{Removed: map[string]stage.Actor{"var/lib/dpkg/info/of-base.list": script}}},
	})
	for _, p := range r.tracer.Head.Packages {
		if p.Gone != want[p.Name] {
			t.Errorf("%s: %q, want %q", p.Name, p.Gone, want[p.Name])
		}
	}
}
