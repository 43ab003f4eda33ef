package baseline

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
)

func newKey(t *testing.T) *provenance.Signer {
	t.Helper()
	private, _, err := provenance.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := provenance.LoadSigner("test", private, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hash(s string) artifact.Digest { return artifact.HashBytes([]byte(s)) }

// sample is an entry with something of everything.
func sample(n int) *Entry {
	e := &Entry{
		Format: Format, Number: n, Name: fmt.Sprintf("toy-%d", n), Product: "toy", Release: fmt.Sprint(n), Date: "2026-01-02T03:04:05Z",
		Images:   []artifact.Ref{{Path: "toy.iso", Digest: hash(fmt.Sprint("iso ", n)), Size: 7}},
		Evidence: hash(fmt.Sprint("evidence ", n)), ReleaseSums: hash(fmt.Sprint("sums ", n)), Config: hash("config"), Lock: hash(fmt.Sprint("lock ", n)),
		Signers:      Signers{Builder: strings.Repeat("ab", 32), Release: strings.Repeat("cd", 32)},
		Requirements: []Requirement{{"R-1", true, hash("r1")}, {"R-2", n > 1, hash(fmt.Sprint("r2 ", n))}},
		Affected:     []string{}, Problems: []string{fmt.Sprintf("PR-%d", n)},
		Packages: []Package{{"target", fmt.Sprintf("foo:amd64=1.%d-1", n), "foo-src", fmt.Sprintf("1.%d-1", n), hash(fmt.Sprint("foo ", n))}, {"target", "tzdata:all=1", "tzdata", "1", ""}, {"tools", "xz-utils:amd64=5", "xz-utils", "5", hash("xz")}},
	}
	return e
}

func packed(t *testing.T, text string) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll([]byte(text), nil)
}

// register makes one of three baselines.
func register(t *testing.T, s *provenance.Signer) string {
	t.Helper()
	dir := t.TempDir()
	for n := 1; n <= 3; n++ {
		r := open(t, dir, s)
		e := sample(n)
		if n > 1 {
			e.Previous, e.Replaces = &File{r.Entries[n-2].stem() + entrySuffix, r.Head}, r.Entries[n-2].Name
			e.affect(r.Entries[n-2])
		} else {
			e.affect(nil)
		}
		index := packed(t, string(hash("file"))+"  root:/usr/bin/x\n"+string(hash(fmt.Sprint("file ", n)))+"  root:/usr/bin/y\n")
		e.Files = Index{File{e.stem() + indexSuffix, artifact.HashBytes(index)}, 2}
		e.Signers.Register = s.Public().KeyID()
		if err := r.write(e, index, s); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, dir string, s *provenance.Signer) *Register {
	t.Helper()
	r, err := Open(dir, []*provenance.PublicKey{s.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegister(t *testing.T) {
	s := newKey(t)
	if r := open(t, filepath.Join(t.TempDir(), "none"), s); len(r.Entries) != 0 || r.Refused() != nil || r.Head != "" {
		t.Errorf("no folder: %+v", r)
	}
	r := open(t, register(t, s), s)
	if err := r.Refused(); err != nil || len(r.Entries) != 3 || r.Head == "" {
		t.Fatalf("%v, %d entries", r.Problems, len(r.Entries))
	}
	for i, want := range [][]string{{"R-1", "R-2"}, {"R-2"}, {"R-2"}} {
		if have := r.Entries[i].Affected; !reflect.DeepEqual(have, want) {
			t.Errorf("baseline %d affects %v, want %v", i+1, have, want)
		}
	}
	for query, want := range map[string]string{
		"foo": "toy-1 package, toy-2 package, toy-3 package", "foo=1.2-1": "toy-2 package", "foo:amd64": "toy-1 package, toy-2 package, toy-3 package", "foo:i386": "",
		"foo-src=1.3-1": "toy-3 package", "xz-utils": "toy-1 package, toy-2 package, toy-3 package", "tzdata=2": "", "fo": "",
		string(hash("foo 2")): "toy-2 package", string(hash("iso 3")): "toy-3 image", "sha256:" + string(hash("file")): "toy-1 file, toy-2 file, toy-3 file",
		string(hash("file 1")): "toy-1 file", string(hash("sums 2")): "toy-2 evidence", string(hash("lock 1")): "toy-1 evidence", string(hash("none")): "",
	} {
		hits, err := r.Which(query)
		var have []string
		for _, h := range hits {
			have = append(have, h.Baseline+" "+h.Kind)
		}
		if err != nil || strings.Join(have, ", ") != want {
			t.Errorf("%s: have %v, want %s, %v", query, have, want, err)
		}
	}
	for _, bad := range []string{"", "foo=", "=1"} {
		if _, err := r.Which(bad); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestTampered changes a register in every way that can be seen.
func TestTampered(t *testing.T) {
	s, other := newKey(t), newKey(t)
	remove := func(names ...string) func(string) error {
		return func(dir string) error {
			for _, n := range names {
				if err := os.Remove(filepath.Join(dir, n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	edit := func(name, from, to string) func(string) error {
		return func(dir string) error {
			file := filepath.Join(dir, name)
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if !strings.Contains(string(text), from) {
				return fmt.Errorf("%s: has no %q", name, from)
			}
			return os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o644)
		}
	}
	resign := func(name, from, to string, by *provenance.Signer) func(string) error {
		return func(dir string) error {
			if err := edit(name, from, to)(dir); err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			sig, err := by.SignDetached(text)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name+".sig"), sig, 0o644)
		}
	}
	copied := func(from, to string) func(string) error {
		return func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, from))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, to), text, 0o644)
		}
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string // "" where nothing can be seen
	}{
		"an entry changed":           {edit("0002-toy-2.json", "PR-2", "PR-9"), "0002-toy-2.json: is not signed by key "},
		"changed and signed again":   {resign("0002-toy-2.json", "PR-2", "PR-9", s), "0002-toy-2.json: has changed since 0003-toy-3.json was added"},
		"signed by another":          {resign("0003-toy-3.json", "PR-3", "PR-9", other), "0003-toy-3.json: is not signed by key "},
		"an entry in another form":   {edit("0003-toy-3.json", "{\n", "{ \n"), "0003-toy-3.json: is not written as isotrace baseline writes one"},
		"an unknown field":           {edit("0003-toy-3.json", `"format": 1,`, `"format": 1, "x": 1,`), `0003-toy-3.json: json: unknown field "x"`},
		"an entry removed":           {remove("0002-toy-2.json", "0002-toy-2.json.sig", "0002-toy-2.files.zst"), "0002: the entry is missing"},
		"the first removed":          {remove("0001-toy-1.json", "0001-toy-1.json.sig", "0001-toy-1.files.zst"), "0001: the entry is missing"},
		"the last removed":           {remove("0003-toy-3.json", "0003-toy-3.json.sig", "0003-toy-3.files.zst"), ""},
		"the last one's rest":        {remove("0003-toy-3.json"), "0003: the entry is missing"},
		"a signature removed":        {remove("0001-toy-1.json.sig"), "0001-toy-1.json: its signature: is missing"},
		"a signature of another":     {copied("0001-toy-1.json.sig", "0002-toy-2.json.sig"), "0002-toy-2.json: is not signed by key "},
		"an index removed":           {remove("0001-toy-1.files.zst"), "0001-toy-1.files.zst: is missing"},
		"an index of another":        {copied("0001-toy-1.files.zst", "0002-toy-2.files.zst"), "0002-toy-2.files.zst: its SHA-256 is "},
		"an entry twice":             {copied("0002-toy-2.json", "0002-toy-b.json"), "0002-toy-b.json: there are two entries of that number"},
		"an entry at the end":        {copied("0002-toy-2.json", "0004-toy-2.json"), "0004-toy-2.json: says that it is 0002-toy-2"},
		"a stray":                    {copied("0002-toy-2.json.sig", "0002-toy-b.json.sig"), "0002-toy-b.json.sig: is no file of 0002-toy-2"},
		"another file":               {copied("0002-toy-2.json", "notes.txt"), "notes.txt: is no file of the register"},
		"what version control needs": {copied("0002-toy-2.json", ".gitattributes"), ""},
		"a link in an entry's place": {func(dir string) error {
			return errorsOf(remove("0001-toy-1.files.zst")(dir), os.Symlink("/etc/passwd", filepath.Join(dir, "0001-toy-1.files.zst")))
		}, "0001-toy-1.files.zst: is no"},
		"signed, and of another's name": {resign("0003-toy-3.json", s.Public().KeyID(), other.Public().KeyID(), s), "0003-toy-3.json: is signed by "},
	} {
		dir := register(t, s)
		if err := c.change(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := open(t, dir, s)
		var have []string
		for _, p := range r.Problems {
			have = append(have, p.String())
		}
		all := strings.Join(have, "\n")
		if c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: want %q, have %q", name, c.want, have)
		}
		if err := r.Refused(); c.want != "" && fault.ClassOf(err) != fault.Refused {
			t.Errorf("%s: is not refused: %v", name, err)
		}
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestUnfinished adds after an addition that was killed before its entry was there.
func TestUnfinished(t *testing.T) {
	s := newKey(t)
	dir := register(t, s)
	for _, f := range []string{"0004-toy-4.files.zst", "0004-toy-4.json.sig"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, dir, s)
	if r.Refused() == nil {
		t.Error("leftovers are not noticed")
	}
	if err := r.unfinished(); err != nil || r.Refused() != nil {
		t.Errorf("%v, %v", err, r.Problems)
	}
	if r := open(t, dir, s); r.Refused() != nil || len(r.Entries) != 3 {
		t.Errorf("%v", r.Problems)
	}
}

func TestDate(t *testing.T) {
	epoch := sampleTime(t)
	for said, want := range map[string]string{
		"": "2026-01-02T03:04:05Z", "2026-02-03": "2026-02-03T00:00:00Z", "2026-02-03T04:05:06+02:00": "2026-02-03T02:05:06Z", "yesterday": "", "2026-02-30": "",
	} {
		have, err := date(said, epoch)
		if have != want || (want == "") != (fault.ClassOf(err) == fault.Usage && err != nil) {
			t.Errorf("%q: have %q, want %q, %v", said, have, want, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"number": func(e *Entry) { e.Number = 0 }, "name": func(e *Entry) { e.Name = "../x" }, "date": func(e *Entry) { e.Date = "2026-01-02" },
		"zone": func(e *Entry) { e.Date = "2026-01-02T03:04:05+01:00" }, "previous": func(e *Entry) { e.Previous = &File{"0001-x.json", hash("")} },
		"no previous": func(e *Entry) { e.Number = 2 }, "index": func(e *Entry) { e.Files.File.File = "/etc/passwd" }, "images": func(e *Entry) { e.Images = nil },
		"image": func(e *Entry) { e.Images[0].Path = "../toy.iso" }, "digest": func(e *Entry) { e.Evidence = "x" }, "package": func(e *Entry) { e.Packages[0].SHA256 = "x" },
		"problem": func(e *Entry) { e.Problems = []string{"a\nb"} }, "order": func(e *Entry) { e.Packages[0], e.Packages[1] = e.Packages[1], e.Packages[0] },
		"format": func(e *Entry) { e.Format = 2 }, "requirement": func(e *Entry) { e.Requirements[0].SHA256 = "" },
	} {
		e := sample(1)
		e.Files = Index{File{e.stem() + indexSuffix, hash("index")}, 1}
		text, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(text); err != nil {
			t.Fatalf("as it is: %v", err)
		}
		change(e)
		if text, err = e.encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := decode(text); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for n := 1; n <= 2; n++ {
		e := sample(n)
		if n > 1 {
			e.Previous = &File{"0001-toy-1.json", hash("previous")}
		}
		e.Files = Index{File{e.stem() + indexSuffix, hash("index")}, 1}
		text, err := e.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format": 1, "previous": {"file": "0001-x.json"}, "packages": null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := decode(text)
		if err != nil {
			return
		}
		again, err := e.encode()
		if err != nil || string(again) != string(text) {
			t.Errorf("%v\n%s", err, again)
		}
		_, _ = (&Register{}).Which("foo") // must not panic
		for _, p := range e.Packages {
			p.is("foo", "1")
		}
	})
}

func FuzzIndex(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	want := hash("file")
	f.Add(enc.EncodeAll([]byte(string(want)+"  root:/x\n"), nil))
	f.Add([]byte("no zstd"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if name, ok, err := findIn(text, want); ok && err != nil {
			t.Errorf("%q, %v", name, err)
		}
	})
}

func sampleTime(t *testing.T) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, sample(1).Date)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
