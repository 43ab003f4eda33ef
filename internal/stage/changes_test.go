package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// hand changes a tree, and is the test's short way to do so.
type hand struct {
	t   *testing.T
	w   *Work
	dir string
}

func (h hand) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Error(err)
	}
}

func (h hand) at(path string) string { return filepath.Join(h.dir, path) }

func (h hand) write(paths ...string) {
	for _, p := range paths {
		h.must(os.WriteFile(h.at(p), []byte("written"), 0o644))
	}
}

func (h hand) remove(paths ...string) {
	for _, p := range paths {
		h.must(os.RemoveAll(h.at(p)))
	}
}

func (h hand) mkdir(paths ...string) {
	for _, p := range paths {
		h.must(os.Mkdir(h.at(p), 0o755))
	}
}

func (h hand) by(a Actor, do func()) {
	h.t.Helper()
	h.must(h.w.By(a, func() error { do(); return nil }))
}

// changed runs stages that change one tree in turn, the first an empty one, and
// returns what the last of them says of it.
func changed(t *testing.T, turns ...func(hand)) (*Changes, []byte) {
	t.Helper()
	s, g := newStore(t), &Graph{}
	var node Node
	for i, turn := range turns {
		st := Stage{
			Name: fmt.Sprintf("turn-%d", i), Version: 1,
			Outputs: []Output{{Name: "root", Kind: KindTree}, {Name: "changes", Kind: KindFile}, {Name: "again", Kind: KindFile}},
		}
		if i > 0 {
			st.Inputs = []Input{{Name: "root", From: node.Tree("root")}}
		}
		st.Run = func(ctx context.Context, w *Work) error {
			var dir string
			var err error
			if i == 0 {
				dir, err = w.NewTree("root")
			} else {
				dir, err = w.CopyTree("root", "root")
			}
			if err != nil {
				return err
			}
			turn(hand{t, w, dir})
			return errors.Join(w.WriteChanges(ctx, "root", "changes"), w.WriteChanges(ctx, "root", "again"))
		}
		node = g.Add(st)
	}
	results, err := (&Runner{Store: s, Epoch: 1700000000}).Run(t.Context(), g, node.File("changes"), node.File("again"))
	if err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	out := results[fmt.Sprintf("turn-%d", len(turns)-1)].Outputs
	if out["changes"].File.Digest != out["again"].File.Digest {
		t.Error("written twice, the changes differ")
	}
	text, err := os.ReadFile(s.Path(out["changes"].File.Digest))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadChanges(s.Path(out["changes"].File.Digest))
	if err != nil {
		t.Fatal(err)
	}
	return c, text
}

// says compares changes with lines of "PATH ACTOR".
func says(t *testing.T, what string, have map[string]Actor, want ...string) {
	t.Helper()
	var lines []string
	for path, a := range have {
		lines = append(lines, path+" "+a.String())
	}
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("%s:\nhave %s\nwant %s", what, strings.Join(lines, "\n     "), strings.Join(want, "\n     "))
	}
}

func program(name string) Actor { return Actor{Kind: ByProgram, Name: name} }

var overlay = Actor{Kind: ByOverlay, Name: "project/x"}

// base is a tree for others to change.
func base(h hand) {
	h.mkdir("etc", "dir", "dir/sub", "remade", "remade/sub", "touched", "chmodded")
	h.write("etc/changed", "etc/chmodded", "etc/chowned", "etc/kept", "etc/linked", "etc/gone-a", "etc/gone-b", "etc/gone-stage", "etc/old", "etc/twice",
		"dir/sub/f", "remade/old", "touched/f", "etc/replaced", "etc/\xe9", "etc/pass-removed")
}

func TestFirstStageMadeAll(t *testing.T) {
	c, _ := changed(t, func(h hand) {
		h.mkdir("etc")
		h.write("etc/a")
		h.by(program("p"), func() { h.mkdir("srv"); h.write("etc/b") })
		h.w.Did("etc/c", Actor{Kind: ByLayer, Name: "one"})
		h.write("etc/c")
		h.w.Did("etc/gone", Actor{Kind: ByLayer, Name: "one"})
	})
	says(t, "changed", c.Changed, ". stage turn-0", "etc stage turn-0", "srv stage turn-0", "etc/a stage turn-0", "etc/b program p", "etc/c layer one")
	says(t, "removed", c.Removed)
	says(t, "before", c.Before)
}

