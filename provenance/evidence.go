package provenance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/secret"
)

// The layout of a build's output folder.
const (
	EvidenceDir   = "evidence"
	LinksDir      = "links"         // STAGE.KEYID8.link
	TraceDir      = "trace"         // where each file came from
	SbomDir       = "sbom"          // bills of materials
	ManifestDir   = "manifest"      // mtree manifests, by record path
	ArchivesDir   = "archives"      // Release files and indexes, REPOSITORY/PATH
	KeyringsDir   = "archives/keys" // SHA256.gpg, the keys that may sign archives
	BuilderKey    = "builder.pub"
	Sums          = "SHA256SUMS"
	SumsSignature = "SHA256SUMS.sig"
)

// Record paths that checks know. A link calls a product STAGE/OUTPUT, the files
// of a set STAGE/OUTPUT/PATH, and a tree STAGE/OUTPUT.mtree.
const (
	fetchStage     = "fetch"
	mediumStage    = "livetree"
	isoStage       = "iso"
	traceStage     = "trace"
	sbomStage      = "sbom"
	sourcesStage   = "sourceiso"
	diskStage      = "disk"
	recordMedium   = "livetree/tree/"
	recordESP      = "bootparts/efiboot.img"
	recordEFI      = "bootparts/efi/" // what the partition holds
	recordMBR      = "bootparts/boot_hybrid.img"
	recordProject  = "project/"
	recordTrace    = "trace/trace/"
	recordSbom     = "sbom/sbom/"
	squashfsPath   = "casper/filesystem.squashfs"
	squashfsStage  = "squashfs"
	biosImagePath  = "boot/grub/bios.img"
	bootCatalogue  = "boot/grub/boot.cat"
	checksumsPath  = "md5sum.txt"
	manifestSuffix = ".mtree"
)

// KeyringName is the evidence's file for an archive's keys.
func KeyringName(d artifact.Digest) string { return path.Join(KeyringsDir, string(d)+".gpg") }

// Bounds of an evidence folder.
const (
	maxEvidenceFiles = 20_000
	maxEvidenceFile  = 2 << 30
	maxEvidence      = 4 << 30 // bytes of them all; a registry takes no more, either
	maxEvidenceDepth = 16
)

// WriteSums writes SHA256SUMS over every file below dir and over the images
// beside it, and its signature. sha256sum -c reads it inside dir. A file that holds a
// private key or another credential is refused.
func WriteSums(dir string, images []artifact.Ref, s *Signer) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	sums, err := listSums(context.Background(), dir, func(name string, _ artifact.Digest) error {
		return secret.Refuse(root, filepath.FromSlash(name), "the evidence goes to others: take it out of what the config names")
	})
	if err != nil {
		return err
	}
	for _, i := range images {
		sums["../"+i.Path] = i.Digest
	}
	text := formatSums(sums)
	sig, err := s.SignDetached(text)
	if err != nil {
		return err
	}
	return errors.Join(
		artifact.WriteBytes(filepath.Join(dir, Sums), 0o644, text),
		artifact.WriteBytes(filepath.Join(dir, SumsSignature), 0o644, sig))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// listSums hashes every file below dir but the sums themselves, and tells of each; note may
// be nil.
func listSums(ctx context.Context, dir string, note func(name string, d artifact.Digest) error) (_ map[string]artifact.Digest, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	sums, total := map[string]artifact.Digest{}, int64(0)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			if strings.Count(rel, "/") > maxEvidenceDepth {
				return fmt.Errorf("%s: folders are nested too deeply", rel)
			}
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: is not a regular file", rel)
		case rel == Sums || rel == SumsSignature:
			return nil
		case len(sums) > maxEvidenceFiles:
			return fmt.Errorf("more than %d files", maxEvidenceFiles)
		}
		f, size, err := openIn(root, rel)
		if err != nil {
			return err
		}
		if size > maxEvidenceFile {
			return errors.Join(fmt.Errorf("%s: longer than %d bytes", rel, int64(maxEvidenceFile)), f.Close())
		}
		if total += size; total > maxEvidence {
			return errors.Join(fmt.Errorf("%s: with it, the evidence is longer than %d bytes", rel, int64(maxEvidence)), f.Close())
		}
		digest, _, err := artifact.HashReader(regular.Until(ctx, io.LimitReader(f, size)))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if sums[rel] = digest; note != nil {
			return note(rel, digest)
		}
		return nil
	})
	return sums, err
}

// Bundle is an evidence folder and the image beside it, as found.
type Bundle struct {
	out        string // the folder, and in it:
	dir        string // the evidence
	image      string // the ISO
	Config     *config.Config
	Lock       *lockfile.Lock
	configText []byte
	lockText   []byte
	seen       seen
}

// notBuilt is the error of what is no build's output folder.
func notBuilt(dir string) error {
	what := "has no folder " + EvidenceDir
	if st, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		what = "there is no such folder"
	} else if err == nil && !st.IsDir() {
		what = "is not a folder"
	}
	return fault.New(fault.Usage, "name the folder that isotrace build wrote, such as out", "%s: %s", dir, what)
}

