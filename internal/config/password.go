package config

import (
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// hashing is a way to hash passwords: its forms are those of crypt(5), which tell more
// than the library demands, such as the length of a hash.
type hashing struct {
	prefix string
	form   func(string) bool
	// decode is nil where the library does not know it.
	decode func(algorithm.DecoderRegister) error
}

// hashings are those that libcrypt calls strong.
var hashings = []hashing{
	{"$y$", form(`^\$y\$[./A-Za-z0-9]{3,12}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}$`), scrypt.RegisterDecoder},
	{"$gy$", form(`^\$gy\$[./A-Za-z0-9]{3,12}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}$`), nil},
	{"$7$", form(`^\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}$`), nil},
	{"$2b$", form(`^\$2b\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`), bcrypt.RegisterDecoder},
	{"$2y$", form(`^\$2y\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`), bcrypt.RegisterDecoder},
	{"$6$", form(`^\$6\$(rounds=[1-9][0-9]{3,8}\$)?[^$:,=\x00-\x20\x7f-\x{10ffff}]{1,16}\$[./A-Za-z0-9]{86}$`), shacrypt.RegisterDecoder},
	{"$5$", form(`^\$5\$(rounds=[1-9][0-9]{3,8}\$)?[^$:,=\x00-\x20\x7f-\x{10ffff}]{1,16}\$[./A-Za-z0-9]{43}$`), shacrypt.RegisterDecoder},
}

// weak are the hashings from which passwords are found by trying, by prefix.
var weak = []struct {
	name string
	form func(string) bool
}{
	{"MD5 ($1$)", form(`^\$1\$[^$:\n]{0,8}\$[./0-9A-Za-z]{22}$`)},
	{"SunMD5 ($md5)", form(`^\$md5`)},
	{"SHA-1 ($sha1$)", form(`^\$sha1\$`)},
	{"NT ($3$)", form(`^\$3\$`)},
	{"a bcrypt with a known fault ($2a$, $2x$)", form(`^\$2[ax]?\$`)},
	{"DES", form(`^(_[./0-9A-Za-z]{19}|[./0-9A-Za-z]{13})$`)},
}

const hashHint = "openssl passwd -6 makes one; nothing but a hash may stand there: the config goes into the evidence as it is"

// badHash says what is wrong with what stands for a hash, and never what it is: it may
// be a password. "" is a good one; ! and * lock an account, alone or before a hash.
func badHash(value string) string {
	hash := strings.TrimLeft(value, "!*")
	if hash == "" && value != "" {
		return ""
	}
	for _, h := range hashings {
		if !strings.HasPrefix(hash, h.prefix) {
			continue
		}
		if !h.form(hash) || !h.decodes(hash) {
			return "is not a whole hash of the kind " + h.prefix + " (see crypt(5))"
		}
		return ""
	}
	for _, w := range weak {
		if w.form(hash) {
			return "is a hash by " + w.name + ", or a password in clear text: either is easily found out"
		}
	}
	return "is not a hash of crypt(5); a password in clear text would end up in the image's evidence"
}

func (h hashing) decodes(hash string) bool {
	if h.decode == nil {
		return true
	}
	d := crypt.NewDecoder()
	if err := h.decode(d); err != nil {
		return false
	}
	_, err := d.Decode(hash)
	return err == nil
}

// CheckPasswords refuses what is no strong hash where one belongs, in a config that Parse
// took from text: what was built with another is verified all the same.
func (c *Config) CheckPasswords(text []byte) error {
	if c.RootPasswordHash != "" {
		if bad := badHash(c.RootPasswordHash); bad != "" {
			return ErrorAt(text, "root-password-hash", hashHint, "%s", bad)
		}
	}
	for i, u := range c.Users {
		if u.PasswordHash == "" {
			continue
		}
		if bad := badHash(u.PasswordHash); bad != "" {
			return ErrorAt(text, at("users", i)+".password-hash", hashHint, "%s", bad)
		}
	}
	return nil
}
