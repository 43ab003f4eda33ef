package scan

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
)

// program is a file that holds machine code.
type program struct{ path, mime string }

// programs are sorted by path.
type programs []program

func (p programs) paths() map[string]bool {
	all := make(map[string]bool, len(p))
	for _, q := range p {
		all[q.path] = true
	}
	return all
}

// magics begin files of machine code: ELF, PE and Mach-O.
var magics = [][]byte{[]byte("\x7fELF"), []byte("MZ"), {0xfe, 0xed, 0xfa, 0xce}, {0xfe, 0xed, 0xfa, 0xcf}, {0xce, 0xfa, 0xed, 0xfe}, {0xcf, 0xfa, 0xed, 0xfe}, {0xca, 0xfe, 0xba, 0xbe}}

// codeTypes are the types of them, of mimetype's.
var codeTypes = []string{"application/x-elf", "application/x-object", "application/x-executable", "application/x-sharedlib", "application/x-coredump",
	"application/vnd.microsoft.portable-executable", "application/x-mach-binary"}

// findPrograms reads the head of every regular file.
func findPrograms(ctx context.Context, root *os.Root, m *roottree.Manifest) (programs, error) {
	var files []string
	for i := range m.Entries {
		if e := &m.Entries[i]; e.Type == roottree.File && e.Size > 0 {
			files = append(files, e.Path)
		}
	}
	const batch = 256
	chunks := slices.Collect(slices.Chunk(files, batch))
	found := make([]programs, len(chunks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, chunk := range chunks {
		group.Go(func() error {
			head := make([]byte, 512)
			for _, name := range chunk {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				mime, err := codeType(root, name, head)
				if err != nil {
					return err
				}
				if mime != "" {
					found[i] = append(found[i], program{name, mime})
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

func codeType(root *os.Root, name string, head []byte) (_ string, err error) {
	f, err := regular.Open(root, name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return CodeType(head[:n]), nil
}

// CodeType is the MIME type of a file of machine code by its first bytes, some
// hundreds; of any other it is "".
func CodeType(head []byte) string {
	if !slices.ContainsFunc(magics, func(m []byte) bool { return bytes.HasPrefix(head, m) }) {
		return ""
	}
	mime, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	if !slices.Contains(codeTypes, mime) {
		return ""
	}
	return mime
}