func TestChangedByWhom(t *testing.T) {
	turn := func(h hand) {
		h.write("etc/before")
		h.by(program("a"), func() {
			h.write("etc/a", "etc/changed", "touched/f", "etc/passed-on")
			h.must(os.Chmod(h.at("etc/chmodded"), 0o600))
			h.must(os.Lchown(h.at("etc/chowned"), 1, 2))
			h.must(os.Chmod(h.at("chmodded"), 0o700))
			h.by(program("b"), func() { h.write("etc/b", "etc/passed-on"); h.mkdir("new") })
			h.write("etc/a-again")
			h.must(os.Rename(h.at("etc/a-again"), h.at("etc/a-renamed")))
			h.must(os.Symlink("x", h.at("etc/link")))
		})
		h.write("etc/outside", "new/f")
		h.by(program("c"), func() {
			h.must(os.Link(h.at("etc/linked"), h.at("etc/twin")))
			h.write("etc/\xe9", "etc/\xe8")
		})
		h.must(os.Remove(h.at("etc/replaced")))
		h.mkdir("etc/replaced")
	}
	c, text := changed(t, base, turn)
	says(t, "changed", c.Changed,
		"etc/before stage turn-1", "etc/a program a", "etc/changed program a", "touched/f program a", "etc/passed-on program b", "etc/chmodded program a",
		"etc/chowned program a", "etc/b program b", "new stage turn-1", "new/f stage turn-1", "etc/a-renamed program a", "etc/link program a", "etc/outside stage turn-1",
		"etc/linked program c", "etc/twin program c", "etc/\xe9 program c", "etc/\xe8 program c", "etc/replaced stage turn-1")
	says(t, "removed", c.Removed)
	says(t, "before", c.Before)
	if _, again := changed(t, base, turn); !bytes.Equal(text, again) {
		t.Errorf("another run says other things:\n%s%s", text, again)
	}
}

func TestRemovedByWhom(t *testing.T) {
	c, _ := changed(t, base, func(h hand) {
		h.remove("etc/gone-stage")
		h.by(program("a"), func() {
			h.remove("etc/gone-a")
			h.by(program("b"), func() { h.remove("etc/gone-b", "dir") })
			h.write("etc/made")
			h.remove("etc/made")
			h.remove("etc/old") // and back again
			h.write("etc/old")
		})
		h.by(program("c"), func() { h.remove("remade"); h.remove("etc/twice") })
		h.mkdir("remade")
		h.write("etc/twice")
		h.by(program("d"), func() { h.remove("etc/twice") })
	})
	says(t, "removed", c.Removed,
		"etc/gone-stage stage turn-1", "etc/gone-a program a", "etc/gone-b program b", "dir program b", "remade program c", "etc/twice program d")
	says(t, "changed", c.Changed, "remade stage turn-1", "etc/old program a")
}

// TestFoldersHiddenByALayer: what an earlier stage removed is new when it is
// made again, though a layer below still has it.
func TestFoldersHiddenByALayer(t *testing.T) {
	c, _ := changed(t, base,
		func(h hand) { h.remove("dir", "remade"); h.mkdir("remade") },
		func(h hand) { h.mkdir("dir", "dir/sub", "remade/sub", "touched/sub") })
	says(t, "changed", c.Changed, "dir stage turn-2", "dir/sub stage turn-2", "remade/sub stage turn-2", "touched/sub stage turn-2")
	says(t, "removed", c.Removed)
}

func TestPasses(t *testing.T) {
	c, _ := changed(t, base, func(h hand) {
		h.by(program("a"), func() { h.write("etc/log", "etc/old", "etc/cache", "etc/both") })
		h.w.Did("etc/overlay", overlay)
		h.write("etc/overlay")
		pass := h.w.ByPass("root")
		empty := func(path, by string) { pass(path, by); h.must(os.Truncate(h.at(path), 0)) }
		empty("etc/log", "logs")
		empty("etc/overlay", "logs")
		empty("etc/both", "one")
		empty("etc/both", "two")
		empty("etc/kept", "one") // made by an earlier stage
		empty("etc/kept", "two")
		for _, path := range []string{"etc/cache", "etc/pass-removed", "dir", "etc/nothing"} {
			pass(path, "caches")
			h.remove(path)
		}
		h.w.ByPass("root")("etc/old", "later")
		h.write("etc/old")
	})
	says(t, "changed", c.Changed, "etc/log pass logs", "etc/overlay pass logs", "etc/both pass two", "etc/kept pass two", "etc/old pass later")
	says(t, "removed", c.Removed, "etc/cache pass caches", "etc/pass-removed pass caches", "dir pass caches", "etc/nothing pass caches")
	says(t, "before", c.Before, "etc/log program a", "etc/overlay overlay project/x", "etc/both program a", "etc/cache program a", "etc/old program a")
}

