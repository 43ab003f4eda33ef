package diff

import (
	"bytes"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
)

type debFile struct {
	io.ReaderAt
	closed *int
}

func (f debFile) Close() error { *f.closed++; return nil }

const fooLog = `foo (1.2-1) unstable; urgency=low

  * Not yet.

 -- A <a@example.org>  Tue, 03 Feb 2026 00:00:00 +0000

foo (1.1-1) unstable; urgency=high

  * <b>Bold</b> words, and a *star*.

 -- A <a@example.org>  Mon, 02 Feb 2026 00:00:00 +0000

foo (1.0-1) unstable; urgency=low

  * Old.

 -- A <a@example.org>  Sun, 01 Feb 2026 00:00:00 +0000
`

// fooDeb is a package with documents.
func fooDeb(t *testing.T) []byte {
	t.Helper()
	news := strings.Replace(strings.Split(fooLog, "\n\nfoo (1.0")[0], "Bold", "News", 1)
	return archivetest.BuildDeb(t, "Package: foo\nVersion: 1.1-1\nArchitecture: amd64\n", "xz",
		archivetest.File{Path: "usr/share/doc/foo/changelog.Debian.gz", Content: string(archivetest.Compress(t, "gz", []byte(fooLog)))},
		archivetest.File{Path: "usr/share/doc/foo/NEWS.Debian.gz", Content: string(archivetest.Compress(t, "gz", []byte(news)))},
		archivetest.File{Path: "usr/share/doc/other/changelog.Debian", Content: strings.ReplaceAll(fooLog, "foo", "other")})
}

// debs has foo alone at hand; the toys' locks do not have its digest.
func debs(t *testing.T) OpenDeb {
	content := fooDeb(t)
	return func(p lockfile.Package) (DebFile, int64, error) {
		if p.Name != "foo" || p.SHA256 != artifact.HashBytes(content) {
			return nil, 0, fs.ErrNotExist
		}
		return debFile{bytes.NewReader(content), new(int)}, int64(len(content)), nil
	}
}

// locks returns two models whose locks have packages of one source, in two versions.
func locks(t *testing.T, names ...string) (a, b *Model) {
	t.Helper()
	was, is := newWorld(), newWorld()
	delete(was.versions, "target/foo")
	delete(is.versions, "target/foo")
	for _, n := range names {
		toyFetch["target/"+n] = "target"
		was.versions["target/"+n], is.versions["target/"+n] = "1.0-1", "1.1-1"
	}
	return was.model(t), is.model(t)
}

func TestChangelogs(t *testing.T) {
	content := fooDeb(t)
	link := archivetest.BuildDeb(t, "Package: foo-bin\nVersion: 1.1-1\nArchitecture: amd64\n", "gz", archivetest.File{Path: "usr/share/doc/foo-bin", Symlink: "foo"})
	silent := archivetest.BuildDeb(t, "Package: foo-bin\nVersion: 1.1-1\nArchitecture: amd64\n", "zst", archivetest.File{Path: "usr/share/doc/foo-bin/changelog.gz", Content: string(archivetest.Compress(t, "gz", []byte("Version 3\n\n* upstream's\n")))})
	anew := archivetest.BuildDeb(t, "Package: foo-bin\nVersion: 1.1-1\nArchitecture: amd64\n", "", archivetest.File{Path: "usr/share/doc/foo-bin/changelog.Debian.amd64", Content: strings.ReplaceAll(fooLog, "foo ", "foo-bin ")})
	for name, c := range map[string]struct {
		debs  map[string][]byte
		swap  bool // the candidate is the older one
		wrong bool // the .deb at hand is not the lock's
		state string
		news  int
		says  string
	}{
		"at hand":           {debs: map[string][]byte{"foo": content}, state: ChangelogRead, news: 1, says: "<b>Bold</b>"},
		"older":             {debs: map[string][]byte{"foo": content}, swap: true, state: ChangelogRead, news: 1, says: "<b>Bold</b>"},
		"folder is a link":  {debs: map[string][]byte{"foo": content, "foo-bin": link}, state: ChangelogRead, news: 1, says: "<b>Bold</b>"},
		"away":              {state: ChangelogAway},
		"upstream's alone":  {debs: map[string][]byte{"foo-bin": silent}, state: ChangelogSilent},
		"another .deb":      {debs: map[string][]byte{"foo": content}, wrong: true, state: ChangelogDefective},
		"no .deb":           {debs: map[string][]byte{"foo": []byte("!<arch>\nnothing")}, state: ChangelogDefective},
		"of the build anew": {debs: map[string][]byte{"foo-bin": anew}, state: ChangelogRead, says: "<b>Bold</b>"},
	} {
		names := []string{"foo", "foo-bin"}
		a, b := locks(t, names...)
		for i := range b.Lock.Target {
			if p := &b.Lock.Target[i]; c.debs[p.Name] != nil && !c.wrong {
				p.SHA256 = artifact.HashBytes(c.debs[p.Name])
			}
		}
		if c.swap {
			a, b = b, a
		}
		r, err := Compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		opened, closed := 0, 0
		err = r.AddChangelogs(t.Context(), a, b, func(p lockfile.Package) (DebFile, int64, error) {
			content, ok := c.debs[p.Name]
			if !ok {
				return nil, 0, fs.ErrNotExist
			}
			opened++
			return debFile{bytes.NewReader(content), &closed}, int64(len(content)), nil
		})
		if err != nil || opened != closed || len(r.Changelogs) != 1 {
			t.Errorf("%s: %v, %d files opened, %d closed, %d changelogs", name, err, opened, closed, len(r.Changelogs))
			continue
		}
		have := r.Changelogs[0]
		entries := 0
		if c.says != "" {
			entries = 1
		}
		if have.State != c.state || have.Undone != c.swap || len(have.News) != c.news || len(have.Entries) != entries || strings.Join(have.Packages, " ") != "foo foo-bin" {
			t.Errorf("%s: %+v", name, have)
			continue
		}
		if entries > 0 && (have.Entries[0].Version != "1.1-1" || !strings.Contains(have.Entries[0].Text, c.says)) {
			t.Errorf("%s: %+v", name, have.Entries)
		}
	}
}
