package copyright

import (
	"regexp"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// refID returns the LicenseRef of a short name and the digest of its text. It
// is in lower case: the names of the format and the ids of SPDX are the same in
// whatever case.
func refID(name string, digest artifact.Digest) string {
	const most = 64
	name = strings.ToLower(name)
	plain := idString(name)
	clean := plain != "" && plain == name && digest == "" && len(name) <= most && !hasDigits(name)
	if len(plain) > most {
		plain = strings.Trim(plain[:most], "-.")
	}
	if plain == "" {
		plain = "unnamed"
	}
	if clean {
		return "LicenseRef-" + plain
	}
	sum := artifact.HashBytes([]byte(name + "\n" + string(digest)))
	return "LicenseRef-" + plain + "-" + string(sum[:refDigits])
}

// refDigits are the hexadecimal digits at the end of a LicenseRef.
const refDigits = 16

// hasDigits tells whether a name ends as an id that has digits: such a name
// must not pass for another's id.
func hasDigits(name string) bool {
	at := len(name) - refDigits - 1
	return at >= 0 && name[at] == '-' && strings.Trim(name[at+1:], "0123456789abcdef") == ""
}

var notIDString = regexp.MustCompile(`[^a-z0-9.]+`)

// idString replaces, in a name in lower case, what SPDX does not let an id have:
// anything but letters, digits, dots and dashes. A plus sign means something,
// and stays readable.
func idString(name string) string {
	name = strings.TrimPrefix(name, "licenseref-")
	name = strings.ReplaceAll(name, "+", "-plus")
	return strings.Trim(notIDString.ReplaceAllString(name, "-"), "-.")
}
