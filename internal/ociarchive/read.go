package ociarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Archive is an archive that is open for reading.
type Archive struct {
	plan
	r    io.ReaderAt
	have int64 // bytes
}

// Damage is a place of an archive that is not as it has to be.
type Damage struct {
	// What is hit, in words: the paths of files, or a part of the archive itself.
	What string `json:"what"`
	// Offset is the first byte of the member in which it lies.
	Offset int64  `json:"offset"`
	Detail string `json:"detail"`
}

// Read reads what an archive of size bytes holds, from its index and manifest, which
// have to be whole; Check looks at all the rest.
func Read(r io.ReaderAt, size int64) (*Archive, error) {
	at := int64(block) + padded(int64(len(layoutText)))
	index, err := smallMember(r, at, maxIndex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	var names v1.IndexManifest
	if err := strictjson.UnmarshalOpen(index, &names); err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	if len(names.Manifests) != 1 || names.Manifests[0].Size < 0 || names.Manifests[0].Size > maxManifest {
		return nil, fmt.Errorf("%s: names no manifest of an archive", indexName)
	}
	manifest := make([]byte, names.Manifests[0].Size)
	at += 2*block + padded(int64(len(index)))
	if _, err := r.ReadAt(manifest, at); err != nil {
		return nil, fmt.Errorf("the manifest: %w", ended(err))
	}
	if have := artifact.HashBytes(manifest); string(have) != names.Manifests[0].Digest.Hex {
		return nil, fmt.Errorf("the manifest: its SHA-256 is %s, %s says %s", have, indexName, names.Manifests[0].Digest.Hex)
	}
	p, err := planOf(manifest)
	if err != nil {
		return nil, err
	}
	return &Archive{plan: *p, r: r, have: size}, nil
}

// smallMember is the content of the member whose header stands at an offset.
func smallMember(r io.ReaderAt, at, limit int64) ([]byte, error) {
	head := make([]byte, block)
	if _, err := r.ReadAt(head, at); err != nil {
		return nil, ended(err)
	}
	h, err := tar.NewReader(bytes.NewReader(head)).Next()
	if err != nil {
		return nil, fmt.Errorf("its header is damaged: %w", err)
	}
	if h.Size < 0 || h.Size > limit {
		return nil, fmt.Errorf("has %d bytes", h.Size)
	}
	text := make([]byte, h.Size)
	_, err = r.ReadAt(text, at+block)
	return text, ended(err)
}

// ended is an error about an archive that ends too early, in words.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the archive ends before it")
	}
	return err
}

// Check compares every byte with what it has to be, and returns what is damaged.
func (a *Archive) Check(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	var all []Damage
	at := int64(0)
	for _, m := range a.members {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		detail, err := a.checkMember(m, at)
		if err != nil {
			return nil, err
		}
		if detail != "" {
			all = append(all, Damage{m.what(), at, detail})
		}
		at += block + padded(m.size)
		if progress != nil {
			progress(at, a.size())
		}
	}
	zero, err := a.zero(at, trailer)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case err != nil || !zero:
		all = append(all, Damage{"the end of the archive", at, "is not 1024 zeros"})
	}
	if a.have > a.size() {
		all = append(all, Damage{"the end of the archive", a.size(), fmt.Sprintf("%d bytes follow that do not belong to it", a.have-a.size())})
	}
	return all, nil
}

// checkMember says what is wrong with a member; "" where nothing is.
func (a *Archive) checkMember(m member, at int64) (string, error) {
	head, err := header(m, a.Epoch)
	if err != nil {
		return "", err
	}
	have := make([]byte, block)
	if _, err := a.r.ReadAt(have, at); errors.Is(err, io.EOF) {
		return "is missing: the archive ends before it", nil
	} else if err != nil {
		return "", err
	}
	if !bytes.Equal(have, head) {
		return "its tar header is not the one that it has to have", nil
	}
	content := io.NewSectionReader(a.r, at+block, m.size)
	digest, size, err := artifact.HashReader(content)
	if err != nil {
		return "", err
	}
	want := m.digest
	if m.text != nil {
		want = artifact.HashBytes(m.text)
	}
	if size < m.size {
		return fmt.Sprintf("ends after %d of %d bytes", size, m.size), nil
	}
	if digest != want {
		return fmt.Sprintf("its SHA-256 is %s, it has to be %s", digest, want), nil
	}
	zero, err := a.zero(at+block+m.size, padded(m.size)-m.size)
	if errors.Is(err, io.EOF) || err == nil && !zero {
		return "the bytes behind it are not zeros", nil
	}
	return "", err
}

// zero tells whether n bytes at an offset are zeros.
func (a *Archive) zero(at, n int64) (bool, error) {
	b := make([]byte, n)
	if _, err := a.r.ReadAt(b, at); err != nil && n > 0 {
		return false, err
	}
	return len(bytes.Trim(b, "\x00")) == 0, nil
}

// Each gives every content once, with the files that have it, in the order in which the
// archive has them. Whether what visit reads has the digest is for visit to find out.
func (a *Archive) Each(ctx context.Context, visit func(files []File, content io.ReadSeeker) error) error {
	files := map[artifact.Digest][]File{}
	for _, f := range a.Files {
		files[f.Digest] = append(files[f.Digest], f)
	}
	next := int64(0)
	for _, m := range a.members {
		at := next
		next += block + padded(m.size)
		digest := m.digest
		if m.text != nil {
			digest = artifact.HashBytes(m.text)
		}
		if len(files[digest]) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		content := io.NewSectionReader(a.r, at+block, m.size)
		if err := visit(files[digest], content); err != nil {
			return fmt.Errorf("%s: %w", m.what(), err)
		}
		delete(files, digest)
	}
	return nil
}