// OpenBundle finds the evidence and the image in a build's output folder.
func OpenBundle(dir string) (*Bundle, error) {
	b := &Bundle{out: dir, dir: filepath.Join(dir, EvidenceDir)}
	if st, err := os.Stat(b.dir); err != nil || !st.IsDir() {
		return nil, notBuilt(dir)
	}
	var err error
	if b.configText, err = b.read(config.FileName, config.MaxSize); err != nil {
		return nil, refused(err)
	}
	if b.Config, err = config.Parse(config.FileName, b.configText); err != nil {
		return nil, refused(err)
	}
	if b.lockText, err = b.read(lockfile.FileName, lockfile.MaxSize); err != nil {
		return nil, refused(err)
	}
	if b.Lock, err = lockfile.Decode(lockfile.FileName, b.lockText); err != nil {
		return nil, refused(err)
	}
	b.image = filepath.Join(dir, ImageName(b.Config))
	return b, nil
}

// refused is an error about the evidence: not about how verify was called.
func refused(err error) error {
	return fault.New(fault.Refused, "the evidence is not as isotrace build left it", "%s: %w", EvidenceDir, err)
}

// ImageName is the file name of a project's image.
func ImageName(c *config.Config) string { return c.Name + ".iso" }

// SourcesName is the file name of the ISO of its source packages.
func SourcesName(c *config.Config) string { return c.Name + "-sources.iso" }

// diskFormats are the formats of disks, in the order of their names.
var diskFormats = []string{"qcow2", "raw", "vhd"}

// DiskName is the file name of its disk in a format.
func DiskName(c *config.Config, format string) string { return c.Name + diskSuffix(format) }

// disks are the file names of the disks, in the order of their formats.
func (b *Bundle) disks() []string {
	var names []string
	for _, format := range b.Config.DiskFormats() {
		names = append(names, DiskName(b.Config, format))
	}
	return names
}

// isDisk tells a disk image by its file name.
func isDisk(name string) bool {
	return slices.ContainsFunc(diskFormats, func(format string) bool { return strings.HasSuffix(name, diskSuffix(format)) })
}

func diskSuffix(format string) string {
	if format == "raw" {
		return ".img"
	}
	return "." + format
}

// imageRecords are the images beside the evidence, by name, and what links call them.
func (b *Bundle) imageRecords() map[string]string {
	images := map[string]string{ImageName(b.Config): isoStage + "/" + ImageName(b.Config)}
	if b.Config.Sources {
		images[SourcesName(b.Config)] = sourcesStage + "/" + SourcesName(b.Config)
	}
	for _, format := range b.Config.DiskFormats() {
		name := DiskName(b.Config, format)
		images[name] = diskStage + "/" + name
	}
	return images
}

// ImageName is the image's file name.
func (b *Bundle) ImageName() string { return filepath.Base(b.image) }

// Image is the image's path.
func (b *Bundle) Image() string { return b.image }

// read returns a file of the evidence, through an os.Root: no link leads out.
func (b *Bundle) read(name string, limit int64) (_ []byte, err error) {
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	text, err := readIn(root, name, limit)
	if err != nil {
		return nil, err
	}
	return text, b.note(name, artifact.HashBytes(text))
}

// note holds a file of the evidence to what it was when it was read before.
func (b *Bundle) note(name string, d artifact.Digest) error { return b.seen.note(path.Clean(name), d) }

// readBeside reads a file beside the image, through an os.Root: no link leads out.
func (b *Bundle) readBeside(name string, limit int64) (_ []byte, err error) {
	dir, err := os.OpenRoot(b.out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return readIn(dir, name, limit)
}

// readIn reads a regular file.
func readIn(dir *os.Root, name string, limit int64) (_ []byte, err error) {
	f, size, err := openIn(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return regular.ReadAll(f, name, limit)
}

// openIn opens a regular file.
func openIn(dir *os.Root, name string) (_ *os.File, size int64, err error) {
	f, err := regular.OpenHere(dir, filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: is missing: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// stream lets do read a file of the evidence from its start, through an os.Root.
func (b *Bundle) stream(name string, do func(r io.Reader, size int64) error) (err error) {
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, size, err := openIn(root, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	r := io.TeeReader(io.LimitReader(f, size), sum)
	if err := do(r, size); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return b.note(name, artifact.Digest(hex.EncodeToString(sum.Sum(nil))))
}

// maxSums bounds a file of sums, in bytes.
const maxSums = 64 << 20

func formatSums(sums map[string]artifact.Digest) []byte {
	var text bytes.Buffer
	for _, name := range sortedKeys(sums) {
		fmt.Fprintf(&text, "%s  %s\n", sums[name], name)
	}
	return text.Bytes()
}

// parseSums reads what sha256sum writes.
func parseSums(text []byte) (map[string]artifact.Digest, error) {
	sums := map[string]artifact.Digest{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		digest, name, ok := strings.Cut(lines.Text(), "  ")
		d := artifact.Digest(digest)
		if err := d.Validate(); !ok || err != nil || name == "" {
			return nil, fmt.Errorf("%s: cannot read %q", Sums, lines.Text())
		}
		if _, twice := sums[name]; twice {
			return nil, fmt.Errorf("%s: names %s twice", Sums, name)
		}
		sums[name] = d
	}
	return sums, lines.Err()
}
