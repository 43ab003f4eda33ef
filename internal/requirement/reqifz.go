package requirement

import (
	"archive/zip"
	"bytes"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
)

const maxMembers = 10_000

// readReqIFZ reads all ReqIF files of a zip archive as one list. What else is in
// it, such as pictures, is not looked at.
func (l *List) readReqIFZ(name string, b []byte) error {
	// archive/zip makes room for every record of the directory. Each begins with
	// this signature.
	if bytes.Count(b, []byte("PK\x01\x02")) > maxMembers {
		return fault.New(fault.Usage, "", "%s: more than %d files in the archive", name, maxMembers)
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return broken(name, err)
	}
	members := slices.DeleteFunc(z.File, func(f *zip.File) bool {
		base := path.Base(f.Name)
		// ._NAME is where macOS keeps what it knows of NAME.
		return strings.ToLower(path.Ext(f.Name)) != ".reqif" || strings.HasPrefix(base, "._")
	})
	slices.SortStableFunc(members, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	left := int64(MaxSize)
	for _, f := range members {
		if !validIdentifier(strings.ReplaceAll(f.Name, " ", "_")) {
			return fault.New(fault.Usage, "", "%s: %s is no name for a file", name, quote(f.Name))
		}
		inner := name + "/" + f.Name
		text, err := readMember(f, left)
		if err != nil {
			return broken(inner, err)
		}
		if left -= int64(len(text)); left < 0 {
			return fault.New(fault.Usage, "", "%s: holds more than %d bytes of ReqIF", name, MaxSize)
		}
		if err := l.readReqIF(inner, text); err != nil {
			return err
		}
	}
	return nil
}

func broken(name string, err error) error {
	return fault.New(fault.Usage, "a .reqifz is a zip archive without a password", "%s: %w", name, err)
}

// readMember reads up to one byte more than limit.
func readMember(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close() // reads from memory
	return io.ReadAll(io.LimitReader(r, limit+1))
}
