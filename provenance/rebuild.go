package provenance

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// OpenRecords returns what the builder of the evidence in dir recorded, by stage, from
// links that hold. The key is o's, or the evidence's own.
func OpenRecords(ctx context.Context, dir string, o VerifyOptions) (map[string]stage.Record, error) {
	v, err := newVerification(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	_, problems, err := v.checkLinks(ctx)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, refused(errors.New(problems[0].String()))
	}
	return v.links, nil
}

// MadeFrom refuses a config or a lock that the build did not have.
func (b *Bundle) MadeFrom(configText, lockText []byte) error {
	for _, f := range []struct {
		name         string
		theirs, mine []byte
	}{{config.FileName, b.configText, configText}, {lockfile.FileName, b.lockText, lockText}} {
		if !bytes.Equal(f.theirs, f.mine) {
			return fault.New(fault.Refused, "check out the project as it was when it was built", "%s: is not the one of the evidence in %s", f.name, b.out)
		}
	}
	return nil
}

// AddLinks puts the links of another builder of the same image, by stage, beside those
// of the first. The layout has to let the key carry out each stage. What is released
// stays as it is: its sums are over all links.
func (b *Bundle) AddLinks(key *PublicKey, links map[string][]byte) (err error) {
	release, err := artifact.HoldDir(b.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if _, err := os.Lstat(filepath.Join(b.out, ReleaseSums)); err == nil {
		return fault.New(fault.Refused, "let the rebuilder sign before the release manager does", "%s: the image is released, and its sums are over all links", b.out)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := b.read(LayoutFile, MaxLayout)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Refused, "isotrace layout --functionary names who may build", "%s: there is no layout, so nobody would count the links", b.out)
	}
	if err != nil {
		return err
	}
	layout, err := OpenLayout(text, nil)
	if err != nil {
		return refused(err)
	}
	for _, name := range sortedKeys(links) {
		if !layout.Allows(name, key) {
			return fault.New(fault.Refused, "isotrace layout --functionary names who may build", "%s does not let the key %.8s carry out %s", LayoutFile, key.KeyID(), name)
		}
	}
	for _, name := range sortedKeys(links) {
		file := filepath.Join(b.dir, LinksDir, LinkName(name, key.KeyID()))
		if err := artifact.WriteBytes(file, 0o644, links[name]); err != nil {
			return artifact.ExplainWrite(err)
		}
	}
	return nil
}

// linkOfAnother tells whether a file of the evidence is the link of one whom the layout
// lets build but who is not the evidence's builder: what it says is signed on its own.
func (v *verification) linkOfAnother(file string) bool {
	if v.layout == nil || path.Dir(file) != LinksDir {
		return false
	}
	key, err := v.signerOf(path.Base(file))
	return err == nil && key.KeyID() != v.key.KeyID()
}
