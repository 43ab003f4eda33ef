package medium

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
)

// Hybrid is what an image of isotrace is, besides its files.
type Hybrid struct {
	Volume string // identifier
	Epoch  epoch.Epoch
	// BootCode is GRUB's for the MBR, before xorriso wrote into it.
	BootCode artifact.Digest
	// BIOS and Catalogue are the paths of the El Torito image for BIOS and of the boot catalogue.
	BIOS, Catalogue string
}

// The volume descriptors, in sectors from the start of the image and of its first
// partition, which has the same files as a volume of its own.
var inImage, inPartition = []byte{typePrimary, typeBoot, typeJoliet, typeTerminator}, []byte{typePrimary, typeJoliet, typeTerminator}

// Account takes every byte of an image into account: boot code, partition tables, boot
// catalogue, volume descriptors, path tables and folders have to be those that xorriso
// writes for these files, the EFI system partition the one that mkfs.fat and mtools write
// for its files, and where nothing is there have to be zeros. The content of the files,
// of the partition's, too, is for the caller to compare.
func (i *ISO) Account(h Hybrid) error {
	esp, err := i.espExtent()
	if err != nil {
		return err
	}
	all := slices.Clone(i.claims)
	i.claimFiles(&all)
	all.add(esp.Offset, esp.Size, "the EFI system partition")
	a := accountant{ISO: i, Hybrid: h, esp: esp, claims: &all}
	a.countLinks()
	for _, check := range []func() error{a.system, a.boot, a.descriptors, a.systemPartition} {
		if err := check(); err != nil {
			return err
		}
	}
	return all.settle(i.image, i.size)
}

// claimFiles claims the places of files: equal ones are one, with several names.
func (i *ISO) claimFiles(all *claims) {
	counted := map[Extent]bool{}
	for _, e := range i.Files {
		if !counted[e] {
			all.add(e.Offset, e.Size, "a file")
		}
		counted[e] = true
	}
}

// espExtent is where the EFI system partition lies, by the GUID partition table.
func (i *ISO) espExtent() (e Extent, err error) {
	table := make([]byte, entryCount*entrySize)
	if _, err := i.image.ReadAt(table, 2*block); err != nil {
		return e, fmt.Errorf("read the partition table: %w", err)
	}
	for at := 0; at < len(table); at += entrySize {
		if !bytes.Equal(table[at:at+16], efiSystem[:]) {
			continue
		}
		if e.Size != 0 {
			return e, errors.New("there are two EFI system partitions")
		}
		first, last := binary.LittleEndian.Uint64(table[at+32:]), binary.LittleEndian.Uint64(table[at+40:])
		if blocks := uint64(i.size / block); first == 0 || last < first || last >= blocks {
			return e, errors.New("the EFI system partition lies outside the image")
		}
		e = Extent{int64(first) * block, int64(last-first+1) * block}
	}
	if e.Size == 0 {
		return e, errors.New("there is no EFI system partition")
	}
	return e, nil
}

// accountant goes through an image.
type accountant struct {
	*ISO
	Hybrid
	esp    Extent
	claims *claims
	links  map[place]uint32
}

// same wants these bytes at a place in the image, and claims them.
func (a *accountant) same(want []byte, at int64, what string) error {
	if at < 0 || at+int64(len(want)) > a.size {
		return fmt.Errorf("%s: lies outside the image", what)
	}
	have := make([]byte, len(want))
	if _, err := a.image.ReadAt(have, at); err != nil {
		return err
	}
	a.claims.add(at, int64(len(want)), what)
	for n := range want {
		if have[n] != want[n] {
			return fmt.Errorf("%s: byte %d is %#02x, want %#02x", what, at+int64(n), have[n], want[n])
		}
	}
	return nil
}

// system compares boot code and partition tables.
func (a *accountant) system() error {
	if a.size%sector != 0 || a.esp.Offset%sector != 0 || a.esp.Size%sector != 0 || a.size < systemArea+backupBlocks*block {
		return errors.New("its size, or the place of the EFI system partition, is no whole number of sectors")
	}
	mbr := make([]byte, block)
	if _, err := a.image.ReadAt(mbr, 0); err != nil {
		return err
	}
	bios := a.Files[a.BIOS]
	if have, want := binary.LittleEndian.Uint64(mbr[codeAddress:]), uint64(bios.Offset/block+codeBlock); have != want {
		return fmt.Errorf("boot code: it starts what lies at block %d, want %d, where %s has its second", have, want, a.BIOS)
	}
	code := slices.Clone(mbr[:bootCode])
	original := append(slices.Clone(code), make([]byte, block-bootCode)...)
	binary.LittleEndian.PutUint64(original[codeAddress:], codeUnpatched)
	copy(original[510:], "\x55\xaa")
	if have := artifact.HashBytes(original); have != a.BootCode {
		return fmt.Errorf("boot code: its SHA-256 is %s, want %s", have, a.BootCode)
	}
	blocks := a.size / block
	err := a.same(firstSectors(code, blocks, a.esp, a.Epoch), 0, "system area with the partition table")
	if err != nil {
		return err
	}
	return a.same(lastSectors(blocks, a.esp, a.Epoch), (blocks-backupBlocks)*block, "backup of the partition table")
}