func TestPassWhileAnotherHasTheTree(t *testing.T) {
	c, _ := changed(t, base, func(h hand) {
		h.by(program("a"), func() {
			h.write("etc/log")
			h.w.ByPass("root")("etc/log", "logs")
			h.must(os.Truncate(h.at("etc/log"), 0))
		})
	})
	says(t, "changed", c.Changed, "etc/log pass logs")
	says(t, "before", c.Before, "etc/log program a")
}

// TestSaidOutright: what is said of a path holds until another changes it.
func TestSaidOutright(t *testing.T) {
	script := Actor{Kind: ByScript, Name: "project/run"}
	c, _ := changed(t, base, func(h hand) {
		h.by(Actor{Kind: BySetting, Name: "overlay"}, func() {
			for _, path := range []string{"etc/said", "etc/changed", "etc/gone-a", "etc/made"} {
				h.w.Did(path, overlay)
				h.write(path)
			}
			h.w.Did("new", overlay)
			h.mkdir("new")
			h.w.Did("touched", overlay)
			h.must(os.Chmod(h.at("touched"), 0o700))
		})
		h.must(os.Chmod(h.at("etc/said"), 0o600))
		h.by(script, func() {
			h.write("etc/changed", "new/f")
			h.remove("etc/gone-a", "etc/made")
		})
	})
	says(t, "changed", c.Changed, "etc/said overlay project/x", "etc/changed script project/run", "new overlay project/x", "new/f script project/run", "touched overlay project/x")
	says(t, "removed", c.Removed, "etc/gone-a script project/run")
}

func TestByPassesErrorsOn(t *testing.T) {
	wrong := errors.New("on purpose")
	c, _ := changed(t, base, func(h hand) {
		if err := h.w.By(program("a"), func() error { h.write("etc/a"); return wrong }); !errors.Is(err, wrong) {
			t.Errorf("have %v", err)
		}
		h.write("etc/b")
	})
	says(t, "changed", c.Changed, "etc/a program a", "etc/b stage turn-1")
}

// TestSpans asks for the shortest span about a time: scripts are told of when
// they are over, and lie within the program's that runs them.
func TestSpans(t *testing.T) {
	var log strings.Builder
	w := &Work{Log: &log, node: &node{Stage: &Stage{Name: "install"}}}
	w.who.spans = []span{{program("dpkg"), 10, 100}, {program("late"), 200, 0}}
	w.script(sandbox.Script{Package: "a", Name: "preinst", Start: 20, End: 25, Folders: []string{"srv"}, Ended: 2})
	w.script(sandbox.Script{Package: "b", Name: "postinst", Args: []string{"configure", "1"}, Start: 30, End: 40, Folders: []string{"srv", "opt"}})
	for ctime, want := range map[int64]string{
		5: "stage install", 10: "stage install", 11: "program dpkg", 21: "a's preinst", 25: "a's preinst", 26: "program dpkg", 31: "b's postinst configure",
		40: "b's postinst configure", 41: "program dpkg", 100: "program dpkg", 101: "stage install", 201: "program late",
	} {
		if have := w.at(ctime).actor.String(); have != want {
			t.Errorf("%d: have %q, want %q", ctime, have, want)
		}
	}
	folder := &unix.Stat_t{Mode: unix.S_IFDIR}
	w.who.explicit = map[string]said{"opt": {overlay, 35}, "srv": {overlay, 15}}
	for name, want := range map[string]string{"srv": "b's postinst configure", "opt": "overlay project/x", "etc": "stage install"} {
		if who, known := w.changer(name, folder); who.String() != want || known == (name == "etc") {
			t.Errorf("%s: %s, %v", name, who, known)
		}
	}
	if want := "isotrace: a's preinst left 2 processes behind, which were ended\n"; log.String() != want {
		t.Errorf("log: %q", log.String())
	}
}

