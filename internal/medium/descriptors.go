package medium

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strings"

	"github.com/isotrace/isotrace/internal/epoch"
)

// Types of volume descriptors, ECMA-119 8.1.1.
const (
	typeBoot       = 0
	typePrimary    = 1
	typeJoliet     = 2
	typeTerminator = 255
)

// preparer is the data preparer that every image of isotrace names; in upper case where
// there is no other.
const preparer = "isotrace"

var notVolume = regexp.MustCompile(`[^A-Z0-9_]+`)

// VolumeID makes a volume identifier of at most 32 characters, ECMA-119 7.5.
func VolumeID(name, release string) string {
	v := strings.Trim(notVolume.ReplaceAllString(strings.ToUpper(name+"_"+release), "_"), "_")
	return v[:min(len(v), 32)]
}

func descriptorOf(kind byte) []byte {
	b := make([]byte, sector)
	copy(b, "\x00CD001\x01")
	b[0] = kind
	return b
}

// bootRecord points to the boot catalogue, El Torito 2.0.
func bootRecord(catalogue int64) []byte {
	b := descriptorOf(typeBoot)
	copy(b[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], uint32(catalogue))
	return b
}

// described is what a primary or Joliet descriptor says.
type described struct {
	volume      string
	epoch       epoch.Epoch
	sectors     int64 // of the volume
	root        *node
	paths       int64 // bytes of a path table
	little, big int64 // sectors of the path tables
	joliet      bool
}

// encode writes the descriptor as libisofs does, ECMA-119 8.4 and 8.5.
func (d described) encode() []byte {
	b := descriptorOf(typePrimary)
	text := func(from, size int, s string) {
		copy(b[from:from+size], strings.ToUpper(s)+strings.Repeat(" ", size))
	}
	if d.joliet {
		b[0] = typeJoliet
		copy(b[88:], "%/E") // UCS-2 level 3
		text = func(from, size int, s string) {
			copy(b[from:from+size], toUCS2(s+strings.Repeat(" ", size/2)))
			b[from+size-1] &= -byte(1 - size%2) // no half a character
		}
	}
	both := func(at int, n int64) {
		binary.LittleEndian.PutUint32(b[at:], uint32(n))
		binary.BigEndian.PutUint32(b[at+4:], uint32(n))
	}
	text(8, 32, "")
	text(40, 32, d.volume)
	both(80, d.sectors)
	copy(b[120:], "\x01\x00\x00\x01\x01\x00\x00\x01\x00\x08\x08\x00")
	both(132, d.paths)
	binary.LittleEndian.PutUint32(b[140:], uint32(d.little))
	binary.BigEndian.PutUint32(b[148:], uint32(d.big))
	copy(b[rootAt:], []byte{rootSize, 0})
	both(rootAt+2, d.root.at)
	both(rootAt+10, d.root.size)
	date := recordDate(d.epoch)
	copy(b[rootAt+18:], date[:])
	copy(b[rootAt+25:], []byte{flagFolder, 0, 0, 1, 0, 0, 1, 1, 0})
	text(190, 128, "")
	text(318, 128, "")
	text(446, 128, preparer)
	text(574, 128, "")
	for _, at := range []int{702, 739, 776} {
		text(at, 37, "")
	}
	stamp := volumeDate(d.epoch)
	copy(b[813:], stamp+"\x00"+stamp+"\x00")
	const never = "0000000000000000\x00"
	copy(b[847:], never+never)
	b[881] = 1
	if !d.joliet {
		text(883, 512, "") // application use
	}
	return b
}

// recordDate is a time as a directory record has it, ECMA-119 9.1.5.
func recordDate(e epoch.Epoch) [7]byte {
	t := e.Time()
	return [7]byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// volumeDate is a time as a volume descriptor has it, ECMA-119 8.4.26.1, in UTC.
func volumeDate(e epoch.Epoch) string { return e.Time().Format("20060102150405") + "00" }

// pathTable lists the folders of a volume, ECMA-119 9.4: level by level, each level in
// the order of the parents and then of the records.
func pathTable(root *node, order binary.AppendByteOrder) []byte {
	var b bytes.Buffer
	number := map[*node]int{root: 1}
	for level := []*node{root}; len(level) > 0; {
		var below []*node
		for _, dir := range level {
			if dir != root {
				number[dir] = len(number) + 1
			}
			id := dir.id
			if dir == root {
				id = "\x00"
			}
			b.Write([]byte{byte(len(id)), 0})
			b.Write(order.AppendUint32(nil, uint32(dir.at)))
			b.Write(order.AppendUint16(nil, uint16(number[dir.parent])))
			b.WriteString(id)
			b.Write(make([]byte, len(id)%2))
			for _, child := range dir.children {
				if child.folder {
					below = append(below, child)
				}
			}
		}
		level = below
	}
	return b.Bytes()
}
