package provenance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
)

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
	var problems []Problem
	var found []string
	sums := map[string]artifact.Digest{}
	if text, err := v.read(Sums, maxSums); err == nil {
		if sums, err = parseSums(text); err != nil {
			sums = nil // the evidence check has said so
		}
	}
	records := v.imageRecords()
	for _, name := range sortedKeys(records) {
		have, record := v.images[name], records[name]
		if have.err != nil {
			problems = append(problems, problemOf(name, have.err))
			continue
		}
		if want := v.made[record]; have.digest != want {
			maker, _, _ := strings.Cut(record, "/")
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, the stage %s gave %s", have.digest, maker, want)})
		}
		if sums != nil && sums["../"+name] != have.digest {
			problems = append(problems, Problem{name, "its SHA-256 is not the one in " + Sums})
		}
		found = append(found, fmt.Sprintf("%s, %d bytes, sha256 %s", name, have.size, have.digest))
	}
	return strings.Join(found, "; "), problems, nil
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
	what := fmt.Sprintf("%d files in the image and its EFI system partition, each as its stage gave it, and nothing beside them", len(want))
	for _, t := range v.Config.Boot.MemoryTests {
		if have := want[t.OnMedium()]; have != t.SHA256 {
			return "", []Problem{{t.OnMedium(), fmt.Sprintf("its SHA-256 is %q, the config pins %s", have, t.SHA256)}}, nil
		}
	}
	hybrid := medium.Hybrid{
		Volume: medium.VolumeID(v.Config.Name, v.Config.Release), Epoch: v.Lock.Epoch, BootCode: v.made[recordMBR],
		BIOS: biosImagePath, Catalogue: bootCatalogue,
	}
	about := artifact.HashBytes(fmt.Appendf(nil, "%+v", hybrid))
	name, known := v.known("medium", append([]artifact.Digest{v.iso, v.made[recordESP], about}, sorted(want)...)...)
	if known {
		return what, nil, nil
	}
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
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
				problems = append(problems, problemOf(file, err))
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
		problems = append(problems, problemOf(v.ImageName(), err))
	case have != v.made[recordESP]:
		problems = append(problems, Problem{v.ImageName(), fmt.Sprintf("the SHA-256 of its EFI system partition is %s, the stage bootparts gave %s", have, v.made[recordESP])})
	}
	problems = append(problems, v.systemFiles(iso)...)
	if err := iso.Account(hybrid); err != nil {
		problems = append(problems, problemOf(v.ImageName(), err))
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

// systemFiles compares the files of the EFI system partition, which the image has.
func (v *verification) systemFiles(iso *medium.ISO) (problems []Problem) {
	files, err := iso.SystemFiles()
	if err != nil {
		return []Problem{problemOf(v.ImageName(), err)}
	}
	return v.compareSystem(v.ImageName(), recordEFI, files)
}

// compareSystem compares the files of an EFI system partition with those of a stage's set.
func (v *verification) compareSystem(image, set string, files []artifact.Ref) (problems []Problem) {
	want := map[string]artifact.Digest{}
	for p, d := range v.made {
		if name, ok := strings.CutPrefix(p, set); ok {
			want[name] = d
		}
	}
	for _, f := range files {
		if want[f.Path] != f.Digest {
			problems = append(problems, Problem{image, fmt.Sprintf("EFI system partition: %s: its SHA-256 is %s, its stage gave %q", f.Path, f.Digest, want[f.Path])})
		}
		delete(want, f.Path)
	}
	for _, name := range sortedKeys(want) {
		problems = append(problems, Problem{image, "EFI system partition: " + name + " is missing"})
	}
	return problems
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
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	r, err := iso.Open(checksumsPath)
	if err != nil {
		return "", []Problem{problemOf(checksumsPath, err)}, nil
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
		problems = append(problems, problemOf(checksumsPath, err))
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
		return "", []Problem{{path.Join(LinksDir, LinkName(squashfsStage, v.key.KeyID())), "took no root tree"}}, nil
	}
	text, err := v.read(name, maxEvidenceFile)
	if err != nil {
		return "", []Problem{problemOf(name, err)}, nil
	}
	manifest := artifact.HashBytes(text)
	if want := v.made[record]; manifest != want {
		return "", []Problem{{name, fmt.Sprintf("its SHA-256 is %s, its stage gave %s", manifest, want)}}, nil
	}
	// The content of the squashfs is what the medium check found it to be.
	what := fmt.Sprintf("every file, folder and link is as in %s", name)
	remembered, known := v.known("squashfs", v.made[recordMedium+squashfsPath], manifest, artifact.HashBytes([]byte(v.Lock.Epoch.String())))
	if known {
		return what, nil, nil
	}
	want, err := roottree.Parse(bytes.NewReader(text))
	if err != nil {
		return "", []Problem{problemOf(name, err)}, nil
	}
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	switch time, err := iso.SquashfsTime(squashfsPath); {
	case err != nil:
		return "", []Problem{problemOf(squashfsPath, err)}, nil
	case time != int64(v.Lock.Epoch):
		problems = append(problems, Problem{squashfsPath, fmt.Sprintf("its files are of the time %d, want %s", time, v.Lock.Epoch)})
	}
	have, err := iso.Squashfs(ctx, squashfsPath)
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	if err != nil {
		return "", []Problem{problemOf(squashfsPath, err)}, nil
	}
	for _, d := range roottree.Compare(want, have, roottree.CompareOptions{NoHardLinks: true}) {
		problems = append(problems, Problem{squashfsPath, d.String()})
	}
	v.hold(remembered, problems)
	return fmt.Sprintf("%d files, folders and links, each as in %s", len(want.Entries), name), bounded(problems), nil
}
