package stages

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/baseimage"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/fetch"
)

// Built is what a build left in its output folder.
type Built struct {
	ISO    string          `json:"iso"` // path
	Digest artifact.Digest `json:"sha256"`
	Size   int64           `json:"size"`
	// Sources is the path of the ISO of the source packages, where there is one.
	Sources string `json:"sources,omitempty"`
	// Disks are the disk images, by path.
	Disks []artifact.Ref `json:"disks,omitempty"`
	// Results of the stages, by name.
	Results map[string]stage.Result `json:"-"`
	Checks  provenance.Result       `json:"-"`
}

// Build makes the products of the project's lock in the folder out, with their
// evidence, and verifies what it wrote before it takes the place of what was
// there.
func (s *Session) Build(ctx context.Context, out string, signer *provenance.Signer, report func(provenance.Check)) (_ *Built, err error) {
	p := s.Project
	if err := errors.Join(p.Config.CheckPasswords(p.ConfigText), p.Lock.CheckConfig(p.Config)); err != nil {
		return nil, err
	}
	if err := s.checkRelease(out); err != nil {
		return nil, err
	}
	materials, err := p.Collect(ctx, s.Store)
	if err != nil {
		return nil, err
	}
	s.tellUnmet(materials.RequirementList)
	if err := s.copyReleases(); err != nil {
		return nil, err
	}
	if err := s.copyImage(ctx); err != nil {
		return nil, err
	}
	if k := materials.BaseKey; k != nil && p.Lock.Image != nil && (p.Lock.Image.Signature == nil || p.Lock.Image.Signature.Key.Digest != k.Digest) {
		return nil, fault.New(fault.Usage, "run isotrace lock", "%s: is not the key that signed the locked base image", p.Config.Base.SignedBy)
	}
	g, products := Pipeline(p.Config, p.Lock, materials, s.fetch)
	runner := &stage.Runner{
		Store: s.Store, Epoch: p.Lock.Epoch, Recorder: provenance.Recorder{Signer: signer}, Progress: s.Progress, Journal: s.Journal, Limits: limitsOf(p.Config),
	}
	results, err := runner.Run(ctx, g, products.Goals()...)
	if err != nil {
		return nil, err
	}
	if err := s.copyKeyrings(ctx, runner, g, products.Base); err != nil {
		return nil, err
	}
	believed, err := s.archiveKeys()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, fault.New(fault.Failed, "name another folder with -o", "make the output folder: %w", err)
	}
	at, err := realFolder(out)
	if err != nil {
		return nil, err
	}
	if err := sweep(at); err != nil {
		return nil, err
	}
	draft, err := os.MkdirTemp(at, provenance.DraftPrefix+"*")
	if err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	b := &Built{Results: results}
	if err := s.writeDraft(draft, signer, b); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	s.tell("verify", stage.StateRunning)
	b.Checks, err = provenance.Verify(ctx, draft, provenance.VerifyOptions{
		Key: signer.Public(), Fetched: Fetched, Report: report, Known: s.heldBefore, SHA512: s.sha512, Now: s.Now, Unreleased: true, Alone: true, ArchiveKeys: believed,
	})
	if err != nil {
		return nil, fmt.Errorf("verify the build's own output: %w", err)
	}
	if err := b.Checks.RefusedBut("the lines above name " + b.Checks.Named()); err != nil {
		s.tell("verify", stage.StateFailed)
		return nil, fmt.Errorf("the build's own output: %w", err)
	}
	s.tell("verify", stage.StateDone)
	if err := s.rememberHeld(b.Checks); err != nil {
		return nil, err
	}
	b.ISO = filepath.Join(out, provenance.ImageName(p.Config))
	if p.Config.Sources {
		b.Sources = filepath.Join(out, provenance.SourcesName(p.Config))
	}
	for _, i := range productsOf(p.Config) {
		if i.stage == "disk" {
			made := results["disk"].Outputs[i.file].File
			b.Disks = append(b.Disks, artifact.Ref{Path: filepath.Join(out, i.file), Digest: made.Digest, Size: made.Size})
		}
	}
	return b, s.publish(draft, at)
}

// realFolder is where a folder is, without links: it is to be moved.
func realFolder(dir string) (string, error) {
	at, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(at)
}

