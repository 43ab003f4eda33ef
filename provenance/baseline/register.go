package baseline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
)

// Register is the folder of baselines, as found.
type Register struct {
	// Entries are those that can be read, in order.
	Entries []*Entry
	// Head is the digest of the last entry's file; "" where there is none. Whoever keeps
	// it elsewhere notices when the last entries are gone.
	Head artifact.Digest
	// Problems are everything that is not as isotrace left it.
	Problems []provenance.Problem
	dir      string
}

// found are the files of one number.
type found struct{ entries, others []string }

// Open reads the register in a folder and checks all of it: order, digests, and that one
// of the keys signed each entry. A folder that is not there is an empty register.
func Open(dir string, keys []*provenance.PublicKey) (_ *Register, err error) {
	r := &Register{dir: dir}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	files, err := r.list()
	if err != nil {
		return nil, err
	}
	last := 0
	for n := range files {
		last = max(last, n)
	}
	var before *Entry
	for n := 1; n <= last; n++ {
		f := files[n]
		switch {
		case f == nil || len(f.entries) == 0:
			r.problem(fmt.Sprintf("%04d", n), "the entry is missing")
			before = nil
			continue
		case len(f.entries) > 1:
			r.problem(f.entries[1], "there are two entries of that number")
		}
		e, digest := r.read(root, f.entries[0], keys)
		if e != nil {
			r.follows(e, before, digest, n)
			r.Entries = append(r.Entries, e)
			r.strays(e, f.others)
		}
		before, r.Head = e, digest
	}
	return r, nil
}

func (r *Register) problem(file, format string, args ...any) {
	r.Problems = append(r.Problems, provenance.Problem{File: file, Detail: fmt.Sprintf(format, args...)})
}

// list sorts the folder's files by number.
func (r *Register) list() (map[int]*found, error) {
	dir, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	files := map[int]*found{}
	for _, f := range dir {
		name := f.Name()
		m := fileForm.FindStringSubmatch(name)
		if m == nil || !f.Type().IsRegular() {
			if !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "README") { // what version control and people leave
				r.problem(name, "is no file of the register")
			}
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 {
			r.problem(name, "is no file of the register")
			continue
		}
		if files[n] == nil {
			files[n] = &found{}
		}
		if m[3] == entrySuffix {
			files[n].entries = append(files[n].entries, name)
		} else {
			files[n].others = append(files[n].others, name)
		}
	}
	return files, nil
}

// read reads an entry, its signature and the digest of its index; nil where it is no
// entry.
func (r *Register) read(root *os.Root, name string, keys []*provenance.PublicKey) (*Entry, artifact.Digest) {
	text, err := readIn(root, name, maxEntry)
	if err != nil {
		r.problem(name, "%s", err)
		return nil, ""
	}
	digest := artifact.HashBytes(text)
	e, err := decode(text)
	if err != nil {
		r.problem(name, "%s", err)
		return nil, digest
	}
	if e.stem()+entrySuffix != name {
		r.problem(name, "says that it is %s", e.stem())
	}
	sig, err := readIn(root, strings.TrimSuffix(name, entrySuffix)+signatureSuffix, 1<<16)
	switch signer := signerOf(keys, text, sig); {
	case err != nil:
		r.problem(name, "its signature: %s", err)
	case signer == nil:
		r.problem(name, "is not signed by %s", keysText(keys))
	case signer.KeyID() != e.Signers.Register:
		r.problem(name, "is signed by %.8s, and says by %.8s", signer.KeyID(), e.Signers.Register)
	}
	index, err := readIn(root, e.Files.File.File, maxIndex)
	if err != nil {
		r.problem(e.Files.File.File, "%s", err)
	} else if have := artifact.HashBytes(index); have != e.Files.SHA256 {
		r.problem(e.Files.File.File, "its SHA-256 is %s, %s says %s", have, name, e.Files.SHA256)
	}
	return e, digest
}

func signerOf(keys []*provenance.PublicKey, text, sig []byte) *provenance.PublicKey {
	for _, k := range keys {
		if k.VerifyDetached(text, sig) == nil {
			return k
		}
	}
	return nil
}

func keysText(keys []*provenance.PublicKey) string {
	var ids []string
	for _, k := range keys {
		ids = append(ids, fmt.Sprintf("%.8s", k.KeyID()))
	}
	return "key " + strings.Join(ids, " or ")
}

// follows holds an entry to the one before it.
func (r *Register) follows(e, before *Entry, digest artifact.Digest, number int) {
	name := e.stem() + entrySuffix
	if e.Number != number {
		return // its name has been found wrong
	}
	if p := e.Previous; p != nil && before != nil {
		if was := before.stem() + entrySuffix; p.File != was {
			r.problem(name, "follows %s, not %s", p.File, was)
		} else if p.SHA256 != r.Head {
			r.problem(was, "has changed since %s was added: its SHA-256 is %s, not %s", name, r.Head, p.SHA256)
		}
	} else if p != nil && r.Head == "" {
		r.problem(p.File, "is missing: %s follows it", name)
	}
	if slices.ContainsFunc(r.Entries, func(o *Entry) bool { return o.Name == e.Name }) {
		r.problem(name, "there is an earlier baseline of that name")
	}
	if e.Replaces != "" && r.Lookup(e.Replaces) == nil {
		r.problem(name, "replaces %s, which is not before it", e.Replaces)
	}
}

// strays are files that no entry names.
func (r *Register) strays(e *Entry, others []string) {
	for _, f := range others {
		if f != e.stem()+signatureSuffix && f != e.Files.File.File {
			r.problem(f, "is no file of %s", e.stem())
		}
	}
}

// Lookup finds a baseline by its name; nil where there is none.
func (r *Register) Lookup(name string) *Entry {
	for _, e := range r.Entries {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// Refused is the error of a register that is not as isotrace left it.
func (r *Register) Refused() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return fault.New(fault.Refused, "isotrace baseline check names everything that is amiss; version control has the files as they were",
		"%s: %s", Dir, r.Problems[0])
}

// readIn reads a regular file of the register.
func readIn(root *os.Root, name string, limit int64) (_ []byte, err error) {
	st, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("is missing")
	}
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := regular.Open(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	return text, err
}

// index reads an entry's index, and holds it to the entry.
func (r *Register) index(e *Entry) (_ []byte, err error) {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	text, err := readIn(root, e.Files.File.File, maxIndex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(r.dir, e.Files.File.File), err)
	}
	if artifact.HashBytes(text) != e.Files.SHA256 {
		return nil, fault.New(fault.Refused, "run isotrace baseline check", "%s: is not the one that was signed", e.Files.File.File)
	}
	return text, nil
}
