package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
)

// given is where the target sees what the stage gives it.
const given = "/run/isotrace/in/given/"

// aptConf keeps everything that apt writes, but for the packages and its list
// of automatic ones, in the sandbox's /tmp. The repository is trusted because
// each of its files was checked against the lock.
const aptConf = `APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Cmd::Disable-Script-Warning "true";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "true";
Acquire::Check-Date "false";
Dir::Etc::SourceList "` + given + `sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "/tmp/lists";
Dir::Cache "/tmp/cache";
Dir::Log "/tmp/log";
DPkg::Use-Pty "false";
DPkg::Options {"--force-unsafe-io"; "--force-confdef"; "--force-confold"; };
Dpkg::Progress-Fancy "0";
quiet "1";
`

// writeRepository makes a repository of the locked .debs, and of nothing else,
// for the target's apt: it can then install what is locked or fail. The .debs are the
// store's own files: no script may write to them.
func writeRepository(ctx context.Context, w *stage.Work) error {
	repo := filepath.Join(w.Given(), "repo")
	if err := os.Mkdir(repo, 0o755); err != nil {
		return err
	}
	var packages strings.Builder
	for _, ref := range w.Set("debs") {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		at := filepath.Join(repo, ref.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.Link(w.Content(ref), at); err != nil {
			return err
		}
		stanza, err := deb.IndexEntry(w.Content(ref), ref)
		if err != nil {
			return fmt.Errorf("%s: %w", ref.Path, err)
		}
		packages.WriteString(stanza)
	}
	for name, text := range map[string]string{
		"repo/Packages": packages.String(),
		"sources.list":  "deb [trusted=yes] file:" + given + "repo ./\n",
		"apt.conf":      aptConf,
	} {
		if err := artifact.WriteBytes(filepath.Join(w.Given(), name), 0o644, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// Installed reads the packages that dpkg has configured in the tree, as
// NAME:ARCH=VERSION, sorted. A package in any other state is an error.
func Installed(root *os.Root) (_ []string, err error) {
	f, err := regular.Open(root, "var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var have []string
	r := deb822.NewReader(f, "var/lib/dpkg/status")
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name, status := s.Get("Package"), s.Get("Status")
		switch {
		case strings.HasSuffix(status, " ok installed"):
			have = append(have, name+":"+s.Get("Architecture")+"="+s.Get("Version"))
		case strings.HasSuffix(status, " ok config-files"), strings.HasSuffix(status, " ok not-installed"):
		default:
			return nil, fmt.Errorf("package %s is left in state %q", name, status)
		}
	}
	slices.Sort(have)
	return have, nil
}

// compare returns what stands only in want and what stands only in have.
func compare(want, have []string) (missing, extra []string) {
	for _, w := range want {
		if _, ok := slices.BinarySearch(have, w); !ok {
			missing = append(missing, w)
		}
	}
	for _, h := range have {
		if !slices.Contains(want, h) {
			extra = append(extra, h)
		}
	}
	return missing, extra
}
