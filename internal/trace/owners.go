package trace

import (
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/roottree"
)

// Owners are the accounts and groups of a root tree, by name. dpkg looks the owners of a
// .deb's members up there by their names, and takes the numbers of those that it does not
// find.
type Owners struct{ Users, Groups map[string]uint32 }

// firstDynamic is the first id that the accounts of packages' scripts have: those below it
// are there from the beginning (Debian Policy 9.2.2).
const firstDynamic = 100

// ParseOwners reads the texts of passwd(5) and group(5). Of a name that stands there twice
// the first counts; lines that are no account are passed over, as by the C library.
func ParseOwners(passwd, group []byte) Owners { return Owners{ids(passwd), ids(group)} }

func ids(text []byte) map[string]uint32 {
	list := map[string]uint32{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 3 || f[0] == "" {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			if _, twice := list[f[0]]; !twice {
				list[f[0]] = uint32(id)
			}
		}
	}
	return list
}

// owned is a .deb's entry with the owners that dpkg gives it; in is what the tree has in
// its place, or nil.
func (o Owners) owned(e, in *roottree.Entry) *roottree.Entry {
	if e.Uname == "" && e.Gname == "" {
		return e
	}
	real := *e
	real.Uname, real.Gname = "", ""
	if in == nil {
		in = &roottree.Entry{}
	}
	real.UID, real.GID = id(o.Users, e.Uname, e.UID, in.UID), id(o.Groups, e.Gname, e.GID, in.GID)
	return &real
}

// id is the number of a name. An account of a package's script may have come only after
// dpkg had unpacked the file, with the number.
func id(names map[string]uint32, name string, number, have uint32) uint32 {
	n, ok := names[name]
	if !ok || n >= firstDynamic && have == number {
		return number
	}
	return n
}
