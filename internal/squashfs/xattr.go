package squashfs

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/roottree"
)

// xattrTable has the sets of extended attributes that inodes name by number.
type xattrTable struct {
	pairs *stream // names and values
	ids   []byte  // where each set begins, and how many attributes it has
	sets  [][]roottree.Xattr
	used  ranges // of pairs
	taken int64  // bytes of pairs in all sets
}

// prefixes of names, by the number in their type.
var prefixes = []string{"user.", "trusted.", "security."}

const (
	elsewhere   = 1 << 8 // flag in the type: the value stands at another place
	maxXattrs   = 1 << 16
	maxXattrSet = 1 << 20 // bytes of a value
)

// readXattrs reads the table, which has to begin at a place; it returns where it ends.
func (f *FS) readXattrs(d *decompressor, from int64) (*xattrTable, int64, error) {
	at := f.super.XattrTable
	if at == invalid {
		return &xattrTable{}, from, nil
	}
	const head = 16
	if at > f.super.Used-head {
		return nil, 0, malformed("lies outside")
	}
	b := make([]byte, head)
	if _, err := f.image.ReadAt(b, int64(at)); err != nil {
		return nil, 0, err
	}
	start, count := binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint32(b[8:]))
	if start != uint64(from) || count == 0 || binary.LittleEndian.Uint32(b[12:]) != 0 {
		return nil, 0, malformed("its head is not as it should be")
	}
	n := blocksOf(count, head)
	if uint64(8*n) > f.super.Used-at-head {
		return nil, 0, malformed("lies outside")
	}
	index := make([]byte, 8*n)
	if _, err := f.image.ReadAt(index, int64(at)+head); err != nil {
		return nil, 0, err
	}
	first := binary.LittleEndian.Uint64(index)
	if first < start || first >= at {
		return nil, 0, malformed("its index is wrong")
	}
	t := &xattrTable{sets: make([][]roottree.Xattr, count)}
	ids, err := f.read(d, int64(first), int64(at))
	if err != nil {
		return nil, 0, err
	}
	for i, s := range ids.starts {
		if int64(i) >= n || binary.LittleEndian.Uint64(index[8*i:]) != first+uint64(s) {
			return nil, 0, malformed("its index is wrong")
		}
	}
	if t.ids = ids.bytes; int64(len(t.ids)) != head*count {
		return nil, 0, malformed("has %d bytes of sets, want %d", len(t.ids), head*count)
	}
	t.pairs, err = f.read(d, int64(start), int64(first))
	return t, int64(at) + head + 8*n, err
}

// of returns the attributes of a set, sorted by name.
func (t *xattrTable) of(set uint32) ([]roottree.Xattr, error) {
	if set == noXattr {
		return nil, nil
	}
	if int64(set) >= int64(len(t.sets)) {
		return nil, malformed("an inode has extended attributes that are not in the table")
	}
	if t.sets[set] != nil {
		return t.sets[set], nil
	}
	id := t.ids[16*set:]
	ref, count := binary.LittleEndian.Uint64(id), binary.LittleEndian.Uint32(id[8:])
	at, ok := t.pairs.place(int64(ref>>16), int64(ref&0xffff))
	if !ok || count == 0 || count > maxXattrs {
		return nil, malformed("a set of extended attributes lies outside the table")
	}
	r := fields{b: t.pairs.bytes[at:]}
	all := make([]roottree.Xattr, 0, min(count, 64))
	for range count {
		kind, size := r.u16(), r.u16()
		name := string(r.take(int64(size)))
		value := r.take(int64(r.u32()))
		if r.bad || int(kind&^elsewhere) >= len(prefixes) || name == "" || strings.Contains(name, "\x00") {
			return nil, malformed("an extended attribute is cut off, or of no kind that is known")
		}
		if kind&elsewhere != 0 {
			var err error
			if value, err = t.valueAt(value); err != nil {
				return nil, err
			}
		}
		if len(value) > maxXattrSet {
			return nil, malformed("an extended attribute of %d bytes", len(value))
		}
		all = append(all, roottree.Xattr{Name: prefixes[kind&^elsewhere] + name, Value: value})
	}
	end := int64(len(t.pairs.bytes) - len(r.b))
	if t.taken += end - at; t.taken > int64(len(t.pairs.bytes)) {
		return nil, malformed("two sets of extended attributes lie in one place")
	}
	t.used.add(at, end-at)
	var size int64
	for _, x := range all {
		size += int64(len(x.Name)+1) + int64(len(x.Value))
	}
	if size != int64(binary.LittleEndian.Uint32(id[12:])) {
		return nil, malformed("a set of extended attributes has %d bytes, its entry says otherwise", size)
	}
	slices.SortFunc(all, func(a, b roottree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := range all[1:] {
		if all[i].Name == all[i+1].Name {
			return nil, malformed("the extended attribute %s is there twice", all[i].Name)
		}
	}
	t.sets[set] = all
	return all, nil
}

// valueAt reads a value that several attributes share.
func (t *xattrTable) valueAt(ref []byte) ([]byte, error) {
	if len(ref) != 8 {
		return nil, malformed("an extended attribute's value is nowhere")
	}
	n := binary.LittleEndian.Uint64(ref)
	at, ok := t.pairs.place(int64(n>>16), int64(n&0xffff))
	if !ok {
		return nil, malformed("an extended attribute's value lies outside the table")
	}
	r := fields{b: t.pairs.bytes[at:]}
	value := r.take(int64(r.u32()))
	if r.bad {
		return nil, malformed("an extended attribute's value is cut off")
	}
	t.used.add(at, int64(len(value))+4)
	return value, nil
}

// covered refuses attributes that no inode has.
func (t *xattrTable) covered() error {
	for i, s := range t.sets {
		if s == nil {
			return malformed("set %d of extended attributes is no inode's", i)
		}
	}
	if t.pairs == nil {
		return nil
	}
	if err := t.used.cover(0, int64(len(t.pairs.bytes))); err != nil {
		return malformed("extended attributes: %w", err)
	}
	return nil
}
