package catalogue

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/scan"
)

// archived is what a .deb says of its package.
type archived struct {
	pkg         sbom.Package
	needs       sbom.Needs
	builtUsing  string // fields
	staticUsing string
	data        data
}

// readControl reads a .deb's control file and its digests.
func readControl(file string, ref artifact.Ref) (_ archived, err error) {
	f, err := os.Open(file)
	if err != nil {
		return archived{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return archived{}, err
	}
	d, err := deb.Open(f, ref.Size, deb.Limits{})
	if err != nil {
		return archived{}, err
	}
	c, err := d.Control()
	if err != nil {
		return archived{}, err
	}
	a := archived{
		pkg: sbom.Package{
			Name: c.Get("Package"), Version: c.Get("Version"), Architecture: c.Get("Architecture"),
			Section: c.Get("Section"), Priority: c.Get("Priority"), Essential: c.Get("Essential") == "yes",
			Maintainer: c.Get("Maintainer"), Homepage: c.Get("Homepage"), From: sbom.FromArchive,
			Deb: &sbom.Deb{Path: ref.Path, Size: ref.Size, Hashes: sbom.Hashes{SHA256: string(ref.Digest), SHA512: hex.EncodeToString(sum.Sum(nil))}},
		},
		needs: sbom.Needs{
			PreDepends: folded(c, "Pre-Depends"), Depends: folded(c, "Depends"), Recommends: folded(c, "Recommends"), Provides: folded(c, "Provides"),
		},
		builtUsing: folded(c, "Built-Using"), staticUsing: folded(c, "Static-Built-Using"),
	}
	p := &a.pkg
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

// data is what of a .deb's files the bills of materials tell.
type data struct {
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
	docDir       = "usr/share/doc"
	maxCopyright = 4 << 20 // bytes; package copyright reads no more
	maxData      = 8 << 20 // bytes of data as a file
)

// writeData reads a .deb's files and writes what is told of them to a file.
func writeData(file string, size int64, to string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return err
	}
	c, err := d.Control()
	if err != nil {
		return err
	}
	r := dataReader{doc: docDir + "/" + c.Get("Package"), head: make([]byte, 512)}
	if err := d.Walk(r.member); err != nil {
		return err
	}
	if r.Copyright == nil && r.Link == "" && r.Problem == "" {
		r.Problem = "the .deb has no copyright file"
	}
	b, err := json.Marshal(r.data)
	if err != nil {
		return err
	}
	return artifact.WriteBytes(to, 0o444, b)
}

type dataReader struct {
	data
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
		text, err := io.ReadAll(io.LimitReader(content, maxCopyright+1))
		if err != nil {
			return err
		}
		if len(text) > maxCopyright {
			r.Problem = fmt.Sprintf("the copyright file has more than %d bytes", maxCopyright)
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

func readData(file string) (d data, err error) {
	f, err := os.Open(file)
	if err != nil {
		return d, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxData+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return d, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || len(b) > maxData {
		return d, fmt.Errorf("what is known of a .deb cannot be read: %w", errors.Join(err))
	}
	return d, nil
}
