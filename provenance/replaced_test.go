package provenance

import (
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

func TestReplaced(t *testing.T) {
	changed := &trace.Was{Type: roottree.File, SHA256: digest("old")}
	for name, c := range map[string]struct {
		origin trace.Origin
		by     stage.ActorKind
		mode   string
		want   bool
	}{
		"a program":              {trace.Origin{Path: "usr/bin/x", Was: changed}, stage.ByPackage, "0755", true},
		"a program, by a pass":   {trace.Origin{Path: "usr/bin/x", Was: changed}, stage.ByPass, "4750", true},
		"a library":              {trace.Origin{Path: "usr/lib/libx.so.1.2", Was: changed}, stage.ByPackage, "0644", true},
		"a module of PAM":        {trace.Origin{Path: "usr/lib/security/pam_deny.so", Was: changed}, stage.ByProgram, "0644", true},
		"a kernel module":        {trace.Origin{Path: "usr/lib/modules/6/x.ko.zst", Was: changed}, stage.ByPackage, "0644", true},
		"a conffile":             {trace.Origin{Path: "etc/x.conf", Was: changed}, stage.ByPackage, "0644", false},
		"a mode alone":           {trace.Origin{Path: "usr/bin/x", Was: &trace.Was{Mode: "0755"}}, stage.ByPackage, "4755", false},
		"by the project":         {trace.Origin{Path: "usr/bin/x", Was: changed}, stage.ByScript, "0755", false},
		"of nobody before":       {trace.Origin{Path: "usr/bin/x", Was: &trace.Was{By: number(0)}}, stage.ByPass, "0755", false},
		"sticky, and no program": {trace.Origin{Path: "etc/x", Was: changed}, stage.ByPackage, "1644", false},
	} {
		c.origin.Kind, c.origin.Type = trace.Modified, roottree.File
		if have := replaced(&c.origin, c.by, c.mode); have != c.want {
			t.Errorf("%s: %v", name, have)
		}
	}
}
