package secureboot

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/pkcs7"
)

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// newAuthority is signed by the other one, or by itself.
func newAuthority(t testing.TB, name string, by *authority) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2116, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

type section struct {
	name string
	data []byte
}

const (
	peAt     = 0x80
	headers  = 0x400
	alignTo  = 0x200
	dirAt    = peAt + 4 + 20 + 112 + 4*8 // of the signatures
	sectAt   = peAt + 4 + 20 + 240
	sumAt    = peAt + 4 + 20 + 64
	sizeOfAt = 40
)

// program makes a PE32+ file of the sections. Names of more than eight characters
// stand behind them, in a table of strings.
func program(sections ...section) []byte {
	b := make([]byte, headers)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], peAt)
	copy(b[peAt:], "PE\x00\x00")
	var buf bytes.Buffer
	file := pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(sections)), SizeOfOptionalHeader: 240}
	optional := pe.OptionalHeader64{Magic: 0x20b, SizeOfHeaders: headers, NumberOfRvaAndSizes: 16}
	strs := make([]byte, 4)
	for i, s := range sections {
		h := pe.SectionHeader32{VirtualSize: uint32(len(s.data)), VirtualAddress: uint32(i+1) << 16,
			SizeOfRawData: uint32((len(s.data) + alignTo - 1) / alignTo * alignTo), PointerToRawData: uint32(len(b))}
		name := s.name
		if len(name) > len(h.Name) {
			name = fmt.Sprint("/", len(strs))
			strs = append(strs, s.name+"\x00"...)
		}
		copy(h.Name[:], name)
		_ = binary.Write(&buf, binary.LittleEndian, h)
		b = append(b, s.data...)
		b = append(b, make([]byte, int(h.SizeOfRawData)-len(s.data))...)
	}
	binary.LittleEndian.PutUint32(strs, uint32(len(strs)))
	file.PointerToSymbolTable = uint32(len(b))
	b = append(b, strs...)
	b = append(b, make([]byte, (8-len(b)%8)%8)...)
	var head bytes.Buffer
	_ = binary.Write(&head, binary.LittleEndian, file)
	_ = binary.Write(&head, binary.LittleEndian, optional)
	copy(b[peAt+4:], append(head.Bytes(), buf.Bytes()...))
	return b
}

// sign adds a signature.
func sign(t testing.TB, b []byte, by *authority) []byte {
	t.Helper()
	i, err := Open("x", b)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := hex.DecodeString(string(i.Digest))
	if err != nil {
		t.Fatal(err)
	}
	return attach(b, message(t, digest, by))
}

// message is the signature of a digest.
func message(t testing.TB, digest []byte, by *authority) []byte {
	t.Helper()
	what, err := asn1.Marshal(struct {
		Type asn1.ObjectIdentifier
		Data asn1.RawValue
	}{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}{pkix.AlgorithmIdentifier{Algorithm: pkcs7.OIDDigestAlgorithmSHA256, Parameters: asn1.NullRawValue}, digest})
	if err != nil {
		t.Fatal(err)
	}
	content := append(what, info...)
	s, err := pkcs7.NewSignedData(content)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	s.SetContentType(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4})
	if err := s.AddSigner(by.cert, crypto.Signer(by.key), pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	wrapped, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	s.GetSignedData().ContentInfo.Content.Bytes = wrapped
	text, err := s.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// attach writes a signature behind a program and what it has of them.
func attach(b, text []byte) []byte {
	b = slices.Clone(b)
	if binary.LittleEndian.Uint32(b[dirAt:]) == 0 {
		binary.LittleEndian.PutUint32(b[dirAt:], uint32(len(b)))
	}
	head := make([]byte, 8)
	binary.LittleEndian.PutUint32(head, uint32(8+len(text)))
	binary.LittleEndian.PutUint16(head[4:], 0x0200)
	binary.LittleEndian.PutUint16(head[6:], 2)
	text = append(head, text...)
	text = append(text, make([]byte, (8-len(text)%8)%8)...)
	b = append(b, text...)
	binary.LittleEndian.PutUint32(b[dirAt+4:], uint32(len(b))-binary.LittleEndian.Uint32(b[dirAt:]))
	return b
}

// vendorCert is the section of a shim that trusts vendor.
func vendorCert(vendor []byte, revoked []byte) section {
	b := make([]byte, 16)
	for i, n := range []int{len(vendor), len(revoked), 16, 16 + len(vendor)} {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(n))
	}
	return section{".vendor_cert", slices.Concat(b, vendor, revoked)}
}

