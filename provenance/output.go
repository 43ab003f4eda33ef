package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/regular"
)

// JournalDir is the folder of an output folder with what a build leaves for people; it
// has JournalTimes from the beginning, and logs.
const (
	JournalDir   = "journal"
	JournalTimes = "times.json"
)

// beside are the folders that other commands make in an output folder: boot, report and
// write. No build touches them.
var beside = []string{"boot", "report", "loads"}

// Output is what is known of a folder that a build is to write to.
type Output struct {
	// Foreign are the paths of what no command of isotrace made there, in order. A folder
	// with any is nobody's to replace.
	Foreign []string
	// Made are the entries of the folder that a build and a release made.
	Made []string
	// Released tells that a release is among them.
	Released bool
}

// InspectOutput says what a folder holds, by what is in it: there is no mark that somebody's
// own files could come under.
func InspectOutput(dir string) (o Output, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	entries, err := regular.ReadDir(root, ".")
	if err != nil {
		return o, err
	}
	images, foreign, err := inspectEvidence(root)
	if err != nil {
		return o, err
	}
	o.Foreign = foreign
	built := images != nil
	released := releasedFiles(root)
	for _, e := range entries {
		name, file := e.Name(), e.Type().IsRegular()
		switch {
		case name == EvidenceDir && built, built && file && images[name]:
			o.Made = append(o.Made, name)
		case built && file && (released[name] || signs(name, images)):
			o.Made, o.Released = append(o.Made, name), true
		case name == ReleaseDir && built && e.IsDir():
			o.Made, o.Released = append(o.Made, name), true
			more, err := unlisted(root, name, released)
			if err != nil {
				return o, err
			}
			o.Foreign = append(o.Foreign, more...)
		case name == JournalDir && e.IsDir():
			more, err := inspectJournal(root)
			if err != nil {
				return o, err
			}
			o.Foreign = append(o.Foreign, more...)
		case built && e.IsDir() && slices.Contains(beside, name), e.IsDir() && strings.HasPrefix(name, DraftPrefix):
		default:
			o.Foreign = append(o.Foreign, name)
		}
	}
	slices.Sort(o.Foreign)
	return o, nil
}

// inspectEvidence returns the images that the evidence's sums name, and the files that
// they do not name; no images where there is no evidence.
func inspectEvidence(root *os.Root) (images map[string]bool, foreign []string, err error) {
	text, err := regular.Read(root, path.Join(EvidenceDir, Sums), maxSums)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	sums, err := parseSums(text)
	if err != nil {
		return nil, nil, nil // somebody else's: it counts as foreign as a whole
	}
	known := map[string]bool{path.Join(EvidenceDir, Sums): true, path.Join(EvidenceDir, SumsSignature): true}
	images = map[string]bool{}
	for name := range sums {
		if image, ok := strings.CutPrefix(name, "../"); ok && !strings.Contains(image, "/") {
			images[image] = true
		} else {
			known[path.Join(EvidenceDir, name)] = true
		}
	}
	if len(images) == 0 {
		return nil, nil, nil
	}
	// The links of those who built it again are in no sums.
	links, err := regular.ReadDir(root, path.Join(EvidenceDir, LinksDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range links {
		if strings.HasSuffix(e.Name(), ".link") {
			known[path.Join(EvidenceDir, LinksDir, e.Name())] = true
		}
	}
	foreign, err = unlisted(root, EvidenceDir, known)
	return images, foreign, err
}

// releasedFiles are those that a release's sums name, with what release writes beside them;
// none where there are no such sums.
func releasedFiles(root *os.Root) map[string]bool {
	text, err := regular.Read(root, ReleaseSums, maxSums)
	if err != nil {
		return nil
	}
	sums, err := parseSums(text)
	if err != nil || sums[path.Join(EvidenceDir, Sums)] == "" {
		return nil // somebody else's
	}
	files := map[string]bool{ReleaseSums: true}
	for name := range sums {
		files[name] = true
	}
	for _, suffix := range signatureSuffixes {
		files[ReleaseSums+suffix] = true
	}
	return files
}

var signatureSuffixes = []string{BundleSuffix, SigSuffix, RawSuffix}

// signs tells a signature of one of the images.
func signs(name string, images map[string]bool) bool {
	return slices.ContainsFunc(signatureSuffixes, func(suffix string) bool {
		of, ok := strings.CutSuffix(name, suffix)
		return ok && images[of]
	})
}

// inspectJournal returns what in a journal no build wrote.
func inspectJournal(root *os.Root) (foreign []string, err error) {
	entries, err := regular.ReadDir(root, JournalDir)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	var times struct{ Host, Stages map[string]any }
	text, err := regular.Read(root, path.Join(JournalDir, JournalTimes), 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || json.Unmarshal(text, &times) != nil || times.Host == nil || times.Stages == nil {
		return []string{JournalDir}, nil
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() != JournalTimes && !strings.HasSuffix(e.Name(), ".log") {
			foreign = append(foreign, path.Join(JournalDir, e.Name()))
		}
	}
	return foreign, nil
}

// unlisted returns the files below dir that are not known, and what is neither a file nor a
// folder.
func unlisted(root *os.Root, dir string, known map[string]bool) (foreign []string, err error) {
	entries, err := regular.ReadDir(root, dir)
	if err != nil {
		return nil, err
	}
	if strings.Count(dir, "/") > maxEvidenceDepth {
		return nil, fmt.Errorf("%s: folders are nested too deeply", dir)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			more, err := unlisted(root, name, known)
			if err != nil {
				return nil, err
			}
			foreign = append(foreign, more...)
		} else if !e.Type().IsRegular() || !known[name] {
			foreign = append(foreign, name)
		}
	}
	return foreign, nil
}