// fetch makes the archives' client only when something is to be fetched: a
// build from a full store needs no mirror.
func (s *Session) fetch(ctx context.Context, store *artifact.Store, items []fetch.Item, progress func(done, total int64)) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	return Fetcher(client)(ctx, store, items, progress)
}

// WithTools unpacks the tools of one use and lets do have their folder.
func (s *Session) WithTools(ctx context.Context, use lockfile.Use, do func(dir string) error) error {
	return s.withTools(ctx, s.Project.Lock, use, do)
}

func (s *Session) withTools(ctx context.Context, l *lockfile.Lock, use lockfile.Use, do func(dir string) error) error {
	lock := stage.Material{Ref: artifact.Ref{Path: "tools", Digest: artifact.HashBytes(nil)}}
	g, tools := ToolGraph(l, use, lock, s.fetch)
	runner := &stage.Runner{Store: s.Store, Epoch: l.Epoch, Progress: s.Progress, Journal: s.Journal, Limits: limitsOf(s.Project.Config)}
	return runner.WithTree(ctx, g, tools, do)
}

// copyImage brings the base image's parts into the store.
func (s *Session) copyImage(ctx context.Context) (err error) {
	locked := s.Project.Lock.Image
	if locked == nil {
		return nil
	}
	missing := false
	for _, b := range locked.Blobs() {
		missing = missing || !s.Store.Has(b.Digest)
	}
	if !missing {
		return nil
	}
	img, err := baseimage.Open(ctx, s.Project.Config.Base, s.Project.Dir, s.Project.Lock.Architecture, locked)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	for _, b := range locked.Blobs() {
		if err := img.Copy(ctx, s.Store, b); err != nil {
			return err
		}
	}
	return nil
}

// copyKeyrings brings the archives' keys into the store: from the project, or
// from the base image that they came with.
func (s *Session) copyKeyrings(ctx context.Context, runner *stage.Runner, g *stage.Graph, base stage.Tree) error {
	var fromBase []artifact.Ref
	for _, a := range s.Project.Lock.Archives {
		if s.Project.Lock.Image != nil && strings.HasPrefix(a.Keyring.Path, basePrefix) {
			if !s.Store.Has(a.Keyring.Digest) {
				fromBase = append(fromBase, a.Keyring)
			}
			continue
		}
		// The project's file is read even where the store has those keys: it may have others now.
		_, text, err := s.Project.Keyring(a.Keyring.Path)
		if err != nil {
			return err
		}
		if err := addChecked(s.Store, a.Keyring, text); err != nil {
			return err
		}
	}
	if len(fromBase) == 0 {
		return nil
	}
	return runner.WithTree(ctx, g, base, func(dir string) error {
		b, err := readBase(dir)
		if err != nil {
			return err
		}
		for _, k := range fromBase {
			if err := addChecked(s.Store, k, b.keys[k.Path]); err != nil {
				return err
			}
		}
		return nil
	})
}

func addChecked(store *artifact.Store, want artifact.Ref, text []byte) error {
	have, err := store.Add(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	if have.Digest != want.Digest {
		return fault.New(fault.Usage, "run isotrace lock", "%s: its SHA-256 is %s, the lock says %s", want.Path, have.Digest, want.Digest)
	}
	return nil
}

// Fetched is what the fetch stage must bring for a lock, by record path.
func Fetched(l *lockfile.Lock) map[string]artifact.Digest {
	want := map[string]artifact.Digest{}
	for _, it := range Items(l) {
		want["fetch/"+it.Set+"/"+it.Repository+"/"+it.Path] = it.Digest
	}
	return want
}

// sha512 is that of stored content; "" where the store does not have it.
func (s *Session) sha512(d artifact.Digest) string {
	sum, err := s.Store.Sum(d, "sha512", sha512.New())
	if err != nil {
		return ""
	}
	return sum
}

// held is the note that a check of provenance.Verify held for some content,
// for which it cannot come out otherwise.
func (s *Session) held(check artifact.Digest) string {
	return s.Store.Result("held." + string(check))
}

func (s *Session) heldBefore(check artifact.Digest) bool {
	b, err := os.ReadFile(s.held(check))
	return err == nil && strings.TrimSpace(string(b)) == string(check)
}

func (s *Session) rememberHeld(r provenance.Result) error {
	for _, check := range r.Held {
		if err := artifact.WriteBytes(s.held(check), 0o644, []byte(check+"\n")); err != nil {
			return err
		}
	}
	return nil
}
