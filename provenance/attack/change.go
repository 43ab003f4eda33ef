package attack

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/provenance"
)

const archivePrefix = "archive/"

// target is a copy that is attacked.
type target struct {
	out, archive string
	keys         map[string]*provenance.Signer
}

// expand puts key ids in place of {ROLE} and {ROLE.id}.
func (t target) expand(s string) string {
	for role, k := range t.keys {
		id := k.Public().KeyID()
		s = strings.ReplaceAll(s, "{"+role+"}", id[:8])
		s = strings.ReplaceAll(s, "{"+role+".id}", id)
	}
	return s
}

// path finds a file; one with a * must fit exactly one.
func (t target) path(name string) (string, error) {
	name = t.expand(name)
	full := filepath.Join(t.out, filepath.FromSlash(name))
	if rest, ok := strings.CutPrefix(name, archivePrefix); ok {
		full = filepath.Join(t.archive, filepath.FromSlash(rest))
	}
	if !strings.Contains(name, "*") {
		return full, nil
	}
	found, err := filepath.Glob(full)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s: fits %d files", name, len(found))
	}
	return found[0], nil
}

func (t target) signer(role string) (*provenance.Signer, error) {
	k, ok := t.keys[role]
	if !ok {
		return nil, fmt.Errorf("there is no key of %q", role)
	}
	return k, nil
}

// put writes a file anew: the old one is somebody else's, too.
func put(file string, b []byte) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// edit lets change make other content of a file's.
func (t target) edit(name string, change func([]byte) ([]byte, error)) error {
	file, err := t.path(name)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if b, err = change(b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return put(file, b)
}

func (t target) apply(ctx context.Context, c Change) error {
	switch {
	case c.Flip != "":
		return t.edit(c.Flip, func(b []byte) ([]byte, error) { return flip(b, t.expand(c.At)) })
	case c.Replace != "":
		return t.edit(c.Replace, func(b []byte) ([]byte, error) { return replace(b, t.expand(c.From), t.expand(c.To)) })
	case c.Append != "":
		return t.edit(c.Append, func(b []byte) ([]byte, error) { return append(b, t.expand(c.Text)...), nil })
	case c.Truncate != "":
		return t.edit(c.Truncate, func(b []byte) ([]byte, error) { return b[:len(b)/2], nil })
	case c.Add != "":
		return t.add(c)
	case c.Link != "":
		file, err := t.path(c.Link)
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(file), os.Symlink(c.To, file))
	case c.Odd != "":
		return t.odd(c.Odd, c.Is)
	case c.Remove != "":
		file, err := t.path(c.Remove)
		if err != nil {
			return err
		}
		return os.Remove(file)
	case c.Copy != "":
		return t.copy(c.Copy, c.To)
	case len(c.Swap) == 2:
		return t.swap(c.Swap[0], c.Swap[1])
	case c.Image != "":
		return t.image(c.Image, t.expand(c.At))
	case c.ISO != nil:
		return t.patchISO(*c.ISO)
	case c.Sign != "":
		return t.sign(c.Sign, c.As)
	case c.Attest != "":
		return t.attest(c)
	case c.Trace != "":
		return t.changeTrace(c)
	case c.Relink != "":
		return t.relink(c.Relink)
	case c.Archive != nil:
		return t.archiveChange(*c.Archive)
	case c.Forge != nil:
		return t.forgeChange(*c.Forge)
	case c.Sums != "":
		return t.sums(c.Sums)
	case c.Release != "":
		return t.release(ctx, c.Release)
	}
	return errors.New("says nothing to do")
}

func flip(b []byte, at string) ([]byte, error) {
	i := len(b) / 2
	if at != "" {
		if i = bytes.Index(b, []byte(at)); i < 0 {
			return nil, fmt.Errorf("does not hold %q", at)
		}
	}
	if len(b) == 0 {
		return nil, errors.New("is empty")
	}
	b[i] ^= 1
	return b, nil
}

func replace(b []byte, from, to string) ([]byte, error) {
	if from == "" || !bytes.Contains(b, []byte(from)) {
		return nil, fmt.Errorf("does not hold %q", from)
	}
	return bytes.Replace(b, []byte(from), []byte(to), 1), nil
}

func (t target) add(c Change) error {
	file, err := t.path(c.Add)
	if err != nil {
		return err
	}
	text := []byte(t.expand(c.Text))
	if c.Key != "" {
		k, err := t.signer(c.Key)
		if err != nil {
			return err
		}
		text = k.Public().PEM
	}
	return put(file, text)
}

func (t target) copy(from, to string) error {
	source, err := t.path(from)
	if err != nil {
		return err
	}
	dest, err := t.path(to)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return put(dest, b)
}

func (t target) swap(one, two string) error {
	a, err := t.path(one)
	if err != nil {
		return err
	}
	b, err := t.path(two)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(a, a+".swap"), os.Rename(b, a), os.Rename(a+".swap", b))
}