// list is a signature list of one entry.
func list(kind, data []byte) []byte {
	b := slices.Clone(kind)
	for _, n := range []int{16 + 12 + 16 + len(data), 0, 16 + len(data)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return slices.Concat(b, make([]byte, 16), data)
}

func sbat(text string) section { return section{".sbat", []byte(text)} }

func level(text string) section {
	b := make([]byte, 12)
	binary.LittleEndian.PutUint32(b[4:], 8)
	return section{".sbatlevel", append(b, text+"\x00"...)}
}

func TestCheck(t *testing.T) {
	microsoft, vendor := newAuthority(t, "Microsoft", nil), newAuthority(t, "Vendor", nil)
	signer, stranger := newAuthority(t, "Signer", vendor), newAuthority(t, "Stranger", nil)
	shim := func(sections ...section) []byte { return sign(t, program(sections...), microsoft) }
	plain := shim(vendorCert(vendor.cert.Raw, nil), level("sbat,1,2025\nshim,4\ngrub,5\n"))
	current := program(sbat("sbat,1,SBAT\ngrub,5,GRUB\ngrub.x,1,X\n"), section{"mods", []byte("modules")})
	grub := sign(t, current, signer)
	bare := program(section{".text", []byte("kernel")})
	kernel := sign(t, bare, signer)
	parsed, err := Open("x", kernel)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := hex.DecodeString(string(parsed.Digest))
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(b []byte, at int) []byte {
		b = slices.Clone(b)
		b[at] ^= 1
		return b
	}
	// Content that says the flipped kernel's digest under the old signature: who does
	// not compare the signed attribute with the content takes it.
	forged := flipped(kernel, headers)
	changed, err := Open("x", forged)
	if err != nil {
		t.Fatal(err)
	}
	other, err := hex.DecodeString(string(changed.Digest))
	if err != nil {
		t.Fatal(err)
	}
	forged = bytes.Replace(forged, digest, other, 1)
	for name, c := range map[string]struct {
		shim, grub, kernel []byte
		says               string // "" where all is well
		unsigned           bool
	}{
		"as it must be":          {plain, grub, kernel, "", false},
		"two signatures":         {plain, grub, attach(sign(t, bare, stranger), message(t, digest, signer)), "", false},
		"checksum not signed":    {plain, grub, flipped(kernel, sumAt), "", false},
		"old shim":               {shim(vendorCert(vendor.cert.Raw, nil)), grub, kernel, "", false},
		"no signature of shim":   {program(vendorCert(vendor.cert.Raw, nil)), grub, kernel, "shim: shim would not start it: it has no signature", true},
		"no shim":                {grub, grub, kernel, "shim: is no shim", false},
		"unsigned kernel":        {plain, grub, bare, "the kernel: shim would not start it: it has no signature", true},
		"unsigned GRUB":          {plain, current, kernel, "GRUB: shim would not start it: it has no signature", true},
		"changed kernel":         {plain, grub, flipped(kernel, headers), "its bytes are not those that Signer signed", true},
		"changed headers":        {plain, grub, flipped(kernel, sectAt+sizeOfAt), "its bytes are not those", true},
		"forged digest":          {plain, grub, forged, "the signature of Signer: pkcs7: Message digest mismatch", true},
		"another's kernel":       {plain, grub, sign(t, bare, stranger), "signed by Stranger, whom Stranger vouches for, but shim trusts Vendor", true},
		"signed by shim's":       {plain, sign(t, current, microsoft), kernel, "signed by Microsoft, whom Microsoft vouches for, but shim trusts Vendor", true},
		"old GRUB":               {plain, sign(t, program(sbat("sbat,1,SBAT\ngrub,4,GRUB\n")), signer), kernel, "its SBAT generation of grub is 4, shim asks for 5", true},
		"GRUB without SBAT":      {plain, sign(t, bare, signer), kernel, "it has no SBAT data", true},
		"revoked kernel":         {shim(vendorCert(vendor.cert.Raw, list(typeSHA256, digest))), grub, kernel, "on its list of what is revoked", true},
		"revoked signer":         {shim(vendorCert(vendor.cert.Raw, list(typeX509, signer.cert.Raw))), grub, kernel, "shim revokes the certificate of Signer", true},
		"unknown revocation":     {shim(vendorCert(vendor.cert.Raw, list(make([]byte, 16), digest))), grub, kernel, "is not known", false},
		"cut-off revocations":    {shim(vendorCert(vendor.cert.Raw, list(typeSHA256, digest)[:40])), grub, kernel, "its sizes do not fit", false},
		"no certificate in shim": {shim(vendorCert([]byte("none"), nil)), grub, kernel, "section .vendor_cert", false},
		"bytes behind":           {plain, grub, append(slices.Clone(kernel), 0), "its signatures are not at its end", false},
		"no program":             {plain, grub, []byte("kernel"), "is no program for UEFI", false},
		"nothing":                {plain, grub, nil, "is no program for UEFI", false},
	} {
		r, err := Check(c.shim, c.grub, c.kernel)
		switch {
		case c.says == "" && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)), errors.Is(err, ErrUnsigned) != c.unsigned:
			t.Errorf("%s: %v", name, err)
		case err == nil && (r.Vendor != "Vendor" || r.GRUB != "Signer" || r.Kernel != "Signer" || !slices.Equal(r.Shim, []string{"Microsoft"})):
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestGap: what stands between two sections is in no digest.
func TestGap(t *testing.T) {
	b := program(section{".text", []byte("code")}, section{".data", []byte("data")})
	// The second section begins later: 512 bytes stand before it.
	at := sectAt + sizeOfAt + 20
	binary.LittleEndian.PutUint32(b[at:], binary.LittleEndian.Uint32(b[at:])+alignTo)
	b = append(b, make([]byte, alignTo)...)
	if _, err := Open("x", b); err == nil || !strings.Contains(err.Error(), "bytes between its sections") {
		t.Errorf("a gap that holds something: %v", err)
	}
	copy(b[headers+alignTo:], make([]byte, alignTo))
	if _, err := Open("x", b); err != nil {
		t.Errorf("an empty gap: %v", err)
	}
}

func FuzzOpenShim(f *testing.F) {
	a := newAuthority(f, "Vendor", nil)
	f.Add(sign(f, program(vendorCert(a.cert.Raw, list(typeX509, a.cert.Raw)), level("grub,5\n")), a))
	f.Add(program(sbat("grub,5\n")))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := OpenShim("shim", b)
		if err != nil {
			return
		}
		if _, err := s.Signed(s.Image); err == nil {
			_ = s.current(s.Image)
		}
	})
}
