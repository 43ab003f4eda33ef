// Package secureboot checks of boot loaders and a kernel what shim checks when a
// machine with Secure Boot starts them: that GRUB and the kernel are signed by
// the authority that is built into shim, that shim does not revoke them, and that
// GRUB's SBAT generations are those that shim asks for. Whether a machine starts
// shim itself is for the keys in its firmware to say.
//
// Formats: "Windows Authenticode Portable Executable Signature Format" of
// Microsoft, UEFI specification 2.10 section 32.4 (EFI_SIGNATURE_LIST), and
// cert.S, sbat_var.S and SBAT.md of shim's source.
package secureboot

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/digitorus/pkcs7"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Paths in an EFI system partition: where firmware looks on a medium, UEFI 3.5.1.1,
// and where shim looks then.
const (
	FirstPath = "EFI/BOOT/BOOTX64.EFI"
	GRUBPath  = "EFI/BOOT/GRUBX64.EFI"
)

// ErrUnsigned is in the chain of the error of a program that shim would refuse.
var ErrUnsigned = errors.New("shim would not start it")

// Report says who signed what.
type Report struct {
	// Shim are the authorities that signed shim, which the firmware must know.
	Shim []string `json:"shim"`
	// Vendor is the authority in shim.
	Vendor string `json:"vendor"`
	// GRUB and Kernel are the signers of both.
	GRUB   string `json:"grub"`
	Kernel string `json:"kernel"`
}

// Check reads the three programs and follows shim's checks.
func Check(shim, grub, kernel []byte) (*Report, error) {
	s, err := OpenShim("shim", shim)
	if err != nil {
		return nil, err
	}
	r := &Report{Shim: s.Authorities, Vendor: s.vendor.Subject.CommonName}
	g, err := Open("GRUB", grub)
	if err != nil {
		return nil, err
	}
	if r.GRUB, err = s.Signed(g); err == nil {
		err = s.current(g)
	}
	if err != nil {
		return nil, fmt.Errorf("GRUB: %w", err)
	}
	k, err := Open("the kernel", kernel)
	if err != nil {
		return nil, err
	}
	if r.Kernel, err = s.Signed(k); err != nil {
		return nil, fmt.Errorf("the kernel: %w", err)
	}
	return r, nil
}

// Shim is the first boot loader, with what it trusts.
type Shim struct {
	*Image
	// Authorities are the issuers of the certificates that signed it.
	Authorities []string

	vendor  *x509.Certificate
	revoked map[artifact.Digest]bool // digests of programs
	banned  [][]byte                 // certificates
	level   map[string]int           // SBAT generations, at least
}

