package provenance

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"github.com/isotrace/isotrace/policy"
)

// accounts reads /etc/shadow; see shadow(5).
func accounts(shadow []byte) []policy.Account {
	list := []policy.Account{}
	tried := 0
	for line := range bytes.Lines(shadow) {
		fields := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(fields) < 2 || fields[0] == "" {
			continue
		}
		a := policy.Account{Name: fields[0], Password: "none"}
		switch hash := fields[1]; {
		case hash == "":
			a.Password = "empty"
		case strings.HasPrefix(hash, "$"):
			a.Password = "hash"
			a.Scheme, _, _ = strings.Cut(hash[1:], "$")
			if tried++; tried <= maxTried {
				a.WellKnown = wellKnown(a.Name, hash)
			}
		case !strings.ContainsAny(hash[:1], "!*"):
			a.Password, a.Scheme = "hash", "des"
		}
		list = append(list, a)
	}
	return list
}

// maxTried bounds the accounts whose passwords are tried: each try takes up to a second.
const maxTried = 32

// defaultPasswords are what images are shipped with, and what is tried first.
var defaultPasswords = []string{
	"live", "user", "root", "toor", "admin", "password", "debian", "ubuntu", "linux", "test", "guest", "changeme", "secret", "default",
	"1234", "12345", "123456", "12345678", "kali", "raspberry", "vagrant", "azureuser", "installer", "rescue", "pass", "qwerty", "letmein", "welcome",
}

// wellKnown tells whether a hash is that of a password that everybody tries first: one of
// the usual, or the account's own name. A hash that would cost too much to try is none.
func wellKnown(name, hash string) bool {
	if !affordable(hash) {
		return false
	}
	d, err := decode(hash)
	if err != nil {
		return false
	}
	for _, password := range append([]string{name, name + "1", name + "123"}, defaultPasswords...) {
		if d.Match(password) {
			return true
		}
	}
	return false
}

func decode(hash string) (algorithm.Digest, error) {
	d := crypt.NewDecoder()
	for _, register := range []func(algorithm.DecoderRegister) error{shacrypt.RegisterDecoder, scrypt.RegisterDecoder, bcrypt.RegisterDecoder, md5crypt.RegisterDecoder} {
		if err := register(d); err != nil {
			return nil, err
		}
	}
	return d.Decode(hash)
}

// Bounds of what a try may cost; beyond Debian's and Ubuntu's defaults.
const (
	maxRounds   = 200_000 // SHA-crypt
	maxBcrypt   = 12      // 2^n rounds
	maxYescrypt = "C"     // the cost's letter in j9T: 16 MiB at 9
)

// affordable bounds the cost that a hash names; see crypt(5).
func affordable(hash string) bool {
	fields := strings.Split(hash, "$")
	if len(fields) < 4 {
		return false
	}
	switch scheme, cost := fields[1], fields[2]; scheme {
	case "1":
		return true
	case "5", "6":
		rounds, ok := strings.CutPrefix(cost, "rounds=")
		n, err := strconv.Atoi(rounds)
		return !ok || err == nil && n <= maxRounds
	case "2a", "2b", "2y":
		n, err := strconv.Atoi(cost)
		return err == nil && n <= maxBcrypt
	case "y":
		return len(cost) == 3 && cost[:1] == "j" && cost[1:2] <= maxYescrypt && cost[2:] <= "T"
	}
	return false
}
