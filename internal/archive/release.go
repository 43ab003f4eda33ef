package archive

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// Release is what a suite's Release file says of it.
type Release struct {
	Origin        string
	Label         string
	Suite         string
	Codename      string
	Version       string
	Date          time.Time // in UTC
	ValidUntil    time.Time // in UTC; zero where the archive states none
	Architectures []string
	Components    []string
	AcquireByHash bool
	// NotAutomatic and ButAutomaticUpgrades bear on apt's choice, as in backports.
	NotAutomatic, ButAutomaticUpgrades bool
	// NoPackagesForAll is true where the index of each architecture holds the
	// packages for all, whether or not there is an index of these alone.
	NoPackagesForAll bool
	// Files are the indexes by their path below the Release file.
	Files map[string]FileSum
}

// FileSum is the size and digest that a Release file states for an index.
type FileSum struct {
	Size   int64
	SHA256 artifact.Digest
}

// maxReleaseFiles is about ten times what Debian's archive lists.
const maxReleaseFiles = 100_000

// ParseRelease reads the text of a Release file, without any signature. What
// calls it verifies first; name stands in errors.
func ParseRelease(text []byte, name string) (*Release, error) {
	rd := deb822.NewReader(bytes.NewReader(text), name)
	s, err := rd.Next()
	if err == io.EOF {
		return nil, fmt.Errorf("%s: is empty", name)
	}
	if err != nil {
		return nil, err
	}
	r := &Release{
		Origin:        s.Get("Origin"),
		Label:         s.Get("Label"),
		Suite:         s.Get("Suite"),
		Codename:      s.Get("Codename"),
		Version:       s.Get("Version"),
		Architectures: s.Words("Architectures"),
		Components:    s.Words("Components"),
		AcquireByHash: s.Get("Acquire-By-Hash") == "yes",
		NotAutomatic:  s.Get("NotAutomatic") == "yes", ButAutomaticUpgrades: s.Get("ButAutomaticUpgrades") == "yes",
		NoPackagesForAll: slices.Contains(s.Words("No-Support-for-Architecture-all"), "Packages"),
	}
	if r.Suite == "" && r.Codename == "" {
		return nil, s.Errorf("Suite", "there is neither a Suite nor a Codename")
	}
	date, err := s.Require("Date")
	if err != nil {
		return nil, err
	}
	if r.Date, err = parseDate(date); err != nil {
		return nil, s.Errorf("Date", "%w", err)
	}
	if until, ok := s.Lookup("Valid-Until"); ok {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, s.Errorf("Valid-Until", "%w", err)
		}
	}
	sums, err := s.Require("SHA256")
	if err != nil {
		return nil, fault.WithHint(err, "the archive lists its indexes by weaker hashes alone, which isotrace does not accept")
	}
	if r.Files, err = parseSums(sums); err != nil {
		return nil, s.Errorf("SHA256", "%w", err)
	}
	if _, err := rd.Next(); err != io.EOF {
		if err == nil {
			err = fmt.Errorf("%s: more than one stanza", name)
		}
		return nil, err
	}
	return r, nil
}

func parseSums(field string) (map[string]FileSum, error) {
	files := make(map[string]FileSum)
	for line := range strings.SplitSeq(field, "\n") {
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil, fmt.Errorf("want a digest, a size and a path, have %s", quoteShort(line))
		}
		sum := artifact.Digest(words[0])
		if err := sum.Validate(); err != nil {
			return nil, err
		}
		size, err := parseSize(words[1])
		if err != nil {
			return nil, err
		}
		if err := ValidatePath(words[2]); err != nil {
			return nil, err
		}
		f := FileSum{Size: size, SHA256: sum}
		if have, ok := files[words[2]]; ok && have != f {
			return nil, fmt.Errorf("%s is listed twice, with different content", words[2])
		}
		files[words[2]] = f
		if len(files) > maxReleaseFiles {
			return nil, fmt.Errorf("more than %d files", maxReleaseFiles)
		}
	}
	return files, nil
}

// parseDate reads a date of RFC 5322 in UTC. Another zone is refused: its name
// alone does not tell how far it is from UTC.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 MST"} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if zone, offset := t.Zone(); offset != 0 || zone != "" && zone != "UTC" && zone != "GMT" && zone != "Z" {
			return time.Time{}, fmt.Errorf("date %s is not in UTC", quoteShort(s))
		}
		return t.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("date %s is not like \"Sat, 02 Mar 2024 10:11:12 UTC\"", quoteShort(s))
}

// ReleaseCheck is what a Release must fit.
type ReleaseCheck struct {
	Suite            string    // as asked for: the name below dists/
	Now              time.Time // the caller's idea of the time
	IgnoreValidUntil bool      // accept a Release that has expired
}

// MaxFuture allows for a clock that is behind by a day.
const MaxFuture = 24 * time.Hour

// Check refuses a Release that is not of the suite asked for, or not of its
// time. It returns whether an expired Release passed because the caller said so.
func (r *Release) Check(c ReleaseCheck) (expired bool, err error) {
	if !r.is(c.Suite) {
		return false, fault.New(fault.Refused, "name the suite as its archive does, or use another mirror",
			"asked for suite %s, but the Release file is of suite %q, codename %q", c.Suite, r.Suite, r.Codename)
	}
	if c.Now.IsZero() {
		return false, fmt.Errorf("check of the Release file of %s: no time is given", c.Suite)
	}
	if r.Date.After(c.Now.Add(MaxFuture)) {
		return false, fault.New(fault.Refused, "check this machine's clock",
			"the Release file of %s is from the future: %s, and it is %s", c.Suite, stamp(r.Date), stamp(c.Now))
	}
	if !r.ValidUntil.IsZero() && c.Now.After(r.ValidUntil) {
		if !c.IgnoreValidUntil {
			return false, fault.New(fault.Refused, "use a mirror that is up to date; for a snapshot of the past, accept expired Release files (it is recorded)",
				"the Release file of %s has expired: it was valid until %s", c.Suite, stamp(r.ValidUntil))
		}
		expired = true
	}
	return expired, nil
}

// is compares with the suite's name and its codename. Ubuntu gives the codename
// to all pockets of a release, so that FOCAL-updates would pass for FOCAL if
// the codename were enough.
func (r *Release) is(asked string) bool {
	if base, ok := strings.CutSuffix(asked, "/updates"); ok {
		// The security archive of Debian 10 and before.
		return (base == r.Suite || base == r.Codename) &&
			slices.ContainsFunc(r.Components, func(c string) bool { return strings.HasPrefix(c, "updates/") })
	}
	if asked == "" {
		return false
	}
	notUpdates := func(c string) bool { return !strings.HasPrefix(c, "updates/") }
	if len(r.Components) > 0 && !slices.ContainsFunc(r.Components, notUpdates) && !strings.HasSuffix(asked, "-security") {
		// The security archive of Debian 10 and before has the codename of the release itself.
		return false
	}
	return asked == r.Suite || asked == r.Codename && !strings.HasPrefix(r.Suite, r.Codename+"-")
}

// HasComponent tells whether the Release lists a component.
func (r *Release) HasComponent(name string) bool {
	return slices.Contains(r.Components, name) || slices.Contains(r.Components, "updates/"+name)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
