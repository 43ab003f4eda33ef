package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// Store keeps content by its digest, and the results of stages, in a folder:
//
//	files/ab/HEX      regular files, 0444, named by their SHA-256
//	partial/HEX       downloads that may be resumed
//	layers/ID/        folders of root trees, as overlayfs layers
//	results/ID.json   what a stage gave for a key
//	work/NAME/        scratch of running stages
//	locks/NAME        advisory locks
//
// Nothing gets a name below files, layers or results before it is whole. Every
// reader verifies what it takes: a store that was damaged costs time, not truth.
type Store struct {
	root string
	use  *os.File // held shared by every user, exclusively by the collector
}

// OpenStore makes the folder where it is missing and takes part in its use
// until Close.
func OpenStore(root string) (_ *Store, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"files", "partial", "layers", "results", "work", "locks"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, fault.New(fault.Failed, "name another folder with --store or ISOTRACE_STORE", "open the store: %w", err)
		}
	}
	// Where root builds, programs with the set-user-ID bit and folders for everybody in these
	// trees are the host's, too: nobody else may come to them.
	for _, dir := range []string{"layers", "work"} {
		if err := os.Chmod(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fault.New(fault.Failed, "name another folder with --store or ISOTRACE_STORE", "open the store: %w", err)
		}
	}
	use, err := openLock(filepath.Join(root, "locks", "use"))
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, use: use}
	// Alone, it may sweep up what a killed build has left.
	if flock(use, unix.LOCK_EX|unix.LOCK_NB) == nil {
		if err := s.sweep(); err != nil {
			return nil, errors.Join(err, use.Close())
		}
	}
	if err := flock(use, unix.LOCK_SH); err != nil {
		return nil, errors.Join(err, use.Close())
	}
	return s, nil
}

// sweep empties the scratch of stages that do not run any more.
func (s *Store) sweep() error {
	work := filepath.Join(s.root, "work")
	left, err := os.ReadDir(work)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(work, e.Name())); err != nil {
			return fmt.Errorf("remove what an earlier build left: %w", err)
		}
	}
	return nil
}

// Alone makes sure that nobody else uses the store until release is called.
func (s *Store) Alone() (release func() error, err error) {
	if err := flock(s.use, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.New(fault.Failed, "wait until the other builds have ended", "the store is in use")
		}
		return nil, err
	}
	return func() error { return flock(s.use, unix.LOCK_SH) }, nil
}

// Close ends the use of the store.
func (s *Store) Close() error { return s.use.Close() }

// Root returns the store's folder.
func (s *Store) Root() string { return s.root }

// Path returns where the content of d stands, or would stand. What is no digest
// has a place where nothing ever is.
func (s *Store) Path(d Digest) string { return PathIn(s.root, d) }

// PathIn is Path of a store that is not open, for those who only read and verify what
// they take.
func PathIn(root string, d Digest) string {
	if d.Validate() != nil {
		return filepath.Join(root, "files", "invalid")
	}
	return filepath.Join(root, "files", string(d[:2]), string(d))
}

// Has tells whether content of that name is there, unverified.
func (s *Store) Has(d Digest) bool {
	st, err := os.Lstat(s.Path(d))
	return err == nil && st.Mode().IsRegular()
}

// Verify reads the content of d and compares. Content that does not fit its
// name is removed, so that it can be had again, and is an error.
func (s *Store) Verify(d Digest) (Ref, error) {
	if err := d.Validate(); err != nil {
		return Ref{}, err
	}
	path := s.Path(d)
	have, size, err := HashFile(path)
	if err != nil {
		return Ref{}, fmt.Errorf("verify content in the store: %w", err)
	}
	if have != d {
		err := fault.New(fault.Refused, "it was removed from the store; run the command again to fetch or build it anew", "%s in the store: its SHA-256 is %s", d, have)
		return Ref{}, errors.Join(err, os.Remove(path))
	}
	return Ref{Digest: d, Size: size}, nil
}

// Partial returns where a download of d may be kept until it is whole.
func (s *Store) Partial(d Digest) string { return filepath.Join(s.root, "partial", string(d)) }

