package stage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
)

// The folders of a stage's scratch. What a program in a sandbox can write to is anybody's
// from then on, links included: the host never goes into tmpDir, and into outDir and
// the trees through an os.Root alone. Everything else no program can write to.
const (
	tempDir  = "temp"  // the stage's own; no program sees it
	givenDir = "given" // programs read it
	outDir   = "out"   // programs of the toolbox write to it
	tmpDir   = "tmp"   // their /tmp: all programs write to it
	inDir    = "in"    // mount points
	setsDir  = "sets"  // stored content by its paths; programs read it
	treesDir = "trees" // root trees in the making; their programs write to them
)

var folders = []string{tempDir, givenDir, outDir, tmpDir, inDir, setsDir, treesDir}

// Temp returns a scratch folder on the store's file system that no program sees. It is
// removed afterwards.
func (w *Work) Temp() string { return filepath.Join(w.dir, tempDir) }

// Given returns the folder of what the stage gives to its programs. They see it below
// /in/given, those of a tree below /run/isotrace/in/given, and cannot write to it.
func (w *Work) Given() string {
	w.given = true
	return filepath.Join(w.dir, givenDir)
}

// Give writes a file into that folder.
func (w *Work) Give(name string, mode fs.FileMode, fill func(io.Writer) error) error {
	return artifact.WriteFile(filepath.Join(w.Given(), name), mode, fill)
}

// Out returns the folder in which the stage must leave its declared file outputs, by
// name; programs of the toolbox see it as /out. What they left there is to be opened
// with the functions of package regular.
func (w *Work) Out() *os.Root { return w.out }

// Write makes a declared file output; nothing of that name may be there.
func (w *Work) Write(output string, fill func(io.Writer) error) (err error) {
	w.output(output, KindFile)
	f, err := regular.Create(w.out, output, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, 1<<16)
	if err := fill(buffered); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return buffered.Flush()
}

// WriteBytes is Write for content at hand.
func (w *Work) WriteBytes(output string, b []byte) error {
	return w.Write(output, func(out io.Writer) error {
		_, err := out.Write(b)
		return err
	})
}

// Adopt moves a file that a program left in /out into the store.
func (w *Work) Adopt(name string) (artifact.Ref, error) {
	return w.run.Store.Adopt(filepath.Join(w.dir, outDir, name), "")
}
