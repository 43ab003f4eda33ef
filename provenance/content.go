package provenance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
)

// archives checks the ground that everything stands on: package in index, index
// in Release file, Release file signed. Signatures are judged as of the Release
// file's own date: a key that has expired since does not undo them.
func (v *verification) archives(ctx context.Context) (string, []Problem, error) {
	count := len(v.Lock.Target) + len(v.Lock.Boot) + len(v.Lock.Tools)
	what := fmt.Sprintf("%d packages in the indexes of %d suites, signed by their archives' keys", count, len(v.Lock.Archives))
	problems := v.archiveFiles()
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	name, known := v.known("archives", artifact.HashBytes(v.lockText))
	if known {
		return what, nil, nil
	}
	listed := map[string]map[artifact.Digest]archive.Package{}
	for _, a := range v.Lock.Archives {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		packages, err := v.archive(a)
		if err != nil {
			problems = append(problems, Problem{a.ID, err.Error()})
			continue
		}
		listed[a.ID] = packages
	}
	for _, set := range [][]lockfile.Package{v.Lock.Target, v.Lock.Boot, v.Lock.Tools} {
		for _, p := range set {
			have, ok := listed[p.Archive][p.SHA256]
			switch {
			case listed[p.Archive] == nil: // reported above
			case !ok:
				problems = append(problems, Problem{p.ID(), "is in no index of " + p.Archive})
			case have.Name != p.Name || have.Version != p.Version || have.Architecture != p.Architecture || have.Filename != p.Path || have.Size != p.Size || have.Source != p.Source || have.SourceVersion != p.SourceVersion:
				problems = append(problems, Problem{p.ID(), "is another package in the index of " + p.Archive})
			}
		}
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

// archiveFiles checks that the evidence holds what the lock rests on.
func (v *verification) archiveFiles() []Problem {
	want := map[string]artifact.Digest{}
	for _, a := range v.Lock.Archives {
		want[KeyringName(a.Keyring.Digest)] = a.Keyring.Digest
		refs := []artifact.Ref{a.Release}
		if a.Signature != nil {
			refs = append(refs, *a.Signature)
		}
		for _, i := range a.Indexes {
			refs = append(refs, i.Ref)
		}
		for _, r := range refs {
			want[path.Join(ArchivesDir, a.Repository, r.Path)] = r.Digest
		}
	}
	var problems []Problem
	for _, name := range sortedKeys(want) {
		if have := v.files[name]; have != want[name] {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %q, the lock says %s", have, want[name])})
		}
	}
	return problems
}

func (v *verification) archive(a lockfile.Archive) (map[artifact.Digest]archive.Package, error) {
	keys, err := v.readDigest(KeyringName(a.Keyring.Digest), a.Keyring.Digest, 4<<20)
	if err != nil {
		return nil, err
	}
	ring, err := archive.ReadKeyring(a.Keyring.Path, keys)
	if err != nil {
		return nil, err
	}
	file := func(r artifact.Ref) string { return path.Join(ArchivesDir, a.Repository, r.Path) }
	var signed archive.SignedRelease
	if signed.Data, err = v.readDigest(file(a.Release), a.Release.Digest, 64<<20); err != nil {
		return nil, err
	}
	if a.Signature != nil {
		if signed.Signature, err = v.readDigest(file(*a.Signature), a.Signature.Digest, 1<<20); err != nil {
			return nil, err
		}
	}
	date, err := time.Parse(time.RFC3339, a.Date)
	if err != nil {
		return nil, err
	}
	release, _, _, err := signed.Verify(ring, a.Release.Path, archive.ReleaseCheck{Suite: a.Suite, Now: date.Add(signingDelay), IgnoreValidUntil: true})
	if err != nil {
		return nil, err
	}
	if !release.Date.Equal(date) || release.Codename != a.Codename {
		return nil, fmt.Errorf("the lock has its date as %s and its codename as %s, the Release file as %s and %s", a.Date, a.Codename, release.Date.Format(time.RFC3339), release.Codename)
	}
	packages := map[artifact.Digest]archive.Package{}
	for _, i := range a.Indexes {
		name := strings.TrimPrefix(i.Path, "dists/"+a.Suite+"/")
		if sum, ok := release.Files[name]; !ok || sum.SHA256 != i.Digest {
			return nil, fmt.Errorf("%s: the Release file does not name it with SHA-256 %s", i.Path, i.Digest)
		}
		text, err := v.readDigest(file(i.Ref), i.Digest, 1<<30)
		if err != nil {
			return nil, err
		}
		list, err := archive.ReadPackages(i.Path, text)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			packages[p.SHA256] = p
		}
	}
	return packages, nil
}

// signingDelay is how long after its date a Release file may be signed.
const signingDelay = 24 * time.Hour

func (v *verification) readDigest(name string, want artifact.Digest, limit int64) ([]byte, error) {
	text, err := v.read(name, limit)
	if err != nil {
		return nil, err
	}
	if have := artifact.HashBytes(text); have != want {
		return nil, fmt.Errorf("%s: its SHA-256 is %s, the lock says %s", name, have, want)
	}
	return text, nil
}

func (v *verification) checkImage(context.Context) (string, []Problem, error) {
	digest, size, err := artifact.HashFile(v.image)
	if errors.Is(err, os.ErrNotExist) {
		return "", []Problem{{v.ImageName(), "is missing"}}, nil
	}
	if err != nil {
		return "", nil, err
	}
	v.iso = digest
	var problems []Problem
	if want := v.made[recordISO]; digest != want {
		problems = append(problems, Problem{v.ImageName(), fmt.Sprintf("its SHA-256 is %s, the stage iso gave %s", digest, want)})
	}
	text, err := v.read(Sums, 64<<20)
	if err == nil {
		if sums, err := parseSums(text); err == nil && sums["../"+v.ImageName()] != digest {
			problems = append(problems, Problem{v.ImageName(), "its SHA-256 is not the one in " + Sums})
		}
	}
	return fmt.Sprintf("%s, %d bytes, sha256 %s", v.ImageName(), size, digest), problems, nil
}

// mediumTree returns the files that the medium must hold.
func (v *verification) mediumTree() map[string]artifact.Digest {
	files := map[string]artifact.Digest{}
	for p, d := range v.made {
		if name, ok := strings.CutPrefix(p, recordMedium); ok {
			files[name] = d
		}
	}
	return files
}

func (v *verification) medium(ctx context.Context) (_ string, problems []Problem, err error) {
	want := v.mediumTree()
	what := fmt.Sprintf("%d files in the image and its EFI system partition, each as its stage gave it", len(want))
	name, known := v.known("medium", append([]artifact.Digest{v.iso, v.made[recordESP]}, sorted(want)...)...)
	if known {
		return what, nil, nil
	}
	iso, err := medium.OpenISO(v.image)
	if err != nil {
		return "", []Problem{{v.ImageName(), err.Error()}}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	v.md5 = map[string]string{}
	for _, file := range sortedKeys(iso.Files) {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		have, sum, err := iso.Sums(file)
		if err != nil {
			return "", nil, err
		}
		v.md5[file] = sum
		if file == biosImagePath {
			text, err := iso.Unpatched(file)
			if err != nil {
				problems = append(problems, Problem{file, err.Error()})
				continue
			}
			have = artifact.HashBytes(text)
		}
		switch expected, ok := want[file]; {
		case file == bootCatalogue:
		case !ok:
			problems = append(problems, Problem{file, "is in the image, but no stage gave it"})
		case have != expected:
			problems = append(problems, Problem{file, fmt.Sprintf("its SHA-256 is %s, the stage livetree gave %s", have, expected)})
		}
	}
	for _, file := range sortedKeys(want) {
		if _, ok := iso.Files[file]; !ok {
			problems = append(problems, Problem{file, "is missing in the image"})
		}
	}
	switch _, have, err := iso.SystemPartition(); {
	case err != nil:
		problems = append(problems, Problem{v.ImageName(), err.Error()})
	case have != v.made[recordESP]:
		problems = append(problems, Problem{v.ImageName(), fmt.Sprintf("the SHA-256 of its EFI system partition is %s, the stage bootparts gave %s", have, v.made[recordESP])})
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

func sorted(m map[string]artifact.Digest) []artifact.Digest {
	var all []artifact.Digest
	for _, k := range sortedKeys(m) {
		all = append(all, artifact.HashBytes([]byte(k)), m[k])
	}
	return all
}

// checksums reads the image's md5sum.txt as casper does.
func (v *verification) checksums(context.Context) (_ string, problems []Problem, err error) {
	what := fmt.Sprintf("the image's files match its %s", checksumsPath)
	remembered, known := v.known("checksums", v.iso)
	if known {
		return what, nil, nil
	}
	iso, err := medium.OpenISO(v.image)
	if err != nil {
		return "", []Problem{{v.ImageName(), err.Error()}}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	r, err := iso.Open(checksumsPath)
	if err != nil {
		return "", []Problem{{checksumsPath, err.Error()}}, nil
	}
	listed := map[string]bool{checksumsPath: true, biosImagePath: true, bootCatalogue: true}
	lines := bufio.NewScanner(io.LimitReader(r, 64<<20))
	for lines.Scan() {
		sum, file, ok := strings.Cut(lines.Text(), "  ./")
		if !ok || len(sum) != 32 {
			problems = append(problems, Problem{checksumsPath, fmt.Sprintf("cannot read %q", lines.Text())})
			continue
		}
		listed[file] = true
		if _, ok := iso.Files[file]; !ok {
			problems = append(problems, Problem{checksumsPath, file + " is not in the image"})
			continue
		}
		have, ok := v.md5[file]
		if !ok {
			if _, have, err = iso.Sums(file); err != nil {
				return "", nil, err
			}
		}
		if have != sum {
			problems = append(problems, Problem{file, fmt.Sprintf("its MD5 is %s, %s says %s", have, checksumsPath, sum)})
		}
	}
	if err := lines.Err(); err != nil {
		problems = append(problems, Problem{checksumsPath, err.Error()})
	}
	for _, file := range sortedKeys(iso.Files) {
		if !listed[file] {
			problems = append(problems, Problem{file, "is not in " + checksumsPath})
		}
	}
	v.hold(remembered, problems)
	return what, bounded(problems), nil
}

// rootRecord is the manifest of the tree that the squashfs was made from: its
// file in the evidence, and the name that links have for it.
func (v *verification) rootRecord() (name, record string) {
	for m := range v.links[squashfsStage].Materials {
		if strings.HasSuffix(m, "/root"+manifestSuffix) {
			record = m
		}
	}
	return path.Join(ManifestDir, record), record
}

func (v *verification) checkSquashfs(ctx context.Context) (_ string, problems []Problem, err error) {
	name, record := v.rootRecord()
	if record == "" {
		return "", []Problem{{LinkName(squashfsStage, v.key.KeyID()), "took no root tree"}}, nil
	}
	text, err := v.read(name, maxEvidenceFile)
	if err != nil {
		return "", []Problem{{name, err.Error()}}, nil
	}
	manifest := artifact.HashBytes(text)
	if want := v.made[record]; manifest != want {
		return "", []Problem{{name, fmt.Sprintf("its SHA-256 is %s, its stage gave %s", manifest, want)}}, nil
	}
	// The content of the squashfs is what the medium check found it to be.
	what := fmt.Sprintf("every file, folder and link is as in %s", name)
	remembered, known := v.known("squashfs", v.made[recordMedium+squashfsPath], manifest)
	if known {
		return what, nil, nil
	}
	want, err := roottree.Parse(bytes.NewReader(text))
	if err != nil {
		return "", []Problem{{name, err.Error()}}, nil
	}
	iso, err := medium.OpenISO(v.image)
	if err != nil {
		return "", []Problem{{v.ImageName(), err.Error()}}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	have, err := iso.Squashfs(ctx, squashfsPath)
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	if err != nil {
		return "", []Problem{{squashfsPath, err.Error()}}, nil
	}
	for _, d := range roottree.Compare(want, have, roottree.CompareOptions{NoHardLinks: true}) {
		problems = append(problems, Problem{squashfsPath, d.String()})
	}
	v.hold(remembered, problems)
	return fmt.Sprintf("%d files, folders and links, each as in %s", len(want.Entries), name), bounded(problems), nil
}
