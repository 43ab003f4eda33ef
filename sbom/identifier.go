package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/package-url/packageurl-go"
)

// debPURL is the package URL of type deb. Upstream, which other cataloguers write
// too, is left out where the source package has the binary package's name and
// version.
func debPURL(d Distro, name, version, arch string, source SourceID) string {
	q := packageurl.Qualifiers{{Key: "arch", Value: arch}}
	if s := d.qualifier(); s != "" {
		q = append(q, packageurl.Qualifier{Key: "distro", Value: s})
	}
	if source.Name != name || source.Version != version {
		upstream := source.Name
		if source.Version != version {
			upstream += "@" + source.Version
		}
		q = append(q, packageurl.Qualifier{Key: "upstream", Value: upstream})
	}
	return packageurl.NewPackageURL(packageurl.TypeDebian, strings.ToLower(d.ID), name, version, q, "").ToString()
}

// qualifier is the distribution as scanners read it in a package URL: its ID, a
// hyphen, and its version. The codename stands for a version that is not known, such
// as that of Debian's testing and unstable, which have none.
func (d Distro) qualifier() string {
	id, version := strings.ToLower(d.ID), cmp.Or(d.Version, d.Codename)
	if id == "" || version == "" {
		return id
	}
	return id + "-" + version
}

// ociPURL is the package URL of a container image.
func ociPURL(b *BaseImage) string {
	repository, _, _ := strings.Cut(line(b.Reference, maxLine), "@")
	tag := ""
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository, tag = repository[:i], repository[i+1:]
	}
	name := strings.ToLower(repository[strings.LastIndexByte(repository, '/')+1:])
	if name == "" {
		name = "image"
	}
	var q packageurl.Qualifiers
	if strings.Contains(repository, "/") {
		q = append(q, packageurl.Qualifier{Key: "repository_url", Value: repository})
	}
	if tag != "" {
		q = append(q, packageurl.Qualifier{Key: "tag", Value: tag})
	}
	return packageurl.NewPackageURL(packageurl.TypeOCI, "", name, "sha256:"+string(b.Manifest), q, "").ToString()
}

// genericPURL is the package URL of what has no type of its own.
func genericPURL(name, version string) string {
	return packageurl.NewPackageURL(packageurl.TypeGeneric, "", name, version, nil, "").ToString()
}

// validPURL returns s where it is a package URL, else "".
func validPURL(s string) string {
	if len(s) > maxLine || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ""
	}
	if _, err := packageurl.FromString(s); err != nil {
		return ""
	}
	return s
}

// debCPE is a guess at the name under which a package's flaws are known: nobody
// assigns CPEs to Debian's packages. Vendor and product are the package's name,
// the version is Debian's, whole.
func debCPE(name, version string) string {
	n := cpeEscape(name)
	return "cpe:2.3:a:" + n + ":" + n + ":" + cpeEscape(version) + ":*:*:*:*:*:*:*"
}

// cpeEscape quotes for a formatted string of NISTIR 7695, 6.2.
func cpeEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(s)) {
		if !isAlnum(rune(c)) && c != '.' && c != '-' && c != '_' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// spdxID is an identifier of SPDX for a component: letters, digits, dots and
// hyphens alone, told apart by 64 bits of the reference's SHA-256.
func spdxID(kind, name, ref string) string {
	sum := sha256.Sum256([]byte(ref))
	name = strings.Trim(strings.Map(func(r rune) rune {
		if isAlnum(r) || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name), "-")
	if len(name) > 64 {
		name = name[:64]
	}
	return kind + "-" + name + "-" + hex.EncodeToString(sum[:8])
}
