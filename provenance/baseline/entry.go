// Package baseline keeps a register of releases: plain files for version control, each
// signed by the release manager and naming the one before it.
// docs/formats/baseline.md describes them.
package baseline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// Dir is the register's folder, below the project's.
const Dir = "baselines"

// Format is the version of the entries' format.
const Format = 1

// Bounds of what is read.
const (
	maxEntry   = 64 << 20  // bytes of an entry
	maxIndex   = 256 << 20 // of an index, compressed
	maxPlain   = 2 << 30   // of an index, plain
	maxEntries = 9999
	maxName    = 100
	maxText    = 200 // of a problem report's identifier
)

// The endings of an entry's files, after NUMBER-NAME.
const (
	entrySuffix     = ".json"
	signatureSuffix = ".json.sig"
	indexSuffix     = ".files.zst"
)

// Entry is one baseline. Every list is sorted; encode writes one text for one entry.
type Entry struct {
	Format int    `json:"format"`
	Number int    `json:"number"` // from 1
	Name   string `json:"name"`
	// Product and Release are the config's name and release.
	Product string `json:"product"`
	Release string `json:"release"`
	// Date is the lock's epoch, or what the release manager said; RFC 3339, UTC.
	Date string `json:"date"`
	// Previous is the entry before it; null for the first.
	Previous *File `json:"previous" jsonschema:"nullable"`
	// Replaces is the baseline that it took the place of; "" for none.
	Replaces string `json:"replaces,omitempty"`
	// Images are the products.
	Images []artifact.Ref `json:"images"`
	// Evidence and ReleaseSums are the digests of both SHA256SUMS, which list the rest.
	Evidence    artifact.Digest `json:"evidence-sha256sums"`
	ReleaseSums artifact.Digest `json:"release-sha256sums"`
	Config      artifact.Digest `json:"config"`
	Lock        artifact.Digest `json:"lock"`
	Signers     Signers         `json:"signers"`
	// Requirements are all that the project has; Affected are those for which something
	// else is there than in the baseline that was replaced.
	Requirements []Requirement `json:"requirements"`
	Affected     []string      `json:"affected"`
	// Problems are identifiers of problem reports that the baseline answers.
	Problems []string  `json:"problems"`
	Packages []Package `json:"packages"`
	// Files is the index of the image's files.
	Files Index `json:"files"`
}

// File is a file of the register.
type File struct {
	File   string          `json:"file"`
	SHA256 artifact.Digest `json:"sha256"`
}

// Index is a file of the register with lines DIGEST, two blanks, PART:PATH.
type Index struct {
	File
	Count int `json:"count"`
}

// Signers are the keys behind a release, by id.
type Signers struct {
	Builder string `json:"builder"`
	// Owner signed the layout; "" where there is none, or nobody said whose it must be.
	Owner string `json:"owner,omitempty"`
	// Release signed the release, or is whom its certificate names.
	Release string `json:"release"`
	// Register signed this entry.
	Register string `json:"register"`
}

// Requirement is a requirement, whether the config names it, and the digest of what
// serves it.
type Requirement struct {
	ID     string          `json:"id"`
	Met    bool            `json:"met"`
	SHA256 artifact.Digest `json:"sha256"`
}

// Package is a package of one of the lock's sets, or of the base image.
type Package struct {
	Set           string `json:"set"`
	ID            string `json:"id"` // NAME:ARCH=VERSION
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"source-version,omitempty"`
	// SHA256 is the .deb's; "" where the base image brought the package and no .deb is
	// to be had.
	SHA256 artifact.Digest `json:"sha256,omitempty"`
}

func (e *Entry) stem() string { return fmt.Sprintf("%04d-%s", e.Number, e.Name) }

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_~-]*$`)
	fileForm = regexp.MustCompile(`^([0-9]{4})-([A-Za-z0-9][A-Za-z0-9.+_~-]*?)(\.json|\.json\.sig|\.files\.zst)$`)
)

