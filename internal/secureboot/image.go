package secureboot

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/digitorus/pkcs7"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Bounds of what is read. Kernels have some 15 MB.
const (
	maxImage      = 256 << 20
	maxSignatures = 16
	maxSignature  = 1 << 20
)

// Image is a program for UEFI: a PE32+ file with what its signatures cover.
type Image struct {
	// Digest is the SHA-256 that Authenticode signs: of all but the checksum and
	// the table of signatures.
	Digest artifact.Digest

	signatures []*pkcs7.PKCS7
	file       *pe.File
}

// Open reads an image; name stands in errors. What is not laid out as the
// signing tools lay it out is refused: bytes outside the sections could be read
// in two ways.
func Open(name string, b []byte) (_ *Image, err error) {
	i, err := open(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i, nil
}

func open(b []byte) (*Image, error) {
	if len(b) > maxImage {
		return nil, fmt.Errorf("more than %d bytes", maxImage)
	}
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("is no program for UEFI: %w", err)
	}
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || header.NumberOfRvaAndSizes <= pe.IMAGE_DIRECTORY_ENTRY_SECURITY {
		return nil, errors.New("is no 64-bit program with a place for signatures")
	}
	i := &Image{file: f}
	table := header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY]
	if i.Digest, err = digest(b, f, header, table); err != nil {
		return nil, err
	}
	if table.Size == 0 {
		return i, nil
	}
	i.signatures, err = signatures(b[table.VirtualAddress:])
	return i, err
}

// digest follows "Windows Authenticode Portable Executable Signature Format",
// "Calculating the PE Image Hash".
func digest(b []byte, f *pe.File, header *pe.OptionalHeader64, table pe.DataDirectory) (artifact.Digest, error) {
	const (
		optional   = 4 + 20               // offset of the optional header from that of the PE header
		checksum   = optional + 64        // of 4 bytes
		certTable  = optional + 112 + 4*8 // of 8 bytes
		dosPointer = 0x3c                 // where the offset of the PE header stands
		malformed  = "its sections overlap or reach past its end"
	)
	start := int64(binary.LittleEndian.Uint32(b[dosPointer:]))
	end := int64(len(b))
	if table.Size > 0 {
		if end = int64(table.VirtualAddress); end+int64(table.Size) != int64(len(b)) {
			return "", errors.New("its signatures are not at its end")
		}
	}
	at := int64(header.SizeOfHeaders)
	sum := at // of bytes hashed
	if start+certTable+8 > at || at > end {
		return "", errors.New(malformed)
	}
	h := sha256.New()
	h.Write(b[:start+checksum])
	h.Write(b[start+checksum+4 : start+certTable])
	h.Write(b[start+certTable+8 : at])
	sections := slices.Clone(f.Sections)
	slices.SortFunc(sections, func(x, y *pe.Section) int { return int(int64(x.Offset) - int64(y.Offset)) })
	for _, s := range sections {
		if s.Size == 0 {
			continue
		}
		from, to := int64(s.Offset), int64(s.Offset)+int64(s.Size)
		if from < at || to > end {
			return "", errors.New(malformed)
		}
		// Some linkers leave a gap before a section: what stands there is in no digest.
		if gap := b[at:from]; len(bytes.Trim(gap, "\x00")) > 0 {
			return "", errors.New("there are bytes between its sections, which no signature covers")
		}
		h.Write(b[from:to])
		at, sum = to, sum+to-from
	}
	// As the specification and shim have it, what is left begins behind as many
	// bytes as were hashed, which is behind the last section where there is no gap.
	h.Write(b[sum:end])
	// A signature begins at a multiple of eight bytes: signing tools fill up with zeros.
	if rest := end % 8; rest > 0 {
		h.Write(make([]byte, 8-rest))
	}
	return artifact.Digest(fmt.Sprintf("%x", h.Sum(nil))), nil
}

// signatures reads a table of WIN_CERTIFICATE structures, each filled up to
// eight bytes.
func signatures(b []byte) ([]*pkcs7.PKCS7, error) {
	const header, revision, signedData = 8, 0x0200, 0x0002
	var list []*pkcs7.PKCS7
	for len(b) >= header {
		size := int64(binary.LittleEndian.Uint32(b))
		if size < header || size > int64(len(b)) || size > maxSignature {
			return nil, fmt.Errorf("a signature of %d bytes among %d", size, len(b))
		}
		if binary.LittleEndian.Uint16(b[4:]) != revision || binary.LittleEndian.Uint16(b[6:]) != signedData {
			return nil, errors.New("a signature that is no PKCS #7 message")
		}
		if len(list) == maxSignatures {
			return nil, fmt.Errorf("more than %d signatures", maxSignatures)
		}
		s, err := parse(b[header:size])
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		b = b[min((size+7)/8*8, int64(len(b))):]
	}
	return list, nil
}

// parse reads a PKCS #7 message. It may be filled up with zeros, and the
// library is not made for hostile ones.
func parse(b []byte) (_ *pkcs7.PKCS7, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read a signature: %v", r)
		}
	}()
	var message asn1.RawValue
	if _, err := asn1.Unmarshal(b, &message); err != nil {
		return nil, fmt.Errorf("read a signature: %w", err)
	}
	s, err := pkcs7.Parse(message.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("read a signature: %w", err)
	}
	return s, nil
}

// signedDigest is the digest in what a signature covers: SpcIndirectDataContent,
// whose contents without their own tag the library gives.
func signedDigest(content []byte) (artifact.Digest, error) {
	var data asn1.RawValue // SpcAttributeTypeAndOptionalValue
	rest, err := asn1.Unmarshal(content, &data)
	if err != nil {
		return "", fmt.Errorf("what is signed: %w", err)
	}
	var info struct {
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Digest []byte
	}
	if _, err := asn1.Unmarshal(rest, &info); err != nil {
		return "", fmt.Errorf("what is signed: %w", err)
	}
	if !info.Algorithm.ID.Equal(pkcs7.OIDDigestAlgorithmSHA256) {
		return "", errors.New("what is signed is no SHA-256")
	}
	return artifact.Digest(fmt.Sprintf("%x", info.Digest)), nil
}

// section is the content of a section as it is used; nil where there is none.
func (i *Image) section(name string) ([]byte, error) {
	s := i.file.Section(name)
	if s == nil {
		return nil, nil
	}
	b, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	return b[:min(len(b), int(s.VirtualSize))], nil
}
