package desk

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/printable"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/report"
)

func digest(s string) artifact.Digest { return artifact.HashBytes([]byte(s)) }

func ptr[T any](v T) *T { return &v }

// The texts of outsiders: what a page must not take for markup, a command or an order.
const (
	markup = `<img src=x onerror="document.title='owned'">`
	closer = `</script><script>document.title='owned'</script>`
	bidi   = "safe\u202etxt.exe"
	bell   = "bell\x07\x1b[31m\u0085"
	broken = "caf\xe9\n2"
)

// image makes evidence of an image: packages of a chain, and files of theirs besides
// those of outsiders' names, files in all.
func image(t testing.TB, packages, files int) Input {
	t.Helper()
	index := artifact.Ref{Path: "dists/x/main/binary-amd64/Packages.xz", Digest: digest("index"), Size: 1000}
	head := trace.Head{
		Format: trace.Format, Name: "rescue " + markup, Release: "1.0",
		Archives: []trace.Suite{{ID: "debian/x", Date: "2026-01-01T00:00:00Z", Release: artifact.Ref{Path: "dists/x/InRelease", Digest: digest("release"), Size: 100}, Signers: []string{"ABCDEF"}, Indexes: []artifact.Ref{index}}},
		Actors: []trace.Actor{
			{Stage: "livetree", Actor: stage.Actor{Kind: stage.ByStage, Name: "livetree"}},
			{Stage: "install", Actor: stage.Actor{Kind: stage.ByPackage, Name: "pkg-0001", Script: "postinst", Action: "configure"}, Package: ptr(1)},
			{Stage: "customise", Actor: stage.Actor{Kind: "overlay", Name: "project/files/etc/motd"}},
		},
		Requirements: []trace.Requirement{{ID: "REQ-1", Title: "Boots " + bidi, Text: closer, Places: []string{"packages[0]"}, Files: []string{"project/files"}}},
		Findings:     []trace.Finding{{Rule: "dpkg-database", Path: "etc/" + bell, Text: markup}},
		Removed:      []trace.Removed{{Path: "usr/share/" + broken, Package: 0, By: ptr(0)}},
	}
	for n := range packages {
		name := fmt.Sprintf("pkg-%04d", n)
		p := trace.Package{Name: name, Architecture: "amd64", Version: fmt.Sprintf("1.%d-1", n), Source: name, SourceVersion: "1", Set: "target", Origin: trace.Archive,
			Archive: "debian/x", Path: "pool/main/p/" + name + ".deb", Size: int64(1000 + n), SHA256: digest(name), Why: "needed", Licence: "MIT"}
		if n > 0 { // a tree of three branches
			parent := &head.Packages[(n-1)/3]
			parent.Needs = append(parent.Needs, n)
			p.Requirements = []trace.Serves{{ID: "REQ-1", Path: append(append([]int{}, parent.Requirements[0].Path...), n)}}
		} else {
			p.Asked, p.Requirements = []string{"packages[0]: pkg-0000"}, []trace.Serves{{ID: "REQ-1", Path: []int{0}}}
		}
		head.Packages = append(head.Packages, p)
	}
	root := []trace.Origin{
		{Path: ".", Type: roottree.Dir, Kind: trace.Archive, Package: ptr(0)},
		{Path: "etc", Type: roottree.Dir, Kind: trace.Archive, Package: ptr(0)},
		{Path: "etc/motd", Type: roottree.File, Kind: trace.Overlay, By: ptr(2), SHA256: digest("motd"), Size: 12},
		{Path: "etc/passwd", Type: roottree.File, Kind: trace.Modified, Package: ptr(0), By: ptr(1), SHA256: digest("passwd"), Size: 900, Was: &trace.Was{SHA256: digest("before"), Mode: "0644"}},
		{Path: "etc/" + markup, Type: roottree.File, Kind: trace.Generated, By: ptr(1), SHA256: digest("markup"), Size: 7},
		{Path: "etc/" + bidi, Type: roottree.Link, Kind: trace.Archive, Package: ptr(0), Target: bell},
		{Path: "etc/" + broken, Type: roottree.File, Kind: trace.Unexplained, Allowed: closer, SHA256: digest("broken"), Size: 8},
	}
	for n := len(root); n < files-1; n++ {
		p := n % packages
		name := fmt.Sprintf("usr/share/pkg-%04d/some-folder-%d/another-%d/file-with-a-name-%06d.conf", p, n%7, n%11, n)
		root = append(root, trace.Origin{Path: name, Type: roottree.File, Size: int64(100 + n*n%40_000), SHA256: digest(name), Kind: trace.Archive, Package: &p})
	}
	parts := map[string][]trace.Origin{
		trace.PartRoot:   root,
		trace.PartMedium: {{Path: "casper/filesystem.squashfs", Type: roottree.File, Kind: trace.Stage, SHA256: digest("squashfs"), Size: 5000, By: ptr(0)}},
	}
	dir := t.TempDir()
	at := filepath.Join(dir, provenance.EvidenceDir, provenance.TraceDir)
	must(t, os.MkdirAll(at, 0o755))
	for _, name := range trace.Parts {
		var b bytes.Buffer
		p, err := trace.WritePart(&b, name, parts[name])
		must(t, err)
		head.Parts = append(head.Parts, p)
		must(t, os.WriteFile(filepath.Join(at, name+trace.Suffix), b.Bytes(), 0o644))
	}
	text, err := head.Encode()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(at, trace.HeadFile), text, 0o644))
	private, public, err := provenance.GenerateKeyPair([]byte("pw"))
	must(t, err)
	signer, err := provenance.LoadSigner("k", private, []byte("pw"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, provenance.EvidenceDir, provenance.BuilderKey), public, 0o644))
	must(t, provenance.WriteSums(filepath.Join(dir, provenance.EvidenceDir), []artifact.Ref{{Path: "rescue.iso", Digest: digest("iso")}}, signer))
	tracing, err := provenance.OpenTracing(dir, nil)
	must(t, err)
	t.Cleanup(func() { must(t, tracing.Close()) })
	return Input{Tracing: tracing, Size: 123_456_789, Verdict: found(tracing.KeyID), Documents: documents()}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// found is a verdict with a check in each state.
