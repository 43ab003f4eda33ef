package ociarchive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Open opens the content of a digest.
type Open func(artifact.Digest) (io.ReadCloser, error)

// Write writes an archive of the files of c, in whatever order they come, and of a list
// of their digests, SHA256SUMS. The same files give the same bytes. It returns the digest
// of the manifest.
func Write(ctx context.Context, w io.Writer, c Contents, open Open) (artifact.Digest, error) {
	c.Files = slices.Clone(c.Files)
	slices.SortFunc(c.Files, byTitle)
	sums := sumsOf(c.Files)
	c.Files = append(c.Files, File{Title: sumsTitle, Digest: artifact.HashBytes(sums), Size: int64(len(sums))})
	slices.SortFunc(c.Files, byTitle)
	if err := check(c.Files); err != nil {
		return "", err
	}
	manifest, err := manifestOf(c)
	if err != nil {
		return "", err
	}
	p, err := planOf(manifest)
	if err != nil {
		return "", err
	}
	inMemory := map[artifact.Digest][]byte{artifact.HashBytes(sums): sums, artifact.HashBytes(configText): configText, artifact.HashBytes(nil): nil}
	for _, m := range p.members {
		if m.text == nil {
			m.text = inMemory[m.digest]
		}
		if err := p.write(ctx, w, m, open); err != nil {
			return "", err
		}
	}
	_, err = w.Write(make([]byte, trailer))
	return p.Digest, err
}

func byTitle(a, b File) int { return strings.Compare(a.Title, b.Title) }

// sumsOf is what sha256sum writes of the files that are no links.
func sumsOf(files []File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		if f.Link != "" {
			continue
		}
		line := string(f.Digest) + "  " + f.Title
		if strings.Contains(f.Title, `\`) { // sha256sum's way
			line = `\` + strings.ReplaceAll(line, `\`, `\\`)
		}
		b.WriteString(line + "\n")
	}
	return b.Bytes()
}

func (p *plan) write(ctx context.Context, w io.Writer, m member, open Open) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	head, err := header(m, p.Epoch)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	if m.text != nil || m.size == 0 {
		_, err = w.Write(m.text)
	} else {
		err = copyContent(w, m, open)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(make([]byte, padded(m.size)-m.size))
	return err
}

// copyContent copies what has to have the member's digest.
func copyContent(w io.Writer, m member, open Open) (err error) {
	r, err := open(m.digest)
	if err != nil {
		return fmt.Errorf("%s: %w", m.what(), err)
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, m.size+1))
	if err != nil {
		return fmt.Errorf("%s: %w", m.what(), err)
	}
	if have := hex.EncodeToString(sum.Sum(nil)); n != m.size || have != string(m.digest) {
		return fmt.Errorf("%s: has changed meanwhile: its SHA-256 is %s", m.what(), have)
	}
	return nil
}

// what names a member by what it is for.
func (m member) what() string {
	const most = 3
	switch {
	case len(m.titles) == 0:
		return m.name
	case len(m.titles) > most:
		return strings.Join(m.titles[:most], ", ") + fmt.Sprintf(" and %d more", len(m.titles)-most)
	}
	return strings.Join(m.titles, ", ")
}
