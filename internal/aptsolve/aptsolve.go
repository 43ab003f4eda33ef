// Package aptsolve asks the toolbox's apt which packages a request comes to,
// offline, on indexes that were verified before.
package aptsolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// Archive is one verified archive: its indexes and what its Release file says
// that bears on apt's choice.
type Archive struct {
	ID string
	// Packages are the uncompressed Packages indexes, as files of the host.
	Packages []string
	// Fields of the Release file.
	Origin, Label, Suite, Codename, Version string
	NotAutomatic, ButAutomaticUpgrades      bool
}

// Request says what is wanted on top of what is there.
type Request struct {
	Toolbox      string // root of the tree that holds apt
	Scratch      string // an empty folder for apt's state
	Architecture string
	Archives     []Archive // in the order of preference between equal versions
	// Status is the dpkg status file of the tree that packages are added to; empty for none.
	Status []byte
	// Packages are what apt-get install is given: names, NAME=VERSION, or
	// apt patterns such as ?essential.
	Packages   []string
	Recommends bool
	// Limits of what apt may take.
	Limits sandbox.Limits
}

// Choice is one package file of the solution.
type Choice struct {
	Archive  string // ID of the archive it comes from
	Filename string // as in the Packages index
	Size     int64
	Digest   artifact.Digest
}

const conf = `APT::Architecture "%[1]s";
APT::Architectures { "%[1]s"; };
APT::Get::Assume-Yes "true";
APT::Install-Recommends "%[2]t";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Cmd::Disable-Script-Warning "true";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "true";
Acquire::Check-Date "false";
Acquire::ForceHash "SHA256";
Dir::Etc "/tmp/etc";
Dir::Etc::SourceList "/tmp/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
Dir::State "/tmp/state";
Dir::State::status "/tmp/status";
Dir::State::extended_states "/tmp/extended_states";
Dir::Cache "/tmp/cache";
Dir::Log "/tmp/log";
Dir::Bin::dpkg "/bin/true";
quiet "2";
`

// Solve returns the package files that apt would install, sorted by archive
// and file name. Where apt finds no solution, its own explanation is the error.
func Solve(ctx context.Context, r Request) ([]Choice, error) {
	if err := prepare(r); err != nil {
		return nil, fmt.Errorf("prepare apt: %w", err)
	}
	if _, err := r.apt(ctx, "update"); err != nil {
		return nil, fmt.Errorf("read the indexes: %w", err)
	}
	args := append([]string{"install", "--print-uris", "--"}, r.Packages...)
	out, err := r.apt(ctx, args...)
	if err != nil {
		return nil, err
	}
	return r.parse(out)
}

func prepare(r Request) error {
	for _, dir := range []string{"etc", "state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(r.Scratch, dir), 0o755); err != nil {
			return err
		}
	}
	var sources strings.Builder
	for i, a := range r.Archives {
		dir := filepath.Join(r.Scratch, "repo", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := concatenate(filepath.Join(dir, "Packages"), a.Packages); err != nil {
			return err
		}
		digest, size, err := artifact.HashFile(filepath.Join(dir, "Packages"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "Release"), release(a, digest, size), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&sources, "deb [trusted=yes arch=%s] copy:/tmp/repo/%d ./\n", r.Architecture, i)
	}
	for name, b := range map[string][]byte{
		"sources.list": []byte(sources.String()),
		"status":       r.Status,
		"apt.conf":     fmt.Appendf(nil, conf, r.Architecture, r.Recommends),
	} {
		if err := os.WriteFile(filepath.Join(r.Scratch, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// release is a Release file for apt's pinning; the archive's own was verified
// when its indexes were fetched.
func release(a Archive, packages artifact.Digest, size int64) []byte {
	var b bytes.Buffer
	for _, f := range [][2]string{{"Origin", a.Origin}, {"Label", a.Label}, {"Suite", a.Suite}, {"Codename", a.Codename}, {"Version", a.Version}} {
		if f[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", f[0], strings.ReplaceAll(f[1], "\n", " "))
		}
	}
	if a.NotAutomatic {
		b.WriteString("NotAutomatic: yes\n")
	}
	if a.ButAutomaticUpgrades {
		b.WriteString("ButAutomaticUpgrades: yes\n")
	}
	fmt.Fprintf(&b, "SHA256:\n %s %d Packages\n", packages, size)
	return b.Bytes()
}

func concatenate(to string, from []string) error {
	return artifact.WriteFile(to, 0o644, func(w io.Writer) error {
		for _, path := range from {
			if err := appendFile(w, path); err != nil {
				return err
			}
		}
		return nil
	})
}

func appendFile(w io.Writer, path string) (err error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n")
	return err
}

// apt runs apt-get; its own words become the error.
func (r Request) apt(ctx context.Context, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	err := sandbox.Run(ctx, sandbox.Spec{
		Root: r.Toolbox, Temp: r.Scratch,
		Argv: append([]string{"apt-get"}, args...), Env: []string{"APT_CONFIG=/tmp/apt.conf"},
		Stdout: &stdout, Stderr: &stderr, Limits: r.Limits,
	})
	if exit, ok := errors.AsType[*sandbox.ExitError](err); ok && exit.Cause == nil {
		return nil, explain(stdout.String() + stderr.String())
	}
	return stdout.Bytes(), err
}

var unknownPackage = regexp.MustCompile(`(?m)^E: Unable to locate package (\S+)`)

// UnknownPackageError is a request for a package that no archive has.
type UnknownPackageError struct{ Name string }

func (e *UnknownPackageError) Error() string {
	return fmt.Sprintf("package %s: not in any of the archives", e.Name)
}

func explain(words string) error {
	if m := unknownPackage.FindStringSubmatch(words); m != nil {
		return &fault.Error{Class: fault.Usage, Err: &UnknownPackageError{Name: m[1]}, Hint: "check the name, and the suites and components under archives"}
	}
	var said []string
	for line := range strings.Lines(words) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "W: ") {
			said = append(said, line)
		}
	}
	if len(said) > 40 {
		said = said[len(said)-40:]
	}
	return fault.New(fault.Usage, "change the package list or the archives so that the packages can stand together",
		"apt finds no solution: %s", strings.Join(said, " / "))
}

// A line of --print-uris: 'URI' NAME SIZE SHA256:HEX
var uriLine = regexp.MustCompile(`^'copy:/tmp/repo/([0-9]+)/(?:\./)?([^']+)' \S+ ([0-9]+) SHA256:([0-9a-f]{64})$`)

func (r Request) parse(out []byte) ([]Choice, error) {
	var choices []Choice
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "'") {
			continue
		}
		m := uriLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("apt: cannot read %q", line)
		}
		i, err := strconv.Atoi(m[1])
		if err != nil || i >= len(r.Archives) {
			return nil, fmt.Errorf("apt: names an archive that it was not given: %q", line)
		}
		size, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("apt: cannot read %q: %w", line, err)
		}
		choices = append(choices, Choice{Archive: r.Archives[i].ID, Filename: m[2], Size: size, Digest: artifact.Digest(m[4])})
	}
	slices.SortFunc(choices, func(a, b Choice) int {
		return strings.Compare(a.Archive+"\x00"+a.Filename, b.Archive+"\x00"+b.Filename)
	})
	return choices, nil
}
