package ext4

import "encoding/binary"

// accessControl turns a POSIX access control list as ext4 keeps it, version 1, into the
// form that getxattr(2) gives, version 2: every entry has an id there, which is -1 where
// it names nobody.
func accessControl(b []byte) ([]byte, error) {
	const (
		onDisk, shown = 1, 2 // versions
		user, group   = 0x2, 0x8
	)
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != onDisk {
		return nil, malformed("an access control list is of another version")
	}
	out := binary.LittleEndian.AppendUint32(nil, shown)
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, malformed("an access control list is cut off")
		}
		tag, id, size := binary.LittleEndian.Uint16(b), ^uint32(0), 4
		if tag == user || tag == group {
			if len(b) < 8 {
				return nil, malformed("an access control list is cut off")
			}
			id, size = binary.LittleEndian.Uint32(b[4:]), 8
		}
		out = binary.LittleEndian.AppendUint32(append(out, b[:4]...), id)
		b = b[size:]
	}
	return out, nil
}
