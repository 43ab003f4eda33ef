// Package artifact names content by its SHA-256 and keeps it in a store that
// several builds may use at once.
package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/isotrace/isotrace/internal/regular"
)

// Digest is a SHA-256 in 64 lower-case hexadecimal digits.
type Digest string

// ParseDigest checks s, with or without a "sha256:" prefix.
func ParseDigest(s string) (Digest, error) {
	const prefix = "sha256:"
	if len(s) == len(prefix)+64 && s[:len(prefix)] == prefix {
		s = s[len(prefix):]
	}
	d := Digest(s)
	if err := d.Validate(); err != nil {
		return "", err
	}
	return d, nil
}

// Validate refuses anything but 64 lower-case hexadecimal digits.
func (d Digest) Validate() error {
	if len(d) != 64 {
		return fmt.Errorf("sha256 %q: want 64 hexadecimal digits, have %d characters", string(d), len(d))
	}
	for i := range len(d) {
		if c := d[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("sha256 %q: %q is no lower-case hexadecimal digit", string(d), c)
		}
	}
	return nil
}

// Short returns the first 12 digits, for people.
func (d Digest) Short() string {
	if len(d) < 12 {
		return string(d)
	}
	return string(d[:12])
}

// Ref is named content: the name a record uses for it, its digest and size in bytes.
type Ref struct {
	Path   string `json:"path" yaml:"path"`
	Digest Digest `json:"sha256" yaml:"sha256"`
	Size   int64  `json:"size" yaml:"size"`
}

// HashBytes returns the digest of b.
func HashBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(hex.EncodeToString(sum[:]))
}

// HashReader reads r to its end.
func HashReader(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", n, err
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), n, nil
}

// HashFile reads the regular file at path.
func HashFile(path string) (_ Digest, _ int64, err error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return HashReader(f)
}