// OpenShim reads shim; name stands in errors.
func OpenShim(name string, b []byte) (*Shim, error) {
	i, err := Open(name, b)
	if err != nil {
		return nil, err
	}
	s := &Shim{Image: i, revoked: map[artifact.Digest]bool{}}
	for _, sig := range i.signatures {
		signer := sig.GetOnlySigner()
		if signer == nil {
			return nil, fmt.Errorf("%s: a signature without one signer", name)
		}
		s.Authorities = append(s.Authorities, signer.Issuer.CommonName)
	}
	if len(s.Authorities) == 0 {
		return nil, fmt.Errorf("%s: %w: it has no signature", name, ErrUnsigned)
	}
	if err := errors.Join(s.readVendor(), s.readLevel()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// readVendor reads the section .vendor_cert: sizes and offsets of a certificate
// and of lists of what is revoked.
func (s *Shim) readVendor() error {
	b, err := s.section(".vendor_cert")
	if err != nil {
		return err
	}
	if len(b) < 16 {
		return errors.New("is no shim: it has no section .vendor_cert")
	}
	part := func(size, offset int) ([]byte, error) {
		n, at := int64(binary.LittleEndian.Uint32(b[size:])), int64(binary.LittleEndian.Uint32(b[offset:]))
		if at+n > int64(len(b)) {
			return nil, errors.New("section .vendor_cert: is cut off")
		}
		return b[at : at+n], nil
	}
	cert, err := part(0, 8)
	if err != nil {
		return err
	}
	if s.vendor, err = x509.ParseCertificate(cert); err != nil {
		return fmt.Errorf("section .vendor_cert: %w", err)
	}
	dbx, err := part(4, 12)
	if err != nil {
		return err
	}
	return s.readRevoked(dbx)
}

// Types of signature lists, as they stand in the file.
var (
	typeSHA256 = []byte{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
	typeX509   = []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
)

// readRevoked reads EFI_SIGNATURE_LIST structures.
func (s *Shim) readRevoked(b []byte) error {
	const header, owner = 16 + 3*4, 16
	for len(b) > 0 {
		if len(b) < header {
			return errors.New("list of what is revoked: is cut off")
		}
		size, head, each := int64(binary.LittleEndian.Uint32(b[16:])), int64(binary.LittleEndian.Uint32(b[20:])), int64(binary.LittleEndian.Uint32(b[24:]))
		if size < header || size > int64(len(b)) || each <= owner || head > size-header || (size-header-head)%each != 0 {
			return errors.New("list of what is revoked: its sizes do not fit")
		}
		kind := b[:16]
		for at := header + head; at < size; at += each {
			data := b[at+owner : at+each]
			switch {
			case bytes.Equal(kind, typeSHA256):
				s.revoked[artifact.Digest(fmt.Sprintf("%x", data))] = true
			case bytes.Equal(kind, typeX509):
				s.banned = append(s.banned, data)
			default:
				return fmt.Errorf("list of what is revoked: type %x is not known", kind)
			}
		}
		b = b[size:]
	}
	return nil
}

// readLevel reads the section .sbatlevel: a version, the offsets of two texts
// from behind it, and the texts. The first is what shim asks for by itself.
func (s *Shim) readLevel() error {
	b, err := s.section(".sbatlevel")
	if err != nil || b == nil {
		return err // shim before 15.8 has none
	}
	const version = 4
	if len(b) < version+8 {
		return errors.New("section .sbatlevel: is cut off")
	}
	at := version + int64(binary.LittleEndian.Uint32(b[version:]))
	if at > int64(len(b)) {
		return errors.New("section .sbatlevel: is cut off")
	}
	text, _, _ := bytes.Cut(b[at:], []byte{0})
	s.level, err = generations(string(text))
	return err
}

// generations reads SBAT's lines: a component, its generation and more.
func generations(text string) (map[string]int, error) {
	all := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("SBAT of %s: generation %q", fields[0], fields[1])
		}
		all[fields[0]] = n
	}
	return all, nil
}

// current tells whether a program's generations are those that shim asks for.
func (s *Shim) current(i *Image) error {
	text, err := i.section(".sbat")
	if err != nil {
		return err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	have, err := generations(string(text))
	if err != nil {
		return err
	}
	if len(have) == 0 && len(s.level) > 0 {
		return fmt.Errorf("%w: it has no SBAT data", ErrUnsigned)
	}
	for name, want := range s.level {
		if n, ok := have[name]; ok && n < want {
			return fmt.Errorf("%w: its SBAT generation of %s is %d, shim asks for %d", ErrUnsigned, name, n, want)
		}
	}
	return nil
}

// Signed returns the name of who signed a program, where shim accepts it. As
// shim does, it does not ask for the time.
func (s *Shim) Signed(i *Image) (string, error) {
	if s.revoked[i.Digest] {
		return "", fmt.Errorf("%w: shim has it on its list of what is revoked", ErrUnsigned)
	}
	if len(i.signatures) == 0 {
		return "", fmt.Errorf("%w: it has no signature", ErrUnsigned)
	}
	var all []error
	for _, sig := range i.signatures {
		name, err := s.accepts(i, sig)
		if err == nil {
			return name, nil
		}
		all = append(all, err)
	}
	return "", fmt.Errorf("%w: %w", ErrUnsigned, errors.Join(all...))
}

func (s *Shim) accepts(i *Image, sig *pkcs7.PKCS7) (_ string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("check a signature: %v", r)
		}
	}()
	signer := sig.GetOnlySigner()
	if signer == nil {
		return "", errors.New("a signature without one signer")
	}
	have, err := signedDigest(sig.Content)
	if err != nil {
		return "", err
	}
	if have != i.Digest {
		return "", fmt.Errorf("its bytes are not those that %s signed", signer.Subject.CommonName)
	}
	for _, b := range s.banned {
		if bytes.Equal(b, signer.Raw) {
			return "", fmt.Errorf("shim revokes the certificate of %s", signer.Subject.CommonName)
		}
	}
	if err := sig.VerifyWithOpts(x509.VerifyOptions{CurrentTime: signer.NotBefore}); err != nil {
		return "", fmt.Errorf("the signature of %s: %w", signer.Subject.CommonName, err)
	}
	if !s.trusts(signer, sig.Certificates) {
		return "", fmt.Errorf("signed by %s, whom %s vouches for, but shim trusts %s", signer.Subject.CommonName, signer.Issuer.CommonName, s.vendor.Subject.CommonName)
	}
	return signer.Subject.CommonName, nil
}

// maxChain bounds the certificates between a signer and the authority in shim.
const maxChain = 4

// trusts follows a certificate up to the authority in shim. The standard
// library's Verify would refuse Debian's, which has a critical extension of
// Netscape's that it does not know.
func (s *Shim) trusts(cert *x509.Certificate, others []*x509.Certificate) bool {
	for range maxChain {
		if cert.Equal(s.vendor) || cert.CheckSignatureFrom(s.vendor) == nil {
			return true
		}
		up := slices.IndexFunc(others, func(o *x509.Certificate) bool {
			return !o.Equal(cert) && bytes.Equal(o.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(o) == nil
		})
		if up < 0 {
			return false
		}
		cert = others[up]
	}
	return false
}