// Adopt moves the file at path, which must lie on the store's file system,
// into the store. A want that is not empty must be its digest; where it is not,
// the file stays where it is. The file may be one that a program in a sandbox left, its
// folder may not: a link is an error, and a FIFO holds nobody up.
func (s *Store) Adopt(path string, want Digest) (_ Ref, err error) {
	f, err := regular.OpenFileHere(path)
	if err != nil {
		return Ref{}, err
	}
	defer func() { err = errors.Join(err, ignoreClosed(f.Close())) }()
	var st unix.Stat_t
	switch err := unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		return Ref{}, err
	case st.Nlink != 1:
		return Ref{}, fmt.Errorf("%s: has another name, by which it could be changed in the store", path)
	}
	synced := make(chan error, 1)
	go func() { synced <- f.Sync() }() // of much content it takes as long as hashing it
	have, size, err := HashReader(f)
	if err := errors.Join(err, <-synced); err != nil {
		return Ref{}, fmt.Errorf("hash %s: %w", path, err)
	}
	if want != "" && have != want {
		return Ref{}, fault.New(fault.Refused, "", "%s: sha256 is %s, want %s", filepath.Base(path), have, want)
	}
	if err := f.Chmod(0o444); err != nil {
		return Ref{}, err
	}
	to := s.Path(have)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return Ref{}, err
	}
	if err := os.Rename(path, to); err != nil {
		return Ref{}, err
	}
	return Ref{Digest: have, Size: size}, SyncDir(filepath.Dir(to))
}

// Add copies r, of at most limit bytes, into the store.
func (s *Store) Add(r io.Reader, limit int64) (_ Ref, err error) {
	f, err := os.CreateTemp(filepath.Join(s.root, "partial"), "add-*")
	if err != nil {
		return Ref{}, err
	}
	defer func() {
		err = errors.Join(err, ignoreClosed(f.Close()), ignoreMissing(os.Remove(f.Name())))
	}()
	n, err := io.Copy(f, io.LimitReader(r, limit+1))
	if err != nil {
		return Ref{}, ExplainWrite(err)
	}
	if n > limit {
		return Ref{}, fmt.Errorf("content is longer than %d bytes", limit)
	}
	if err := f.Close(); err != nil {
		return Ref{}, err
	}
	return s.Adopt(f.Name(), "")
}

// NewWork makes a scratch folder on the store's file system. No collector
// takes it away while the store is in use.
func (s *Store) NewWork(name string) (string, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.root, "work"), name+"-*")
	if err != nil {
		return "", ExplainWrite(err)
	}
	return dir, nil
}

// Layer returns the folder of a tree's layer.
func (s *Store) Layer(id string) string { return filepath.Join(s.root, "layers", id) }

// AdoptLayer moves the folder dir into the store as layer id; one of that id
// that is there already (damaged, or it would have been used) is set aside. It is
// not synced: a layer that did not survive a crash is found out by its manifest,
// as whatever is taken from the store is verified.
func (s *Store) AdoptLayer(dir, id string) error {
	to := s.Layer(id)
	err := os.Rename(dir, to)
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		aside, terr := s.NewWork("damaged")
		if terr != nil {
			return terr
		}
		if err := os.Rename(to, filepath.Join(aside, "layer")); err != nil {
			return err
		}
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		err = os.Rename(dir, to)
	}
	return err
}

// Result returns where the result of a stage for a key is kept.
func (s *Store) Result(id string) string { return filepath.Join(s.root, "results", id+".json") }

// Lock waits until no other process holds the name; the returned function lets go.
func (s *Store) Lock(ctx context.Context, name string) (unlock func() error, err error) {
	f, err := openLock(filepath.Join(s.root, "locks", strings.ReplaceAll(name, "/", "_")))
	if err != nil {
		return nil, err
	}
	for {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another build: %w", context.Cause(ctx)), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// ExplainWrite gives the errors of a full or read-only disk a hint.
func ExplainWrite(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.WithHint(err, "make room on the disk, run isotrace store gc, or move the store with --store or ISOTRACE_STORE")
	case errors.Is(err, unix.EROFS):
		return fault.WithHint(err, "name a writable folder with --store or ISOTRACE_STORE")
	}
	return err
}
