package stages

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
)

// lay makes files below dir.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// have are the files below dir.
func have(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		files[strings.TrimPrefix(p, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func sums(lock string, images ...string) string {
	text := fmt.Sprintf("%064x  isotrace.lock\n", len(lock))
	for _, i := range images {
		text += fmt.Sprintf("%064x  ../%s\n", 1, i)
	}
	return text
}

func output(lock string, images ...string) map[string]string {
	files := map[string]string{"evidence/SHA256SUMS": sums(lock, images...), "evidence/SHA256SUMS.sig": lock, "evidence/isotrace.lock": lock, "evidence/links/iso.11111111.link": lock}
	for _, i := range images {
		files[i] = lock
	}
	return files
}

func with(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

var (
	besideIt  = map[string]string{"journal/times.json": `{"host":{},"stages":{}}`, "boot/console": "c", "report/x": "r", "loads/l": "l"}
	releaseOf = map[string]string{"SHA256SUMS": fmt.Sprintf("%064x  evidence/SHA256SUMS\n%064x  release/policy.json\n", 1, 1), "SHA256SUMS.sig": "s", "x.iso.sig": "s", "release/policy.json": "p"}
)

// outFolder is where an output is, in a folder of its own.
func outFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	lay(t, out, files)
	return out
}

func draftIn(t *testing.T, out string, files map[string]string) string {
	t.Helper()
	draft, err := os.MkdirTemp(out, provenance.DraftPrefix+"*")
	if err != nil {
		t.Fatal(err)
	}
	lay(t, draft, files)
	return draft
}

func TestPublish(t *testing.T) {
	old, again, other := output("one", "x.iso", "x.vhd"), output("one", "x.iso", "x.vhd"), output("another", "x.iso")
	rebuilt := map[string]string{"evidence/links/iso.12345678.link": "another builder's"}
	for name, c := range map[string]struct {
		before, draft, after map[string]string
		replace, refused     bool
	}{
		"first":                      {before: besideIt, draft: old, after: with(old, besideIt)},
		"nothing there":              {draft: old, after: old},
		"other evidence":             {before: with(old, besideIt), draft: other, after: with(other, besideIt)},
		"the same again":             {before: with(with(old, besideIt), rebuilt), draft: again, after: with(with(again, besideIt), rebuilt)},
		"the same, released":         {before: with(with(old, releaseOf), rebuilt), draft: again, after: with(with(again, releaseOf), rebuilt)},
		"other evidence, released":   {before: with(old, releaseOf), draft: other, after: with(old, releaseOf), refused: true},
		"as was asked for, released": {before: with(with(old, releaseOf), besideIt), draft: other, after: with(other, besideIt), replace: true},
	} {
		for _, how := range []string{"in one step", "one by one"} {
			out := outFolder(t, c.before)
			draft := draftIn(t, out, c.draft)
			r, err := (&Session{ReplaceRelease: c.replace}).replacing(draft, out)
			switch {
			case err != nil:
			case how == "one by one": // as where the folder is a mount point
				err = r.oneByOne()
			default:
				var done bool
				if done, err = r.atOnce(); err == nil && !done {
					t.Errorf("%s: not done in one step", name)
				}
			}
			if (err != nil) != c.refused || err != nil && (fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "--replace-release")) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			if err := os.RemoveAll(draft); err != nil { // as Build does
				t.Error(err)
			}
			if have := have(t, out); !maps.Equal(have, c.after) {
				t.Errorf("%s, %s:\nhave %v\nwant %v", name, how, slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(c.after)))
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("%s, %s: left beside: %v, %v", name, how, left, err)
			}
			if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o755 {
				t.Errorf("%s, %s: %v, %v", name, how, st.Mode(), err)
			}
		}
	}
}

// TestPublishFails: what was there is there again.
func TestPublishFails(t *testing.T) {
	old := with(output("one", "x.iso"), besideIt)
	out := outFolder(t, old)
	draft := draftIn(t, out, output("another", "x.iso"))
	r, err := (&Session{}).replacing(draft, out)
	if err != nil {
		t.Fatal(err)
	}
	r.made = append(r.made, "missing")
	if err := r.oneByOne(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(draft); err != nil {
		t.Fatal(err)
	}
	if have := have(t, out); !maps.Equal(have, old) {
		t.Errorf("have %v\nwant %v", have, old)
	}
}

// TestSweep: what a killed build had set aside is put back, unless the new output stands.
func TestSweep(t *testing.T) {
	old, other := output("one", "x.iso"), output("another", "x.iso")
	for name, c := range map[string]struct{ out, aside, after map[string]string }{
		"set aside":          {out: besideIt, aside: old, after: with(old, besideIt)},
		"half moved":         {out: map[string]string{"x.iso": "another"}, aside: old, after: old},
		"done but for this":  {out: other, aside: old, after: other},
		"nothing set aside":  {out: old, after: old},
		"evidence set aside": {out: map[string]string{"x.iso": "one"}, aside: map[string]string{"evidence/SHA256SUMS": old["evidence/SHA256SUMS"]}, after: map[string]string{"x.iso": "one", "evidence/SHA256SUMS": old["evidence/SHA256SUMS"]}},
	} {
		out := outFolder(t, c.out)
		draft := draftIn(t, out, map[string]string{"x.vhd": ""})
		for n, text := range c.aside {
			lay(t, draft, map[string]string{filepath.Join(aside, n): text})
		}
		beside := filepath.Dir(out)
		lay(t, beside, map[string]string{".isotrace-draft-out.123/new/x.iso": "", ".isotrace-draft-out.x.123/new/x.iso": "", ".isotrace-draft-outer.1/x": "", "out.x/x": ""})
		if err := sweep(out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if have := have(t, out); !maps.Equal(have, c.after) {
			t.Errorf("%s:\nhave %v\nwant %v", name, have, c.after)
		}
		for n, want := range map[string]bool{".isotrace-draft-out.123": false, ".isotrace-draft-out.x.123": true, ".isotrace-draft-outer.1": true, "out.x": true} {
			if _, err := os.Stat(filepath.Join(beside, n)); (err == nil) != want {
				t.Errorf("%s: %s: %v", name, n, err)
			}
		}
	}
}

func TestCheckOutput(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"nothing":   {},
		"a build":   {files: with(output("one", "x.iso"), besideIt)},
		"a project": {files: map[string]string{"isotrace.yaml": "", "keys/builder.key": "", "release/a": ""}, says: `holds "isotrace.yaml" and 2 more, which isotrace did not make`},
		"one file":  {files: map[string]string{"evidence/photo": ""}, says: `holds "evidence", which isotrace did not make`},
	} {
		out := outFolder(t, c.files)
		err := CheckOutput(out)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || fault.ClassOf(err) != fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if have := have(t, out); !maps.Equal(have, c.files) && len(have)+len(c.files) > 0 {
			t.Errorf("%s: it was changed: %v", name, have)
		}
	}
}
