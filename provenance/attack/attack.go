// Package attack changes a released image in one way at a time and asks what a
// verification says of it. The attacks are data: see testdata/attacks.
package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
)

// Attack is one way to tamper with a release, and what has to be said of it.
type Attack struct {
	Name   string   `yaml:"-"`
	About  string   `yaml:"about"`
	Change []Change `yaml:"change"`
	Expect Expect   `yaml:"expect"`
}

// Expect is a problem that must be found, among others.
type Expect struct {
	// Rule is the check's name; "open" where the evidence is too odd to be checked at all.
	Rule string `yaml:"rule"`
	// File and Says are parts of the problem's file and text.
	File string `yaml:"file"`
	Says string `yaml:"says"`
}

// Change is one step; exactly one of its first fields is set. Paths are below the
// release's folder, or archive/… for the copy of the archives; a path with a * has to
// fit one file. {ROLE} in paths and texts is the short id of that role's key, {ROLE.id}
// its whole id; the roles are those of the keys at hand, and mallory.
type Change struct {
	// Flip changes a bit of the byte in the middle, or at a text in the file.
	Flip string `yaml:"flip"`
	At   string `yaml:"at"`
	// Replace puts To in place of the first From.
	Replace string `yaml:"replace"`
	From    string `yaml:"from"`
	To      string `yaml:"to"`
	// Append and Add write Text, or the public key of the role Key.
	Append string `yaml:"append"`
	Add    string `yaml:"add"`
	Text   string `yaml:"text"`
	Key    string `yaml:"key"`
	// Odd puts what Is says in a file's place: fifo, folder, device, socket, or giant, a
	// sparse file.
	Odd string `yaml:"odd"`
	Is  string `yaml:"is"`
	// Link makes a symbolic link to To.
	Link     string   `yaml:"link"`
	Remove   string   `yaml:"remove"`
	Truncate string   `yaml:"truncate"` // to half
	Copy     string   `yaml:"copy"`     // to To
	Swap     []string `yaml:"swap"`
	// Image flips a bit as Flip does, of a file of the ISO, or, for "esp", of its EFI
	// system partition.
	Image string `yaml:"image"`
	// ISO writes over bytes of the ISO.
	ISO *ISOChange `yaml:"iso"`
	// Sign signs a link or layout anew, as As.
	Sign string `yaml:"sign"`
	As   string `yaml:"as"`
	// Attest signs an attestation's statement anew, as As, with From replaced by To in it.
	Attest string `yaml:"attest"`
	// Trace changes a line of the trace, PART:PATH: fields that Set names, or From to To;
	// see changeTrace.
	Trace string         `yaml:"trace"`
	Set   map[string]any `yaml:"set"`
	// Relink makes links and attestations fit what was changed, signed by the role.
	Relink string `yaml:"relink"`
	// Sums writes the evidence's SHA256SUMS anew, signed by the role.
	Sums string `yaml:"sums"`
	// Archive and Forge change what the evidence rests on, and have the links follow.
	Archive *Archive `yaml:"archive"`
	Forge   *Forge   `yaml:"forge"`
	// Release writes the release's SHA256SUMS, and the image's signatures, anew.
	Release string `yaml:"release"`
}

// Read reads the attacks in a folder, one in each .yaml file, in order of their names.
func Read(dir string) ([]Attack, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []Attack
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		a := Attack{Name: strings.TrimSuffix(filepath.Base(f), ".yaml")}
		dec := yaml.NewDecoder(bytes.NewReader(text))
		dec.KnownFields(true)
		if err := dec.Decode(&a); err != nil {
			return nil, fault.New(fault.Usage, "", "%s: %w", f, err)
		}
		if a.About == "" || len(a.Change) == 0 || a.Expect.Rule == "" || a.Expect.Says == "" {
			return nil, fault.New(fault.Usage, "", "%s: about, change, and rule and says of expect have to be there", f)
		}
		all = append(all, a)
	}
	return all, nil
}

// Options say what is attacked, and who is believed.
type Options struct {
	// Dir is the release's folder, Archive a copy of the archives. Neither is changed.
	Dir, Archive string
	// Work is where changed copies are made: on the same file system, since what does
	// not change is linked.
	Work string
	// Keys are the private keys of the roles.
	Keys map[string]*provenance.Signer
	// Verify says whom the auditor believes.
	Verify provenance.VerifyOptions
}

// Row is what came of an attack.
type Row struct {
	Attack
	// Refused tells that the verification did, As that it was for what was expected.
	Refused, As bool
	// Rule, File and Said are of the expected problem, else of the first.
	Rule, File, Said string
}