func found(key string) provenance.Result {
	rec := func(name string, from map[string]artifact.Digest, argv ...string) provenance.SignedLink {
		r := stage.Record{Name: name, Version: 1, Params: json.RawMessage(`{"level":3}`), Materials: from, Products: map[string]artifact.Digest{name + "/out": digest(name)}}
		if len(argv) > 0 {
			r.Commands = []tool.Command{{Argv: argv}}
		}
		return provenance.SignedLink{File: "links/" + name + ".link", Signer: key, Record: r}
	}
	return provenance.Result{
		Image: "rescue.iso", Digest: digest("iso"), KeyID: key, KeyFromBundle: true, ExpiredAccepted: []string{"debian/old"},
		Checks: []provenance.Check{
			{Rule: "evidence", State: provenance.Valid, What: "67 files match"},
			{Rule: "links", State: provenance.Invalid, Problems: []provenance.Problem{{File: "links/" + bell, Detail: markup}}},
			{Rule: "time", State: provenance.CannotTell, What: "no authority says when"},
			{Rule: "release", State: provenance.Expired, What: "a timestamp shows that it held"},
		},
		Links: []provenance.SignedLink{
			rec("install", map[string]artifact.Digest{"project/isotrace.lock": digest("lock")}, "apt-get", "install", closer),
			rec("customise", map[string]artifact.Digest{"install/out": digest("install")}),
			rec("squashfs", map[string]artifact.Digest{"customise/out": digest("customise")}, "mksquashfs"),
		},
	}
}

