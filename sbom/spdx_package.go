package sbom

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func (inv *inventory) spdxPackage(c *component) *v2_3.Package {
	p := &v2_3.Package{
		PackageName: c.name, PackageSPDXIdentifier: common.ElementID(c.spdx), PackageVersion: c.version, PackageFileName: c.fileName,
		PackageSupplier:   &common.Supplier{Supplier: noAssertion},
		PackageOriginator: &common.Originator{Originator: noAssertion},
		// No mirror is named: the path below its base stands in the source
		// information.
		PackageDownloadLocation: noAssertion,
		PackageChecksums:        c.hashes.spdx(),
		PackageHomePage:         cmp.Or(webURL(c.homepage), noAssertion),
		PackageSourceInfo:       c.spdxSourceInfo(),
		PackageLicenseConcluded: cmp.Or(c.licence.Concluded, noAssertion),
		PackageLicenseDeclared:  cmp.Or(c.licence.Declared, noAssertion),
		PackageCopyrightText:    noAssertion,
		PackageSummary:          c.description,
		PrimaryPackagePurpose:   c.kind.spdx,
		Annotations:             inv.spdxFacts(c),
	}
	if c.creator.known() {
		p.PackageSupplier = &common.Supplier{SupplierType: c.creator.spdxType(), Supplier: c.creator.spdx()}
		p.PackageOriginator = &common.Originator{OriginatorType: c.creator.spdxType(), Originator: c.creator.spdx()}
	}
	if c.purl != "" {
		p.PackageExternalReferences = append(p.PackageExternalReferences, &v2_3.PackageExternalReference{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: c.purl})
	}
	if c.cpe != "" {
		p.PackageExternalReferences = append(p.PackageExternalReferences, &v2_3.PackageExternalReference{
			Category: common.CategorySecurity, RefType: common.TypeSecurityCPE23Type, Locator: c.cpe})
	}
	return p
}

func (inv *inventory) spdxFileOf(c *component) *v2_3.File {
	return &v2_3.File{
		FileName: "." + c.name, FileSPDXIdentifier: common.ElementID(c.spdx), Checksums: c.hashes.spdx(),
		LicenseConcluded: cmp.Or(c.licence.Concluded, noAssertion), FileCopyrightText: noAssertion,
		LicenseInfoInFiles: []string{cmp.Or(c.licence.Declared, noAssertion)},
		FileTypes:          c.spdxFileTypes(), Annotations: inv.spdxFacts(c),
	}
}

func (c *component) spdxFileTypes() []string {
	var all []string
	if c.nature.Executable == Yes {
		all = append(all, "APPLICATION")
	}
	if c.nature.Archive == Yes {
		all = append(all, "ARCHIVE")
	}
	return all
}

// spdxFacts is one annotation with a fact a line, NAME=VALUE.
func (inv *inventory) spdxFacts(c *component) []v2_3.Annotation {
	var lines []string
	for _, f := range c.described() {
		lines = append(lines, f.name+"="+f.value)
	}
	if len(lines) == 0 {
		return nil
	}
	return []v2_3.Annotation{*inv.spdxAnnotation(strings.Join(lines, "\n"))}
}

// spdxSourceInfo says where the component came from, in words.
func (c *component) spdxSourceInfo() string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if c.location != "" {
		say("%s: %s", c.origin, c.location)
	}
	for _, s := range c.sources {
		if s.how == bySource {
			say("built from the source package %s %s", s.to.name, s.to.version)
		}
	}
	if c.source != nil {
		for _, f := range c.source.sortedFiles() {
			say("below the mirror's base: %s sha256:%s", c.source.path(f), cmp.Or(f.Hashes.SHA256, " not known"))
		}
	}
	for _, p := range c.places {
		say("seen at %s", p)
	}
	return clip(strings.Join(all, "\n"), maxDescription)
}
