package medium

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// attributes are those of Rock Ridge's PX.
type attributes struct{ mode, links, uid, gid uint32 }

// Types of files in a POSIX mode.
const (
	modeType   = 0o170000
	modeFolder = 0o040000
	modeFile   = 0o100000
)

// What entries of the System Use Sharing Protocol the records of libisofs have. ER may
// stand in a continuation, and so may the rest of a long name.
const (
	rootRecord  = "SP PX TF ER"
	ownRecord   = "PX TF"
	childRecord = "PX TF NM"
)

// extensionReference is the ER of Rock Ridge 1.10.
const extensionReference = "\x0a\x54\x87\x01RRIP_1991A" +
	"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS" +
	"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."

// rockRidge reads the system use field of a record, which has to have the entries of
// its kind and no others, by SUSP 1.10 and RRIP 1.10; where is the folder of the record.
func (v *volume) rockRidge(area []byte, kind, where string) (a attributes, name string, err error) {
	s := susp{volume: v, where: where}
	for round := 0; area != nil; round++ {
		if round > 8 {
			return a, "", errors.New("a system use field goes on for too long")
		}
		if area, err = s.read(area); err != nil {
			return a, "", err
		}
	}
	if have := strings.Join(s.found, " "); have != kind || s.continued {
		return a, "", fmt.Errorf("its system use field holds %q, want %q", have, kind)
	}
	return s.attr, string(s.name), nil
}

// susp gathers the entries of a record.
type susp struct {
	*volume
	where     string   // the folder
	found     []string // signatures
	attr      attributes
	name      []byte
	continued bool // the last part of the name says that there is another
}

// read reads one area and returns the one in which it goes on, nil where it does not.
func (s *susp) read(area []byte) (next []byte, err error) {
	for len(area) >= 4 {
		length := int(area[2])
		if length < 4 || length > len(area) || area[3] != 1 {
			return nil, errors.New("an entry of a system use field is cut off")
		}
		signature, body := string(area[:2]), area[4:length]
		area = area[length:]
		if signature == "CE" {
			if next, err = s.continuation(body); err != nil {
				return nil, err
			}
			break
		}
		if err := s.entry(signature, body); err != nil {
			return nil, err
		}
	}
	if len(bytes.Trim(area, "\x00")) > 0 || len(area) > 1 {
		return nil, errors.New("something follows in a system use field")
	}
	return next, nil
}

func (s *susp) entry(signature string, body []byte) error {
	ok := false
	switch signature {
	case "SP":
		ok = bytes.Equal(body, []byte{0xbe, 0xef, 0})
	case "ER":
		ok = string(body) == extensionReference
	case "TF":
		const kinds, times = 0x0e, 3 // modification, access, change of attributes
		if ok = len(body) == 1+times*len(s.date) && body[0] == kinds; !ok {
			break
		}
		for at := 1; at < len(body); at += len(s.date) {
			s.timed(body[at:at+len(s.date)], s.where)
		}
	case "PX":
		if ok = len(body) == 32; !ok {
			break
		}
		for i, n := range []*uint32{&s.attr.mode, &s.attr.links, &s.attr.uid, &s.attr.gid} {
			x, same := bothEndian(body[8*i:])
			*n, ok = uint32(x), ok && same
		}
	case "NM":
		if ok = len(body) > 1 && body[0]&^1 == 0; !ok {
			break
		}
		again := s.continued
		s.continued = body[0] == 1
		s.name = append(s.name, body[1:]...)
		if again {
			return nil
		}
	default:
		return fmt.Errorf("%q is no entry of a system use field that is known", signature)
	}
	if !ok {
		return fmt.Errorf("%s in a system use field is not as it should be", signature)
	}
	s.found = append(s.found, signature)
	return nil
}

// continuation reads what a CE points to.
func (s *susp) continuation(body []byte) ([]byte, error) {
	if len(body) != 24 {
		return nil, errors.New("CE in a system use field is not as it should be")
	}
	var n [3]int64 // sector, offset, length
	for i := range n {
		var same bool
		if n[i], same = bothEndian(body[8*i:]); !same {
			return nil, errors.New("CE in a system use field contradicts itself")
		}
	}
	at, size := n[0]*sector+n[1], n[2]
	if n[1] >= sector || size == 0 || size > sector || !s.inside(n[0], n[1]+size) {
		return nil, errors.New("CE in a system use field points to nothing")
	}
	s.claim(at, size, "a continuation of a record")
	b := make([]byte, size)
	_, err := s.image.ReadAt(b, s.base*sector+at)
	return b, err
}

func fromUCS2(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", errors.New("half a character")
	}
	var words []uint16
	for ; len(b) > 0; b = b[2:] {
		words = append(words, binary.BigEndian.Uint16(b))
	}
	return string(utf16.Decode(words)), nil
}

func toUCS2(s string) []byte {
	var b []byte
	for _, w := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}
