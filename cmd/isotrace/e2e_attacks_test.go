package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/attack"
	"github.com/isotrace/isotrace/stages"
)

// mirrorOf lays out the .debs that a build fetched as a mirror has them.
func mirrorOf(t *testing.T, p *project) string {
	t.Helper()
	lock, err := lockfile.Decode(lockfile.FileName, readAll(t, filepath.Join(p.dir, lockfile.FileName)))
	if err != nil {
		t.Fatal(err)
	}
	mirror := filepath.Join(t.TempDir(), "mirror")
	for _, it := range stages.Items(lock) {
		d := string(it.Digest)
		from, to := filepath.Join(e2e.store, "files", d[:2], d), filepath.Join(mirror, it.Repository, filepath.FromSlash(it.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, to); err != nil && !errors.Is(err, fs.ErrExist) { // in two sets
			t.Fatal(err)
		}
	}
	return mirror
}

// TestAttacks tampers with a release in each way that testdata/attacks lists.
func TestAttacks(t *testing.T) {
	p := released(t)
	o := attackOptions(t, p, "owner", "builder", "release")
	o.Archive, o.Verify.TrustedRoot = mirrorOf(t, p), readAll(t, filepath.Join(p.dir, "trusted_root.json"))
	o.Verify.OwnerKey, o.Verify.ReleaseKey = o.Keys["owner"].Public(), o.Keys["release"].Public()
	attackAll(t, o, "", 200)
}

// attackOptions are those of attacks on a project's output, by somebody who has some of
// its keys.
func attackOptions(t *testing.T, p *project, roles ...string) attack.Options {
	t.Helper()
	o := attack.Options{
		Dir: p.out(), Work: e2e.dir, Keys: map[string]*provenance.Signer{},
		Verify: provenance.VerifyOptions{Fetched: stages.Fetched, Now: time.Now()},
	}
	config, err := stages.OpenProjectConfig(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if o.Verify.ArchiveKeys, err = config.ArchiveKeys(); err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		if o.Keys[role], err = provenance.LoadSigner(role, readAll(t, filepath.Join(p.dir, "keys", role+".key")), []byte(testPassword)); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// attackAll carries out the attacks of a folder of testdata/attacks, of which there have
// to be at least so many.
func attackAll(t *testing.T, o attack.Options, folder string, least int) {
	t.Helper()
	attacks, err := attack.Read(filepath.Join("..", "..", "testdata", "attacks", folder))
	if err != nil {
		t.Fatal(err)
	}
	if len(attacks) < least {
		t.Errorf("%d attacks", len(attacks))
	}
	before := digests(t, o.Dir)
	seen := 0
	err = attack.Run(t.Context(), o, attacks, func(r attack.Row) {
		seen++
		var row strings.Builder
		if err := attack.WriteRow(&row, r); err != nil || !r.As {
			t.Errorf("%s (%s), want %+v; %v", strings.TrimSpace(row.String()), r.About, r.Expect, err)
		}
	})
	if err != nil || seen != len(attacks) {
		t.Errorf("%d of %d attacks, %v", seen, len(attacks), err)
	}
	if digests(t, o.Dir) != before {
		t.Error("the attacks changed the release itself")
	}
}

// variant builds the reference with another config, checks it and removes it again.
func (p *project) variant(reference *project, config string, check func(*project) error) error {
	if err := p.copyOf(reference); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "isotrace.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	if out, code := p.run("build"); code != 0 {
		return fmt.Errorf("build: exit status %d\n%s", code, out)
	}
	return errors.Join(check(p), os.RemoveAll(p.dir))
}

// TestNoFalseAlarms: builds of twenty configs verify as they are.
func TestNoFalseAlarms(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	text := string(readAll(t, filepath.Join(reference.dir, "isotrace.yaml")))
	variants := [][]string{ // pairs of what is replaced
		{"title: Rescue", "title: Another"}, {`release: "1.0.0"`, `release: "2.0~rc1"`}, {"timeout: 3", "timeout: 0"}, {"serial: true", "serial: false"},
		{"name: rescue\n", "name: recovery\n"}, {"console=tty0", "quiet"}, {"requirements: [RSC-1]}", "requirements: [RSC-2]}"}, {", requirements: [RSC-2]", ""},
		{"title: Rescue", "title: Größe"}, {`release: "1.0.0"`, `release: "1.0.0+1"`, "timeout: 3", "timeout: 60"}, {"timeout: 3", "timeout: 1", "serial: true", "serial: false"},
		{"name: rescue\n", "name: r2\n", "title: Rescue", "title: R2"}, {"console=tty0", "nomodeset", "timeout: 3", "timeout: 9"}, {"title: Rescue\n", ""},
		{`release: "1.0.0"`, `release: "3"`, "title: Rescue", "title: Three"}, {"serial: true", "serial: false", "title: Rescue", "title: Quiet"},
		{"requirements-file: requirements.csv\n", "", ", requirements: [RSC-1]", "", ", requirements: [RSC-2]", "", ", requirements: [RSC-3]", "", ", requirements: [RSC-4]", "", "  requirements: [RSC-1]\n", ""},
		{"timeout: 3", "timeout: 30", `release: "1.0.0"`, `release: "4"`}, {"console=tty0", "noapic", "serial: true", "serial: false"},
	}
	check := func(p *project) error {
		out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub"))
		if code != 0 || strings.Contains(out, "FAIL") {
			return fmt.Errorf("verify: exit status %d\n%s", code, out)
		}
		return nil
	}
	var group errgroup.Group
	group.SetLimit(2) // half of a build's time goes to what one processor does
	group.Go(func() error { return check(reference) })
	for i, v := range variants {
		changed := strings.NewReplacer(v...).Replace(text)
		if changed == text {
			t.Fatalf("%q changes nothing", v)
		}
		p := &project{dir: filepath.Join(t.TempDir(), fmt.Sprint("p", i))}
		group.Go(func() error {
			if err := p.variant(reference, changed, check); err != nil {
				return fmt.Errorf("%q: %w", v, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if n := 1 + len(variants); n != 20 {
		t.Errorf("%d configs", n)
	}
}
