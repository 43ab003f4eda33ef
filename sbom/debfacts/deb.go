// Package debfacts is what .debs say of themselves, as far as a bill of materials
// tells it.
package debfacts

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/scan"
)

// Deb is what a .deb says of its package.
type Deb struct {
	Package sbom.Package `json:"package"`
	Needs   sbom.Needs   `json:"needs"`
	// BuiltUsing and StaticBuiltUsing are the fields of these names.
	BuiltUsing       string `json:"built-using,omitempty"`
	StaticBuiltUsing string `json:"static-built-using,omitempty"`
	// Data is there for packages that are unpacked and never installed.
	Data Data `json:"data,omitzero"`
}

// readControl reads a .deb's control file and its digests.
func readControl(file string, ref artifact.Ref) (_ Deb, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return Deb{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return Deb{}, err
	}
	d, err := deb.Open(f, ref.Size, deb.Limits{})
	if err != nil {
		return Deb{}, err
	}
	c, err := d.Control()
	if err != nil {
		return Deb{}, err
	}
	a := Deb{
		Package: sbom.Package{
			Name: c.Get("Package"), Version: c.Get("Version"), Architecture: c.Get("Architecture"),
			Section: c.Get("Section"), Priority: c.Get("Priority"), Essential: c.Get("Essential") == "yes",
			Maintainer: c.Get("Maintainer"), Homepage: c.Get("Homepage"), From: sbom.FromArchive,
			Deb: &sbom.Deb{Path: ref.Path, Size: ref.Size, Hashes: sbom.Hashes{SHA256: string(ref.Digest), SHA512: hex.EncodeToString(sum.Sum(nil))}},
		},
		Needs: sbom.Needs{
			PreDepends: folded(c, "Pre-Depends"), Depends: folded(c, "Depends"), Recommends: folded(c, "Recommends"), Provides: folded(c, "Provides"),
		},
		BuiltUsing: folded(c, "Built-Using"), StaticBuiltUsing: folded(c, "Static-Built-Using"),
	}
	p := &a.Package
	p.Summary, _, _ = strings.Cut(c.Get("Description"), "\n")
	if err := archive.ValidatePackageName(p.Name); err != nil {
		return a, err
	}
	if err := archive.ValidateVersion(p.Version); err != nil {
		return a, err
	}
	if !archive.ValidArchitecture(p.Architecture) {
		return a, fmt.Errorf("architecture %.80q is not valid", p.Architecture)
	}
	if p.Source, p.SourceVersion, err = archive.ParseSource(c.Get("Source"), p.Name, p.Version); err != nil {
		return a, fmt.Errorf("source: %w", err)
	}
	if n, err := strconv.ParseUint(c.Get("Installed-Size"), 10, 63); err == nil { // it is an estimate, and may be missing
		p.InstalledSize = int64(n)
	}
	return a, nil
}

// folded is a field that may go over several lines, in one.
func folded(c *deb.Control, field string) string { return strings.ReplaceAll(c.Get(field), "\n", "") }

// Data is what of a .deb's files the bills of materials tell.
type Data struct {
	// Copyright is the text of usr/share/doc/PACKAGE/copyright. Link is the target
	// of usr/share/doc/PACKAGE or of the file, where that is a link, and Problem
	// says why there is neither.
	Copyright []byte `json:"copyright,omitempty"`
	Link      string `json:"link,omitempty"`
	Problem   string `json:"problem,omitempty"`
	// Executable tells whether any file can be run or holds machine code.
	Executable bool `json:"executable"`
}

const (
	// DocDir is where packages have their documents.
	DocDir = "usr/share/doc"
	// MaxCopyright bounds a copyright file, in bytes; package copyright reads no more.
	MaxCopyright = 4 << 20
	maxDeb       = 64 << 20 // bytes, of what a .deb says as a file
)

// Write reads a .deb, what its data holds, too, where withData says so, and writes
// what it says to a file.
func Write(file string, ref artifact.Ref, withData bool, to string) error {
	d, err := readControl(file, ref)
	if err == nil && withData {
		d.Data, err = dataOf(file, ref.Size, d.Package.Name)
	}
	if err != nil {
		return err
	}
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return artifact.WriteBytes(to, 0o444, b)
}

func dataOf(file string, size int64, name string) (_ Data, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return Data{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return Data{}, err
	}
	r := dataReader{doc: DocDir + "/" + name, head: make([]byte, 512)}
	if err := d.Walk(r.member); err != nil {
		return Data{}, err
	}
	if r.Copyright == nil && r.Link == "" && r.Problem == "" {
		r.Problem = "the .deb has no copyright file"
	}
	return r.Data, nil
}

type dataReader struct {
	Data
	doc  string // folder of the package's documents
	head []byte
}

func (r *dataReader) member(name string, h *tar.Header, content io.Reader) error {
	isCopyright := name == r.doc+"/copyright"
	switch h.Typeflag {
	case tar.TypeSymlink:
		switch {
		case name == r.doc:
			r.Link = path.Join(linked(name, h.Linkname), "copyright")
		case isCopyright:
			r.Link = linked(name, h.Linkname)
		}
		return nil
	case tar.TypeLink:
		if isCopyright {
			r.Link = path.Clean(strings.TrimPrefix(h.Linkname, "./"))
		}
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	r.Executable = r.Executable || h.Mode&0o111 != 0
	if isCopyright {
		text, err := io.ReadAll(io.LimitReader(content, MaxCopyright+1))
		if err != nil {
			return err
		}
		if len(text) > MaxCopyright {
			r.Problem = fmt.Sprintf("the copyright file has more than %d bytes", MaxCopyright)
			return nil
		}
		r.Copyright = text
		return nil
	}
	if r.Executable || h.Size == 0 {
		return nil
	}
	n, err := io.ReadFull(content, r.head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	r.Executable = scan.CodeType(r.head[:n]) != ""
	return nil
}

// linked is where a symbolic link leads to, below the root.
func linked(name, target string) string {
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(name), target)
	}
	return strings.TrimPrefix(path.Clean(target), "/")
}

// Read reads what Write writes.
func Read(file string) (d Deb, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return d, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDeb+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return d, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || len(b) > maxDeb {
		return d, fmt.Errorf("what is known of a .deb cannot be read: %w", errors.Join(err))
	}
	return d, nil
}