func documents() []report.Document {
	d := report.Document{Format: report.Format, ID: "sci", Title: "Configuration index " + bidi, Cites: []artifact.Ref{{Path: "evidence/isotrace.lock", Digest: digest("lock"), Size: 9}}}
	s := report.Section{ID: "parts", Title: "Components", Note: closer, Columns: []string{"Component", "Version"}}
	for n := range 40 {
		s.Rows = append(s.Rows, report.Row{Cells: []string{fmt.Sprintf("component-%02d", 39-n), markup}, Cites: []int{0}})
	}
	s.Rows = append(s.Rows, report.Row{Cells: []string{"nothing", report.NotRecorded}})
	d.Sections = []report.Section{s, {ID: "none", Title: "Empty", Columns: []string{"One"}}}
	return []report.Document{d}
}

func page(t testing.TB, in Input) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, Write(&b, in))
	return b.Bytes()
}

func TestWrite(t *testing.T) {
	in := image(t, 20, 60)
	one, two := page(t, in), page(t, in)
	if !bytes.Equal(one, two) {
		t.Error("two pages of the same input differ")
	}
	for _, outside := range []string{`http-equiv="refresh"`, "@import", "<link", "<iframe", "<img", "<script src", "url(http", "url(//", "fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon"} {
		if at := bytes.Index(one, []byte(outside)); at >= 0 {
			t.Errorf("the page has %q: %.120q", outside, one[max(0, at-40):])
		}
	}
	if bytes.Contains(one, []byte(markup)) || bytes.Contains(one, []byte(closer)) {
		t.Error("the page has a text of an outsider as it stands")
	}
	policy := regexp.MustCompile(`script-src '([^']+)'; style-src '([^']+)'`).FindSubmatch(one)
	for i, tag := range []string{"script", "style"} {
		parts := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllSubmatch(one, -1)
		if len(parts) != 1 || policy == nil || string(policy[i+1]) != source(parts[0][1]) {
			t.Errorf("%s: there are %d, of which the policy wants one by its digest", tag, len(parts))
		}
	}
	if !bytes.Contains(one, []byte("of 4 checks 1 hold, 1 do not, and of 1 nothing can be told")) {
		t.Error("without scripts the page does not say the verdict")
	}
}

// unpack reads a page's data as its program does.
func unpack(t *testing.T, page []byte) (head map[string]any, text, columns []byte) {
	t.Helper()
	data := regexp.MustCompile(`(?s)id="data">(.*?)</script>`).FindSubmatch(page)
	packed, err := base64.StdEncoding.DecodeString(string(data[1]))
	must(t, err)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	must(t, err)
	all, err := io.ReadAll(z)
	must(t, err)
	n := binary.LittleEndian.Uint32(all)
	text, columns = all[4:4+n], all[4+n:]
	must(t, json.Unmarshal(text, &head))
	return head, text, columns
}

func TestData(t *testing.T) {
	in := image(t, 20, 60)
	head, text, columns := unpack(t, page(t, in))
	for _, bad := range []string{"\u202e", "\x07", "\x1b", `\u0007`, `\u001b`, "\u0085"} {
		if bytes.Contains(text, []byte(bad)) || bytes.Contains(columns[:200], []byte(bad)) && bad != "\x07" {
			t.Errorf("%q is in the data", bad)
		}
	}
	if !bytes.Contains(columns, []byte(`safe\u202etxt.exe`)) || !bytes.Contains(columns, []byte(`caf\xe9\x0a2`)) {
		t.Error("a path is not spelt out")
	}
	want := 0
	for _, n := range head["columns"].([]any) {
		want += int(n.(float64))
	}
	if want != len(columns) {
		t.Errorf("columns of %d bytes, the head says %d", len(columns), want)
	}
	p := head["packages"].([]any)[5].(map[string]any)
	if p["path-from"] != 1.0 || p["suite"] != 0.0 || p["index"].(map[string]any)["path"] != "dists/x/main/binary-amd64/Packages.xz" {
		t.Errorf("package: %v", p)
	}
	motd := head["actors"].([]any)[2].(map[string]any)
	if own, ok := motd["own"].([]any); !ok || own[0].(map[string]any)["id"] != "REQ-1" {
		t.Errorf("actor: %v", motd)
	}
	if postinst := head["actors"].([]any)[1].(map[string]any); postinst["own"] != nil {
		t.Errorf("a package's requirements are said again: %v", postinst)
	}
}