// Run carries out attacks, two at a time, and tells of each in their order. The release
// is verified whole before; a check of an attacked copy that reads only what is the
// same as there is not made again.
func Run(ctx context.Context, o Options, attacks []Attack, report func(Row)) error {
	mallory, err := newMallory()
	if err != nil {
		return err
	}
	o.Keys["mallory"] = mallory
	o.Verify.Debs = &provenance.DebCache{}
	v := o.Verify
	v.Archive = o.Archive
	good, err := provenance.Verify(ctx, o.Dir, v)
	if err != nil {
		return err
	}
	if err := good.Refused(); err != nil {
		return fmt.Errorf("before anything was changed: %w", err)
	}
	held := map[artifact.Digest]bool{}
	for _, d := range good.Held {
		held[d] = true
	}
	o.Verify.Known = func(d artifact.Digest) bool { return held[d] }
	rows := make([]Row, len(attacks))
	done := make([]chan struct{}, len(attacks))
	for i := range done {
		done[i] = make(chan struct{})
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(3)
	group.Go(func() error {
		for i := range attacks {
			select {
			case <-done[i]:
				report(rows[i])
			case <-gctx.Done():
				return context.Cause(gctx)
			}
		}
		return nil
	})
	for i, a := range attacks {
		group.Go(func() (err error) {
			if rows[i], err = o.carryOut(gctx, a); err != nil {
				return fmt.Errorf("attack %s: %w", a.Name, err)
			}
			close(done[i])
			return nil
		})
	}
	return group.Wait()
}

// carryOut makes a changed copy and verifies it.
func (o Options) carryOut(ctx context.Context, a Attack) (row Row, err error) {
	row.Attack = a
	work, err := os.MkdirTemp(o.Work, "attack-*")
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	t := target{out: filepath.Join(work, "out"), keys: o.Keys}
	v := o.Verify
	if err := linkTree(o.Dir, t.out); err != nil {
		return row, err
	}
	if a.Expect.Rule == "debs" {
		v.Archive = o.Archive
	}
	if a.touchesArchive() {
		v.Archive = filepath.Join(work, "archive")
		t.archive = v.Archive
		if err := linkTree(o.Archive, t.archive); err != nil {
			return row, err
		}
	}
	for i, c := range a.Change {
		if err := t.apply(ctx, c); err != nil {
			return row, fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	r, err := provenance.Verify(ctx, t.out, v)
	if err != nil {
		if fault.ClassOf(err) != fault.Refused {
			return row, err
		}
		row.Refused, row.Rule, row.File, row.Said = true, "open", "evidence", err.Error()
		row.As = a.Expect.Rule == "open" && strings.Contains(err.Error(), t.expand(a.Expect.File)) && strings.Contains(err.Error(), t.expand(a.Expect.Says))
		return row, nil
	}
	for _, c := range r.Failed() {
		for _, p := range c.Problems {
			as := c.Rule == a.Expect.Rule && strings.Contains(p.File, t.expand(a.Expect.File)) && strings.Contains(p.Detail, t.expand(a.Expect.Says))
			if !row.Refused || as && !row.As {
				row.Refused, row.As, row.Rule, row.File, row.Said = true, as, c.Rule, p.File, p.Detail
			}
		}
	}
	return row, nil
}

func (a Attack) touchesArchive() bool {
	return slices.ContainsFunc(a.Change, func(c Change) bool {
		for _, p := range append([]string{c.Flip, c.Replace, c.Append, c.Remove, c.Truncate, c.Copy, c.Odd}, c.Swap...) {
			if strings.HasPrefix(p, archivePrefix) {
				return true
			}
		}
		return false
	})
}

// linkTree copies a folder; the files are the same, under another name.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o755)
		}
		return os.Link(p, at)
	})
}

// newMallory is a key that nobody trusts.
func newMallory() (*provenance.Signer, error) {
	private, _, err := provenance.GenerateKeyPair([]byte("mallory"))
	if err != nil {
		return nil, err
	}
	return provenance.LoadSigner("mallory", private, []byte("mallory"))
}

// WriteRow writes a row of the table.
func WriteRow(w io.Writer, r Row) error {
	state := "refused"
	switch {
	case !r.Refused:
		state = "ACCEPTED"
	case !r.As:
		state = "OTHERWISE"
	}
	_, err := fmt.Fprintf(w, "%-9s  %-34s  %-9s  %s: %s\n", state, r.Name, r.Rule, r.File, r.Said)
	return err
}
