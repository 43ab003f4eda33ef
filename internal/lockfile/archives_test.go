package lockfile

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

// TestArchivesOfConfig: the lock's archives are the config's, whatever digest it gives the
// config.
func TestArchivesOfConfig(t *testing.T) {
	const (
		bootstrap = "base: {bootstrap: trixie}\narchives: [{suite: trixie, components: [main], signed-by: k.asc}]\n"
		image     = "base: {oci: l}\n"
		tools     = "tools: {archives: [{suite: trixie, components: [main], signed-by: k.asc}]}\nboot: {archives: [{suite: trixie, components: [main], signed-by: k.asc}]}\n"
	)
	index := func(component string) Index {
		return Index{artifact.Ref{Path: "dists/trixie/" + component + "/binary-amd64/Packages.xz"}, component}
	}
	archive := func() Archive {
		return Archive{ID: "debian/trixie", Repository: "debian", Suite: "trixie", Date: "2026-01-01T00:00:00Z",
			Keyring: artifact.Ref{Path: "k.asc"}, Indexes: []Index{index("main")}}
	}
	for name, c := range map[string]struct {
		config string
		change func(*Lock)
		want   string
	}{
		"as it is":           {bootstrap, func(*Lock) {}, ""},
		"another keyring":    {bootstrap, func(l *Lock) { l.Archives[0].Keyring.Path = "m.asc" }, "has its keys from m.asc, isotrace.yaml says k.asc"},
		"of the base image":  {bootstrap, func(l *Lock) { l.Archives[0].Keyring.Path = "base:/k.asc" }, "has its keys from base:/k.asc"},
		"an archive more":    {bootstrap, func(l *Lock) { a := archive(); a.ID = "x/y"; l.Archives = append(l.Archives, a) }, "has the archive x/y"},
		"an archive less":    {bootstrap, func(l *Lock) { l.Archives = nil }, "does not have the archive debian/trixie"},
		"a component more":   {bootstrap, func(l *Lock) { l.Archives[0].Indexes = append(l.Archives[0].Indexes, index("contrib")) }, "has an index of contrib"},
		"a component less":   {bootstrap, func(l *Lock) { l.Archives[0].Indexes = nil }, "has no index of main"},
		"sources of another": {bootstrap, func(l *Lock) { l.Archives[0].SourceIndexes = []Index{index("contrib")} }, "has an index of contrib"},
		"expired":            {bootstrap, func(l *Lock) { l.Archives[0].ExpiredAccepted = true }, "had expired, which isotrace.yaml does not accept"},
		"expired, accepted": {strings.Replace(bootstrap, "}]", ", ignore-valid-until: true}]", 1),
			func(l *Lock) { l.Archives[0].ExpiredAccepted = true }, ""},
		"another epoch":          {bootstrap, func(l *Lock) { l.Epoch++ }, "epoch 1767225601, it has to be 1767225600"},
		"the config's epoch":     {bootstrap + "epoch: 2026-02-01T00:00:00Z\n", func(l *Lock) { l.Epoch = 1769904000 }, ""},
		"not the config's epoch": {bootstrap + "epoch: 2026-02-01T00:00:00Z\n", func(*Lock) {}, "it has to be 1769904000"},
		"a base image's own":     {image, func(l *Lock) { l.Archives[0].Keyring.Path = "base:/k.asc" }, ""},
		"not a base image's own": {image, func(*Lock) {}, "has its keys from k.asc, and not from the base image"},
		"tools beside a base image": {image + tools, func(l *Lock) {
			a := archive()
			a.ID, a.Keyring.Path = "x/y", "base:/k.asc"
			l.Archives = append(l.Archives, a)
		}, ""},
		"tools by a base image's":    {image + tools, func(l *Lock) { l.Archives[0].Keyring.Path = "base:/k.asc" }, "has its keys from base:/k.asc"},
		"tools without their suites": {image + tools, func(l *Lock) { l.Archives = nil }, "does not have the archive debian/trixie"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Parse("c", []byte("name: x\nrelease: \"1\"\n"+c.config))
			if err != nil {
				t.Fatal(err)
			}
			l := &Lock{Epoch: 1767225600, Archives: []Archive{archive()}}
			if l.Intent, err = cfg.Intent(); err != nil {
				t.Fatal(err)
			}
			c.change(l)
			err = l.CheckConfig(cfg)
			if c.want == "" && err != nil || c.want != "" && (fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
