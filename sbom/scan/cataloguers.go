package scan

import (
	"context"
	"fmt"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/pkg/cataloger/binary"
	"github.com/anchore/syft/syft/pkg/cataloger/conda"
	"github.com/anchore/syft/syft/pkg/cataloger/cpp"
	"github.com/anchore/syft/syft/pkg/cataloger/debian"
	"github.com/anchore/syft/syft/pkg/cataloger/dotnet"
	"github.com/anchore/syft/syft/pkg/cataloger/golang"
	"github.com/anchore/syft/syft/pkg/cataloger/javascript"
	"github.com/anchore/syft/syft/pkg/cataloger/lua"
	"github.com/anchore/syft/syft/pkg/cataloger/php"
	"github.com/anchore/syft/syft/pkg/cataloger/python"
	"github.com/anchore/syft/syft/pkg/cataloger/r"
	"github.com/anchore/syft/syft/pkg/cataloger/ruby"
	"github.com/anchore/syft/syft/pkg/cataloger/rust"
	"github.com/anchore/syft/syft/pkg/cataloger/snap"
	"github.com/anchore/syft/syft/pkg/cataloger/wordpress"
)

// look is one of syft's cataloguers at a view of the tree, and what it saw.
type look struct {
	pkg.Cataloger
	view *resolver

	packages  []pkg.Package
	relations []artifact.Relationship
	err       error
}

// run turns a panic into an error: syft's parsers are others' code on anybody's
// files.
func (l *look) run(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil {
			l.err = fmt.Errorf("panic: %v", r)
		}
	}()
	l.packages, l.relations, l.err = l.Catalog(ctx, l.view)
}

// cataloguers are those of syft that find what is installed. Left out are the
// databases of other distributions, lists of what a project would like to have
// installed, and what cannot be on Linux.
func cataloguers(all *resolver) []look {
	var looks []look
	add := func(view *resolver, list ...pkg.Cataloger) {
		for _, c := range list {
			looks = append(looks, look{Cataloger: c, view: view})
		}
	}
	// What a package manager of a language installed, or a compiler linked in.
	// It is told even where a .deb brought it: a Go program's modules are not in
	// dpkg's database.
	add(all,
		conda.NewCondaMetaCataloger(), cpp.NewConanInfoCataloger(),
		dotnet.NewDotnetDepsBinaryCataloger(dotnet.CatalogerConfig{
			DepPackagesMustClaimDLL: true, PropagateDLLClaimsToParents: true, RelaxDLLClaimsWhenBundlingDetected: true, ExcludeProjectReferences: true,
		}),
		golang.NewGoModuleBinaryCataloger(golang.CatalogerConfig{MainModuleVersion: golang.DefaultMainModuleVersionConfig(), CaptureSymbols: cataloging.SymbolScopeNone}),
		javascript.NewPackageCataloger(), lua.NewPackageCataloger(), php.NewComposerInstalledCataloger(), php.NewPearCataloger(),
		python.NewInstalledPackageCataloger(), r.NewPackageCataloger(), ruby.NewInstalledGemSpecCataloger(), rust.NewAuditBinaryCataloger(),
		snap.NewCataloger(), wordpress.NewWordpressPluginCataloger(),
	)
	// What is told from a file itself. Of a file that a .deb brought it would say
	// again, and worse, what the .deb says.
	add(all.only(func(real string) bool { return all.owner(real) == "" }),
		binary.NewClassifierCataloger(binary.DefaultClassifierCatalogerConfig()), binary.NewELFPackageCataloger(), binary.NewPEPackageCataloger(),
		php.NewInterpreterCataloger(),
	)
	add(all.only(isDpkg), debian.NewDBCataloger())
	return looks
}

// isDpkg tells the files of dpkg's database that say which packages there are.
// Their lists and licences are read elsewhere.
func isDpkg(real string) bool {
	switch real {
	case "var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release":
		return true
	}
	return false
}