func TestActorInWords(t *testing.T) {
	for want, a := range map[string]Actor{
		"stage install":          {Kind: ByStage, Name: "install"},
		"sudo's postinst":        {Kind: ByPackage, Name: "sudo", Script: "postinst"},
		"sudo's prerm remove":    {Kind: ByPackage, Name: "sudo", Script: "prerm", Action: "remove"},
		"layer " + digestOf("x"): {Kind: ByLayer, Name: digestOf("x")},
	} {
		if have := a.String(); have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
}

func digestOf(s string) string { return string(artifact.HashBytes([]byte(s))) }

const goodChanges = `{"format":1,"actors":[{"kind":"package","name":"a","script":"postinst","action":"configure"},{"kind":"pass","name":"logs"}],` +
	`"changed":[{"path":"etc/�","bytes":"ZXRjL+k=","by":0},{"path":"var/log","by":1}],"removed":[{"path":"x","by":0}],"before":[]}` + "\n"

func TestReadChanges(t *testing.T) {
	c, err := decodeChanges([]byte(goodChanges))
	if err != nil {
		t.Fatal(err)
	}
	says(t, "changed", c.Changed, "etc/\xe9 a's postinst configure", "var/log pass logs")
	says(t, "removed", c.Removed, "x a's postinst configure")
	for name, c := range map[string]struct{ old, new, text string }{
		"format":        {`"format":1`, `"format":2`, "format 2 is not known"},
		"no format":     {`"format":1,`, ``, "format 0 is not known"},
		"field":         {`"format":1`, `"format":1,"more":1`, "more"},
		"actor's field": {`"name":"logs"`, `"name":"logs","uid":0`, "uid"},
		"index":         {`"by":1}`, `"by":2}`, "var/log: there is no actor 2"},
		"negative":      {`"by":1}`, `"by":-1}`, "var/log: there is no actor -1"},
		"fraction":      {`"by":1}`, `"by":1.5}`, "changes: "},
		"twice":         {`{"path":"x","by":0}`, `{"path":"x","by":0},{"path":"x","by":1}`, "not written as"},
		"order":         {`[{"path":"x","by":0}]`, `[{"path":"x","by":0},{"path":"a","by":0}]`, "not written as"},
		"blanks":        {`"before":`, `"before": `, "not written as"},
		"idle actor":    {`{"kind":"pass","name":"logs"}`, `{"kind":"pass","name":"logs"},{"kind":"pass","name":"z"}`, "not written as"},
		"UTF-8 twice":   {`"ZXRjL+k="`, `"ZXRjL2U="`, "not written as"},
		"no bytes":      {`"bytes":"ZXRjL+k=",`, `"bytes":"",`, "not written as"},
		"second":        {"\n", "\n" + goodChanges, "not written as"},
		"garbage after": {"\n", "\nx", "not written as"},
		"cut off":       {"]}\n", "", "unexpected EOF"},
		"empty":         {goodChanges, "", "EOF"},
		"null":          {goodChanges, "null\n", "format 0"},
		"garbage":       {goodChanges, "\x1f\x8b\x00", "invalid character"},
		"list":          {goodChanges, "[]\n", "changes: "},
	} {
		bad := strings.Replace(goodChanges, c.old, c.new, 1)
		if _, err := decodeChanges([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %q", name, err, c.text)
		}
	}
	if _, err := ReadChanges(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzReadChanges(f *testing.F) {
	f.Add([]byte(goodChanges))
	f.Add([]byte(`{"format":1,"actors":[],"changed":[],"removed":[],"before":[]}` + "\n"))
	f.Add([]byte(`{"format":1,"actors":null,"changed":[{"path":"a","by":0}]}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChanges(b)
		if err != nil {
			return
		}
		again, err := c.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("read %q, written %q, %v", b, again, err)
		}
	})
}

// TestFoldersThatWereLinks: whether a folder was there before is not looked up through
// links of the tree, which may lead to the host.
func TestFoldersThatWereLinks(t *testing.T) {
	outside := t.TempDir()
	if err := os.MkdirAll(filepath.Join(outside, "sub/below"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, _ := changed(t, func(h hand) {
		h.must(os.Symlink(outside, h.at("d")))
		h.must(os.Symlink("../../../../../../../../.."+outside, h.at("e")))
	}, func(h hand) {
		h.remove("d", "e")
		h.mkdir("d", "d/sub", "d/sub/below", "d/other", "e", "e/sub")
	})
	says(t, "changed", c.Changed, "d stage turn-1", "d/other stage turn-1", "d/sub stage turn-1", "d/sub/below stage turn-1", "e stage turn-1", "e/sub stage turn-1")
}