// boot compares the boot catalogue.
func (a *accountant) boot() error {
	for _, name := range []string{a.BIOS, a.Catalogue} {
		if _, ok := a.Files[name]; !ok {
			return fmt.Errorf("%s: is missing", name)
		}
	}
	at := a.Files[a.Catalogue]
	have := make([]byte, sector)
	if _, err := a.image.ReadAt(have, at.Offset); err != nil {
		return err
	}
	if want := bootCatalogue(a.Files[a.BIOS].Offset/sector, a.esp); at.Size != sector || !bytes.Equal(have, want) {
		return fmt.Errorf("%s: the boot catalogue does not name %s for BIOS and the EFI system partition for UEFI, and nothing else", a.Catalogue, a.BIOS)
	}
	return nil
}

// systemPartition accounts for the EFI system partition, from its own files.
func (a *accountant) systemPartition() error {
	files, err := a.SystemFiles()
	if err == nil {
		err = AccountFAT16(io.NewSectionReader(a.image, a.esp.Offset, a.esp.Size), a.esp.Size, files, a.Epoch)
	}
	if err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	return nil
}

// descriptors compares the volume descriptors, and all volumes with the first.
func (a *accountant) descriptors() error {
	for _, set := range []struct {
		base, sectors int64
		kinds         []byte
		where         string
	}{{0, a.size / sector, inImage, "image"}, {partitionBase, a.esp.Offset/sector - partitionBase, inPartition, "first partition"}} {
		for n, kind := range set.kinds {
			at := set.base + firstDescriptor + int64(n)
			what := fmt.Sprintf("volume descriptor %d of the %s", n, set.where)
			var err error
			switch kind {
			case typeBoot:
				err = a.same(bootRecord(a.Files[a.Catalogue].Offset/sector), at*sector, what)
			case typeTerminator:
				err = a.same(descriptorOf(typeTerminator), at*sector, what)
			default:
				sectors := set.sectors
				if kind == typeJoliet { // libisofs writes here the end of the volume's own data
					sectors = a.esp.Offset/sector - set.base
				}
				err = a.tree(at, set.base, sectors, kind, what)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// tree compares a descriptor, its path tables and its folders.
func (a *accountant) tree(at, base, sectors int64, kind byte, what string) error {
	have, err := descriptor(a.image, at)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if have[0] != kind {
		return fmt.Errorf("%s: is of type %d, want %d", what, have[0], kind)
	}
	v := a.volume
	if base != 0 || kind != typePrimary {
		if v, err = readVolume(a.image, a.size, have, base, a.claims); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	little, big := pathTable(v.root, binary.LittleEndian), pathTable(v.root, binary.BigEndian)
	d := described{volume: a.Volume, epoch: a.Epoch, sectors: sectors, root: v.root, paths: int64(len(little)), joliet: v.joliet,
		little: int64(binary.LittleEndian.Uint32(have[140:])), big: int64(binary.BigEndian.Uint32(have[148:]))}
	for _, part := range []struct {
		want []byte
		at   int64
		what string
	}{
		{d.encode(), at * sector, what},
		{little, (base + d.little) * sector, "path table L of " + what},
		{big, (base + d.big) * sector, "path table M of " + what},
	} {
		if err := a.same(part.want, part.at, part.what); err != nil {
			return err
		}
	}
	if err := cmp.Or(v.mixed, a.names(v, v.root, "")); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if root := v.root.attr; !v.joliet && root != readOnlyFolder {
		return fmt.Errorf("%s: its root folder has mode %o and %d links, and belongs to %d:%d", what, root.mode, root.links, root.uid, root.gid)
	}
	return a.compare(v, what)
}

// compare wants a volume to have the files of the first, and no others.
func (a *accountant) compare(v *volume, what string) (err error) {
	first := map[string]*node{}
	a.volume.walk(func(path string, n *node) {
		if v.joliet {
			path = jolietPath(path)
		}
		first[path] = n
	})
	seen := 0
	v.walk(func(path string, n *node) {
		seen++
		if m := first[path]; err == nil {
			err = a.sameNode(v, path, n, m)
		}
	})
	if err == nil && seen != len(first) {
		err = fmt.Errorf("has %d files and folders, the image %d", seen, len(first))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// jolietPath cuts names off where Joliet does, as xorriso's -joliet-long has it.
func jolietPath(path string) string {
	const longest = 103
	names := strings.Split(path, "/")
	for i, n := range names {
		if r := []rune(n); len(r) > longest {
			names[i] = string(r[:longest])
		}
	}
	return strings.Join(names, "/")
}

// place is a file's first sector and its bytes.
type place struct{ at, size int64 }

// countLinks counts the names of each place. Files of the same content are one file in the
// folder that xorriso is given, of which it writes the names' number down. Empty files lie
// at one place whether they are one file or not: all of them have one name, or all names.
func (a *accountant) countLinks() {
	a.links = map[place]uint32{}
	empty := map[place]bool{} // each of its files has one name
	a.volume.walk(func(_ string, n *node) {
		if n.folder {
			return
		}
		at := place{n.at, n.size}
		a.links[at]++
		if single, seen := empty[at]; n.size == 0 {
			empty[at] = (single || !seen) && n.attr.links == 1
		}
	})
	for at, single := range empty {
		if single {
			a.links[at] = 1
		}
	}
}

// sameNode compares what a volume has at a path with what the first one has.
func (a *accountant) sameNode(v *volume, path string, n, first *node) error {
	want := readOnlyFile
	if n.folder {
		want = readOnlyFolder
	} else if first != nil {
		want.links = a.links[place{first.at, first.size}]
	}
	switch {
	case first == nil || first.folder != n.folder:
		return fmt.Errorf("has %s, which the image does not", path)
	case !n.folder && (n.size != first.size || n.at+v.base != first.at):
		return fmt.Errorf("%s is not where the image has it", path)
	case !v.joliet && n.attr != want:
		return fmt.Errorf("%s has mode %o and %d links, and belongs to %d:%d", path, n.attr.mode, n.attr.links, n.attr.uid, n.attr.gid)
	case n.size == 0: // xorriso lets it point to a sector of zeros
		return zero(a.image, (n.at+v.base)*sector, sector)
	}
	return nil
}

// What xorriso's -rational-rock gives files and folders of a stage.
var (
	readOnlyFolder = attributes{modeFolder | 0o555, 1, 0, 0}
	readOnlyFile   = attributes{modeFile | 0o444, 1, 0, 0}
)

// walk visits all files and folders but the root.
func (v *volume) walk(visit func(path string, n *node)) {
	var down func(*node, string)
	down = func(dir *node, at string) {
		for _, n := range dir.children {
			path := join(at, n.name)
			visit(path, n)
			down(n, path)
		}
	}
	down(v.root, "")
}

// names wants each identifier to be what a name comes to. Where that is too long, or two
// names come to the same, xorriso makes another.
func (a *accountant) names(v *volume, dir *node, path string) error {
	shared := map[string]int{}
	for _, n := range dir.children {
		shared[plainID(v, n)]++
	}
	for _, n := range dir.children {
		plain := plainID(v, n)
		if n.id != plain && shared[plain] == 1 && len(identifier(plain)) <= longestID(v) {
			return fmt.Errorf("%s: has the identifier %q, want %q", join(path, n.name), n.id, plain)
		}
		if err := a.names(v, n, join(path, n.name)); err != nil {
			return err
		}
	}
	return nil
}

// longestID is how long an identifier can be without being shortened, in bytes.
func longestID(v *volume) int {
	if v.joliet {
		return 2 * 64
	}
	return 30
}

// plainID is the identifier of a name that is not shortened: ECMA-119 7.5 or Joliet.
func plainID(v *volume, n *node) string {
	if v.joliet {
		return string(toUCS2(n.name))
	}
	stem, ending, dot := n.name, "", strings.LastIndexByte(n.name, '.')
	if dot >= 0 && dot < len(n.name)-1 {
		stem, ending = n.name[:dot], n.name[dot+1:]
	}
	id := plain(stem)
	if ending != "" || !n.folder {
		id += "." + plain(ending)
	}
	if !n.folder {
		id += ";1"
	}
	return id
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(s))
}
