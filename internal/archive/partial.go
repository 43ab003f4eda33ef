package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
)

// partial is a download that is not whole yet, locked against other processes
// that want the same content.
type partial struct {
	f    *os.File
	path string
	size int64
	hash hash.Hash // of the bytes so far
	seen func(int64)

	// What the bytes so far came from, as far as one answer gave them.
	from      string
	validator string
	resumed   bool // some bytes are older than this attempt
}

// openPartial waits for the lock. It returns nil where another process has
// brought the content meanwhile. seen is told of each change of the size.
func openPartial(ctx context.Context, sink Sink, d artifact.Digest, seen func(int64)) (_ *partial, err error) {
	path := sink.Partial(d)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, artifact.ExplainWrite(err)
		}
		err = lockFile(ctx, f)
		if err == nil {
			// The one who held the lock may have moved the file away; then
			// it is not ours to write to.
			err = sameFile(f, path)
		}
		if errors.Is(err, errMoved) {
			if err := f.Close(); err != nil {
				return nil, err
			}
			if present(sink, d) {
				return nil, nil
			}
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock the download of %s: %w", d.Short(), err), f.Close())
		}
		p := &partial{f: f, path: path, hash: sha256.New(), seen: seen}
		if present(sink, d) {
			return nil, errors.Join(os.Remove(path), f.Close())
		}
		n, err := io.Copy(p.hash, f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", filepath.Base(path), err), f.Close())
		}
		p.size, p.resumed = n, n > 0
		seen(n)
		return p, nil
	}
}

var errMoved = errors.New("the file was moved")

func sameFile(f *os.File, path string) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	if !os.SameFile(have, there) {
		return errMoved
	}
	return nil
}

func lockFile(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EWOULDBLOCK):
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
}

// reset throws the bytes so far away.
func (p *partial) reset() error {
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.seen(-p.size)
	p.size, p.resumed, p.from, p.validator = 0, false, "", ""
	p.hash.Reset()
	return nil
}

// localError is a failure of this machine: no other mirror would help.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

func (p *partial) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	p.seen(int64(n))
	if err != nil {
		return n, localError{artifact.ExplainWrite(err)}
	}
	return n, nil
}

func (p *partial) digest() artifact.Digest {
	return artifact.Digest(hex.EncodeToString(p.hash.Sum(nil)))
}

// close lets go of the lock. An empty file is of no use to a later run.
func (p *partial) close() error {
	var err error
	if p.size == 0 && sameFile(p.f, p.path) == nil {
		err = os.Remove(p.path)
	}
	return errors.Join(err, p.f.Close())
}