func validName(name string) error {
	if len(name) > maxName || !nameForm.MatchString(name) || strings.HasSuffix(name, entrySuffix) {
		return fault.New(fault.Usage, "letters, digits and .+_~-, such as rescue-1.0.0: --name gives another", "baseline %.120q: is no name", name)
	}
	return nil
}

// encode writes an entry in its one form.
func (e *Entry) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decode reads an entry and refuses what encode would not have written.
func decode(text []byte) (*Entry, error) {
	if len(text) > maxEntry {
		return nil, fmt.Errorf("longer than %d bytes", maxEntry)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	e := &Entry{}
	if err := dec.Decode(e); err != nil {
		return nil, err
	}
	if e.Format != Format {
		return nil, fmt.Errorf("format %d, this isotrace reads %d", e.Format, Format)
	}
	again, err := e.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("is not written as isotrace baseline writes one")
	}
	return e, e.validate()
}

func (e *Entry) validate() error {
	if e.Number < 1 || e.Number > maxEntries {
		return fmt.Errorf("number %d: want 1 to %d", e.Number, maxEntries)
	}
	if err := validName(e.Name); err != nil {
		return err
	}
	if t, err := time.Parse(time.RFC3339, e.Date); err != nil || t.UTC().Format(time.RFC3339) != e.Date {
		return fmt.Errorf("date %.40q: want RFC 3339 in UTC", e.Date)
	}
	digests := []artifact.Digest{e.Evidence, e.ReleaseSums, e.Config, e.Lock, e.Files.SHA256}
	if (e.Previous == nil) != (e.Number == 1) {
		return errors.New("the first entry alone has none before it")
	}
	if p := e.Previous; p != nil {
		digests = append(digests, p.SHA256)
		if m := fileForm.FindStringSubmatch(p.File); m == nil || m[3] != entrySuffix || m[1] != fmt.Sprintf("%04d", e.Number-1) {
			return fmt.Errorf("previous %.120q: is not entry %d", p.File, e.Number-1)
		}
	}
	if e.Files.File.File != e.stem()+indexSuffix {
		return fmt.Errorf("files %.120q: want %s", e.Files.File.File, e.stem()+indexSuffix)
	}
	if len(e.Images) == 0 {
		return errors.New("has no image")
	}
	for _, i := range e.Images {
		if digests = append(digests, i.Digest); i.Path == "" || path.Base(i.Path) != i.Path || i.Size < 0 {
			return fmt.Errorf("image %.120q: is no file name", i.Path)
		}
	}
	for _, r := range e.Requirements {
		digests = append(digests, r.SHA256)
	}
	for _, p := range e.Packages {
		if p.SHA256 != "" {
			digests = append(digests, p.SHA256)
		}
	}
	for _, d := range digests {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	for _, p := range e.Problems {
		if err := validProblem(p); err != nil {
			return err
		}
	}
	return e.sorted()
}

func (e *Entry) sorted() error {
	for _, list := range []struct {
		what string
		ok   bool
	}{
		{"images", slices.IsSortedFunc(e.Images, byPath)}, {"requirements", slices.IsSortedFunc(e.Requirements, byID)},
		{"affected", slices.IsSorted(e.Affected)}, {"problems", slices.IsSorted(e.Problems)}, {"packages", slices.IsSortedFunc(e.Packages, bySet)},
	} {
		if !list.ok {
			return fmt.Errorf("%s: are not in order", list.what)
		}
	}
	return nil
}

func byPath(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) }
func byID(a, b Requirement) int    { return strings.Compare(a.ID, b.ID) }
func bySet(a, b Package) int       { return strings.Compare(a.key(), b.key()) }
func (p Package) key() string      { return p.Set + "\x00" + p.ID + "\x00" + string(p.SHA256) }
func isControl(r rune) bool        { return !unicode.IsPrint(r) }
func validProblem(id string) error {
	if id == "" || len(id) > maxText || strings.ContainsFunc(id, isControl) {
		return fault.New(fault.Usage, "such as PR-17", "problem %.120q: is no identifier", id)
	}
	return nil
}
