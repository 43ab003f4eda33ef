package config

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

// TestPasswords: the hashes are libcrypt's, of the password live.
func TestPasswords(t *testing.T) {
	const (
		none = "is not a hash of crypt(5)"
		weak = "is a hash by "
		part = "is not a whole hash of the kind "
	)
	sha512 := "$6$qqb.MAMKs.8DKKq4$yAoPAPEZs9NFzvSwtCFeiSWdl9L6jA1lSRPrM5TDcDmxEcqxwtmWXOBloHh11102cPdmeTF8jfL/OSGaq/KU7."
	for _, c := range []struct{ value, want string }{
		{sha512, ""}, {"!" + sha512, ""}, {"!", ""}, {"*", ""}, {"!*", ""},
		{"$6$rounds=5000$abcdefgh$ewzLHba81PcH2UMPl/H.7hnbf0Dd9NGBeLz3i0WLa3UydY57P3M0l6X0qCz7PmZIdpzjUGogOUrc5JXmUHQ1..", ""},
		{"$5$lTgiEcs7BkcCtUzW$W2ccrJxqoZM0xOl48gu0TdbCU6WtPK5OAmEhaFZual3", ""},
		{"$2b$12$hEswLt6SzpDS33tGHscjIeIMDcgSZzsNHrdNWp6mbZ9Q0ATSzjoZ2", ""},
		{"$2y$05$abcdefghijklmnopqrstuu5onVhod/edLGMZ3YH5II3KuyGxtlEHe", ""},
		{"$y$j9T$abcdefghijklmnop$MJE6Si4TFviH8AHyHn14AzEz818/cdnK4XtQUZ3gLK/", ""},
		{"$gy$j9T$abcdefghijklmnop$2dynL7tylja5AhI6ChPptqk03w1iACixdHjOHJxYVb1", ""},
		{"$7$CU..../....abcdefghijklmnop$1hhdRNlM9/bgabb8wuHLtG.T/2vzCZpOMRRX6TrcfS4", ""},
		{"secret", none}, {"plain", none}, {"Correct-Horse", none}, {"$9$x$y", none}, {"x", none}, {"!plain", none},
		{sha512[:len(sha512)-1], part}, {sha512 + "x", part}, {"$6$salt", part}, {"$6$rounds=5$abcdefgh$" + sha512[20:], part},
		{"$y$j9T$abcdefghijklmnop$MJE6Si4TFviH8AHyHn14AzEz818", part}, {"$2b$12$short", part}, {"$6$a b$" + sha512[20:], part},
		{"$1$4klgBTUu$GTnnPDp6aTnj7u1p6xz.D.", weak + "MD5"}, {"abQL7uWa/OWls", weak + "DES"}, {"_J9..abcdrljnEJGyFfY", weak + "DES"}, {"$2a$05$abcdefghijklmnopqrstuu5onVhod/edLGMZ3YH5II3KuyGxtlEHe", weak + "a bcrypt"},
	} {
		for _, key := range []string{"root-password-hash: ", "users:\n  - name: op\n    password-hash: "} {
			text := "name: x\nrelease: \"1\"\nbase: {oci: l}\n" + key + "'" + c.value + "'\n"
			cfg, err := Parse("c", []byte(text))
			if err == nil {
				err = cfg.CheckPasswords([]byte(text))
			}
			switch {
			case err == nil && c.want != "":
				t.Errorf("%q is taken, want %q", c.value, c.want)
			case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "want a crypt(5) hash") || fault.ClassOf(err) != fault.Usage):
				t.Errorf("%q: %v, want %q", c.value, err, c.want)
			case err != nil && len(c.value) > 4 && (strings.Contains(err.Error(), c.value) || strings.Contains(fault.HintOf(err), c.value)):
				t.Errorf("%q stands in the error: %v", c.value, err)
			}
		}
	}
}

// TestPasswordsUnquoted: what YAML makes something else of is not shown either.
func TestPasswordsUnquoted(t *testing.T) {
	for _, value := range []string{"*hunter2", "&hunter2", "[hunter2]", "{hunter2: x}", "!hunter2", "!hunter2 x", "'hunter2", "hunter2: x", "- hunter2", "%hunter2", "@hunter2", "`hunter2", "|hunter2", "hunter2"} {
		text := "name: x\nrelease: \"1\"\nbase: {oci: l}\nroot-password-hash: " + value + "\n"
		cfg, err := Parse("c", []byte(text))
		if err == nil {
			err = cfg.CheckPasswords([]byte(text))
		}
		if err == nil {
			t.Errorf("%s: is taken as %q", value, cfg.RootPasswordHash)
			continue
		}
		if strings.Contains(err.Error()+fault.HintOf(err), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
}