func TestRefuses(t *testing.T) {
	for name, o := range map[string]trace.Origin{
		"type":   {Path: "a", Type: "door", Kind: trace.Archive},
		"size":   {Path: "a", Type: roottree.File, Kind: trace.Archive, Size: -1},
		"digest": {Path: "a", Type: roottree.File, Kind: trace.Archive, SHA256: "abc"},
	} {
		if err := (&columns{}).add(o); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

func TestHandler(t *testing.T) {
	h := Handler([]byte("the page"))
	for _, c := range []struct {
		method, path, host string
		want               int
	}{
		{"GET", "/", "127.0.0.1:8080", 200}, {"GET", "/", "localhost:1", 200}, {"HEAD", "/", "[::1]:80", 200},
		{"GET", "/", "rebound.example:8080", 421}, {"GET", "/", "", 421}, {"GET", "/", "127.0.0.1.example", 421}, {"GET", "/", "192.0.2.1", 421},
		{"GET", "/etc/passwd", "127.0.0.1", 404}, {"GET", "/../..", "127.0.0.1", 404}, {"POST", "/", "127.0.0.1", 405},
	} {
		r := httptest.NewRequest(c.method, "http://x/", nil)
		r.URL.Path, r.Host = c.path, c.host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s of %q: %d, want %d", c.method, c.path, c.host, w.Code, c.want)
		}
		if w.Code == http.StatusOK && (!strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") || (w.Body.String() == "the page") != (c.method == "GET")) {
			t.Errorf("%s %s: %v %q", c.method, c.path, w.Header(), w.Body)
		}
	}
}

// The lock of the page's libraries pins each by its digest and names no registry.
func TestLibraries(t *testing.T) {
	text, err := os.ReadFile("web/package-lock.json")
	must(t, err)
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	must(t, json.Unmarshal(text, &lock))
	if len(lock.Packages) < 5 || bytes.Contains(text, []byte("\"resolved\"")) {
		t.Error("the lock is empty, or names a host")
	}
	for name, p := range lock.Packages {
		if name != "" && (p.Integrity == "" || p.Resolved != "" || p.Version == "") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for _, name := range []string{"preact", "@dagrejs/dagre", "d3-hierarchy", "d3-shape", "@fontsource-variable/inter"} {
		if !bytes.Contains(script, []byte(`{name:"`+name+`",version:"`+lock.Packages["node_modules/"+name].Version+`",licence:"`)) {
			t.Errorf("%s: the page has no notice of it, or of another version", name)
		}
	}
}

// No text becomes markup: the page's own code makes elements and texts alone.
func TestNoMarkup(t *testing.T) {
	files, err := filepath.Glob("web/src/*.ts*")
	must(t, err)
	if len(files) < 10 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if found := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacent|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b|new Function|javascript:`).Find(text); found != nil {
			t.Errorf("%s: %s", f, found)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{markup, closer, bidi, bell, broken, "\\", `\u202e`, "\u2028", "a\tb\n", "\U0001f600", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		must(t, enc.Encode([]string{s, "end"}))
		var back []string
		if err := json.Unmarshal(visible(b.Bytes()), &back); err != nil || len(back) != 2 || back[1] != "end" {
			t.Fatalf("%q: %q, %v", s, back, err)
		}
		if again := printable.Text(back[0]); again != back[0] {
			t.Errorf("%q: %q has what is not to be shown", s, back[0])
		}
	})
}