// iso is the one image.
func (t target) iso() (string, error) { return t.path("*.iso") }

func (t target) image(name, at string) error {
	iso, err := t.iso()
	if err != nil {
		return err
	}
	image, err := medium.OpenISO(iso)
	if err != nil {
		return err
	}
	extent := image.Files[name]
	if name == "esp" {
		extent, _, err = image.SystemPartition()
	}
	if err := errors.Join(err, image.Close()); err != nil {
		return err
	}
	if extent.Size == 0 {
		return fmt.Errorf("the image has no %s", name)
	}
	return t.edit(filepath.Base(iso), func(b []byte) ([]byte, error) {
		_, err := flip(b[extent.Offset:extent.Offset+extent.Size], at)
		return b, err
	})
}

// sign makes the one signature of a link or layout anew.
func (t target) sign(name, as string) error {
	k, err := t.signer(as)
	if err != nil {
		return err
	}
	return t.edit(name, func(b []byte) ([]byte, error) {
		var mb struct {
			Signed     any                 `json:"signed"`
			Signatures []in_toto.Signature `json:"signatures"`
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&mb); err != nil {
			return nil, err
		}
		block := in_toto.Metablock{Signed: mb.Signed}
		text, err := block.GetSignableRepresentation()
		if err != nil {
			return nil, err
		}
		sig, err := k.SignDetached(text)
		if err != nil {
			return nil, err
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(sig)))
		if err != nil {
			return nil, err
		}
		mb.Signatures = []in_toto.Signature{{KeyID: k.Public().KeyID(), Sig: hex.EncodeToString(raw)}}
		return json.MarshalIndent(mb, "", "  ")
	})
}

// attest signs a changed statement.
func (t target) attest(c Change) error {
	k, err := t.signer(c.As)
	if err != nil {
		return err
	}
	return t.edit(c.Attest, func(b []byte) ([]byte, error) {
		var bundle struct {
			Envelope struct {
				Payload []byte `json:"payload"`
			} `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(b, &bundle); err != nil {
			return nil, err
		}
		payload := bundle.Envelope.Payload
		if c.From != "" {
			if payload, err = replace(payload, t.expand(c.From), t.expand(c.To)); err != nil {
				return nil, err
			}
		}
		var st struct {
			provenance.Statement
			Predicate json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(payload, &st); err != nil {
			return nil, err
		}
		st.Statement.Predicate = st.Predicate
		return k.SignStatement(st.Statement)
	})
}

// products are the endings of what a build makes.
var products = []string{".iso", ".vhd", ".img", ".qcow2"}

// sums makes the evidence's sums fit again.
func (t target) sums(as string) error {
	k, err := t.signer(as)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(t.out)
	if err != nil {
		return err
	}
	var images []artifact.Ref // the ISO and the disks, as far as they are there
	for _, e := range entries {
		if !slices.Contains(products, filepath.Ext(e.Name())) {
			continue
		}
		d, size, err := artifact.HashFile(filepath.Join(t.out, e.Name()))
		if err != nil {
			return err
		}
		images = append(images, artifact.Ref{Path: e.Name(), Digest: d, Size: size})
	}
	return provenance.WriteSums(filepath.Join(t.out, provenance.EvidenceDir), images, k)
}

// release makes the release's sums and the image's signatures fit again.
func (t target) release(ctx context.Context, as string) error {
	k, err := t.signer(as)
	if err != nil {
		return err
	}
	iso, err := t.iso()
	if err != nil {
		return err
	}
	s, err := provenance.Sealing{Signer: k}.Open(ctx)
	if err != nil {
		return err
	}
	image, err := provenance.FileContent(iso)
	if err != nil {
		return err
	}
	if err := t.seal(s, filepath.Base(iso), image); err != nil {
		return err
	}
	var text strings.Builder
	err = filepath.WalkDir(t.out, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(t.out, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if strings.HasPrefix(rel, provenance.ReleaseSums) || strings.HasPrefix(rel, "journal/") {
			return nil
		}
		d, _, err := artifact.HashFile(p)
		fmt.Fprintf(&text, "%s  %s\n", d, rel)
		return err
	})
	if err != nil {
		return err
	}
	if err := put(filepath.Join(t.out, provenance.ReleaseSums), []byte(text.String())); err != nil {
		return err
	}
	return t.seal(s, provenance.ReleaseSums, provenance.BytesContent([]byte(text.String())))
}

func (t target) seal(s *provenance.Sealer, name string, c provenance.Content) error {
	bundle, err := s.File(c)
	if err != nil {
		return err
	}
	text, raw, err := s.Detached(c)
	if err != nil {
		return err
	}
	file := filepath.Join(t.out, name)
	return errors.Join(put(file+provenance.BundleSuffix, bundle), put(file+provenance.SigSuffix, text), put(file+provenance.RawSuffix, raw))
}
