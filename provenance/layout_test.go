package provenance

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// sampleSteps are a pipeline of three.
func sampleSteps() []Step {
	return []Step{
		{Name: "fetch", Project: true, Gives: []string{"fetch/target/*"}},
		{Name: "install", Takes: []Taken{{"fetch", "fetch/target/*"}}, Gives: []string{"install/root.mtree"}},
		{Name: "iso", Takes: []Taken{{"install", "install/root.mtree"}}, Gives: []string{"iso/x.iso"}},
	}
}

func sampleLayout(t *testing.T, threshold int, functionaries ...*Signer) in_toto.Layout {
	t.Helper()
	o := LayoutOptions{Steps: sampleSteps(), Threshold: threshold, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Image: "x.iso"}
	for _, f := range functionaries {
		o.Functionaries = append(o.Functionaries, f.Public())
	}
	l, err := NewLayout(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayoutRoundTrip(t *testing.T) {
	owner, one, two := newSigner(t), newSigner(t), newSigner(t)
	l := sampleLayout(t, 2, one, two)
	text, err := owner.SignLayout(l)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := owner.SignLayout(l); err != nil || !bytes.Equal(text, again) {
		t.Errorf("the same layout has two texts (%v)", err)
	}
	have, err := OpenLayout(text, owner.Public())
	if err != nil {
		t.Fatal(err)
	}
	if !have.Allows("iso", two.Public()) || have.Allows("iso", owner.Public()) || have.Allows("other", one.Public()) || have.Steps[2].Threshold != 2 || have.Steps[0].Threshold != 1 {
		t.Errorf("%+v", have.Steps)
	}
	for _, s := range sampleSteps() {
		if what := have.Lacks(s); what != "" {
			t.Errorf("step %s lacks %s", s.Name, what)
		}
	}
	more := sampleSteps()[2]
	more.Takes = append(more.Takes, Taken{"fetch", "fetch/tools/*"})
	if what := have.Lacks(more); what != "fetch/tools/*" {
		t.Errorf("a step that takes more lacks %q", what)
	}
	// in-toto's own reader takes it too.
	file := filepath.Join(t.TempDir(), LayoutFile)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	mb, err := in_toto.LoadMetadata(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := in_toto.VerifyLayoutSignatures(mb, map[string]in_toto.Key{owner.Public().KeyID(): owner.Public().InToto}); err != nil {
		t.Error(err)
	}
	if _, err := one.SignLayout(l); err == nil || !strings.Contains(err.Error(), "would both own the layout and carry out its steps") {
		t.Errorf("a functionary's own layout: %v", err)
	}
}

// TestHostileLayouts: each is signed by its owner, and refused all the same.
func TestHostileLayouts(t *testing.T) {
	owner, one, two := newSigner(t), newSigner(t), newSigner(t)
	twin := func(k in_toto.Key, id, public string) in_toto.Key {
		k.KeyID, k.KeyVal.Public = id, public
		return k
	}
	pem := one.Public().InToto.KeyVal.Public
	for name, c := range map[string]struct {
		change func(*in_toto.Layout)
		want   string
	}{
		"another type":             {func(l *in_toto.Layout) { l.Type = "link" }, `its type is "link"`},
		"no expiry":                {func(l *in_toto.Layout) { l.Expires = "soon" }, "expires: "},
		"no keys":                  {func(l *in_toto.Layout) { l.Keys = nil }, "0 keys"},
		"threshold 0":              {func(l *in_toto.Layout) { l.Steps[2].Threshold = 0 }, "step iso: a threshold of 0"},
		"more than there are keys": {func(l *in_toto.Layout) { l.Steps[2].Threshold = 3 }, "step iso: a threshold of 3 with 2 keys"},
		"a key counted twice":      {func(l *in_toto.Layout) { l.Steps[2].PubKeys = []string{one.Public().KeyID(), one.Public().KeyID()} }, "stands twice"},
		"a key under two ids": {func(l *in_toto.Layout) {
			l.Keys["00"+one.Public().KeyID()[2:]] = twin(one.Public().InToto, "00"+one.Public().KeyID()[2:], pem)
		}, "its id is not that of its content"},
		"a secret key": {func(l *in_toto.Layout) {
			k := l.Keys[one.Public().KeyID()]
			k.KeyVal.Private = "x"
			l.Keys[one.Public().KeyID()] = k
		}, "its secret part"},
		"the owner builds":           {func(l *in_toto.Layout) { l.Keys[owner.Public().KeyID()] = owner.Public().InToto }, "both owns the layout and carries out"},
		"a key that is not there":    {func(l *in_toto.Layout) { delete(l.Keys, two.Public().KeyID()) }, "is not among the keys"},
		"a step twice":               {func(l *in_toto.Layout) { l.Steps = append(l.Steps, l.Steps[0]) }, "step fetch: stands twice"},
		"no last step":               {func(l *in_toto.Layout) { l.Steps = l.Steps[:2] }, "there is no step iso"},
		"steps in another order":     {func(l *in_toto.Layout) { l.Steps[0], l.Steps[1] = l.Steps[1], l.Steps[0] }, "takes what step fetch gives, which does not come before it"},
		"another command":            {func(l *in_toto.Layout) { l.Steps[1].ExpectedCommand = []string{"sh"} }, `expects the command ["sh"]`},
		"products without an end":    {func(l *in_toto.Layout) { l.Steps[1].ExpectedProducts = l.Steps[1].ExpectedProducts[:1] }, "let anything pass"},
		"materials without rules":    {func(l *in_toto.Layout) { l.Steps[1].ExpectedMaterials = [][]string{} }, "let anything pass"},
		"an empty rule":              {func(l *in_toto.Layout) { l.Steps[1].ExpectedMaterials[0] = []string{} }, "an empty rule"},
		"a rule of another language": {func(l *in_toto.Layout) { l.Steps[1].ExpectedMaterials[0] = []string{"PERMIT", "*"} }, "Wrong rule format"},
		"certificate constraints": {func(l *in_toto.Layout) {
			l.Steps[1].CertificateConstraints = []in_toto.CertificateConstraint{{CommonName: "*"}}
		}, "certificate constraints"},
	} {
		l := sampleLayout(t, 2, one, two)
		c.change(&l)
		text, err := owner.metablock(l)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := OpenLayout(text, owner.Public()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestForgedLayouts: the text is not as the owner signed it.
func TestForgedLayouts(t *testing.T) {
	owner, one := newSigner(t), newSigner(t)
	good, err := owner.SignLayout(sampleLayout(t, 1, one))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newSigner(t).SignLayout(sampleLayout(t, 1, one))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"another expiry":      {bytes.Replace(good, []byte("2030-01-01"), []byte("2130-01-01"), 1), "is not signed by the owner's key"},
		"another's signature": {foreign, "is not signed by the owner's key"},
		"no signature":        {unsigned(t, good), "is not signed by the owner's key"},
		"an unknown field":    {bytes.Replace(good, []byte(`"readme"`), []byte(`"certs": 1, "readme"`), 1), "unknown field"},
		"something behind it": {append(slices.Clone(good), "{}"...), "something follows it"},
		"nothing":             {nil, "EOF"},
		"too much":            {make([]byte, MaxLayout+1), "longer than"},
	} {
		if _, err := OpenLayout(c.text, owner.Public()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestShortIDs: two real keys whose ids begin with the same eight digits, found by
// trying sixty thousand. Their links of one step would have one file name.
func TestShortIDs(t *testing.T) {
	o := LayoutOptions{Steps: sampleSteps(), Threshold: 2, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Image: "x.iso"}
	for _, name := range []string{"short-id-a.pub", "short-id-b.pub"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParsePublicKey(name, text)
		if err != nil {
			t.Fatal(err)
		}
		o.Functionaries = append(o.Functionaries, k)
	}
	l, err := NewLayout(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSigner(t).SignLayout(l); err == nil || !strings.Contains(err.Error(), "have the same short id") {
		t.Errorf("%v", err)
	}
}

// FuzzOpenLayout: what is opened has steps that somebody has to carry out.
func FuzzOpenLayout(f *testing.F) {
	owner, one := newSigner(f), newSigner(f)
	l, err := NewLayout(LayoutOptions{Steps: sampleSteps(), Functionaries: []*PublicKey{one.Public()}, Threshold: 1, Image: "x.iso"})
	if err != nil {
		f.Fatal(err)
	}
	good, err := owner.SignLayout(l)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte(`"threshold": 1`), []byte(`"threshold": 0`), 1))
	f.Add(bytes.ReplaceAll(good, []byte(`"DISALLOW"`), []byte(`"ALLOW"`)))
	f.Add([]byte(`{"signed": {"_type": "layout", "steps": [{"expected_materials": [[]]}]}, "signatures": []}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := OpenLayout(text, nil)
		if err != nil {
			return
		}
		for _, s := range l.Steps {
			if s.Threshold < 1 || len(s.PubKeys) < s.Threshold {
				t.Errorf("step %s: threshold %d, %d keys", s.Name, s.Threshold, len(s.PubKeys))
			}
		}
	})
}

func unsigned(t *testing.T, metablock []byte) []byte {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(metablock, &m); err != nil {
		t.Fatal(err)
	}
	m["signatures"] = json.RawMessage("[]")
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sampleRecords are what the steps of sampleSteps leave.
func sampleRecords() map[string]stage.Record {
	records := map[string]stage.Record{}
	last := map[string]artifact.Digest{"project/isotrace.lock": artifact.HashBytes([]byte("lock"))}
	for _, s := range []struct{ name, gives string }{{"fetch", "fetch/target/a.deb"}, {"install", "install/root.mtree"}, {"iso", "iso/x.iso"}} {
		gives := map[string]artifact.Digest{s.gives: artifact.HashBytes([]byte(s.name))}
		records[s.name] = stage.Record{Name: s.name, Version: 1, Params: json.RawMessage("{}"), Materials: last, Products: gives}
		last = gives
	}
	return records
}

// links are files of an evidence folder, by name.
type links map[string][]byte

func (l links) add(t *testing.T, s *Signer, rec stage.Record) {
	t.Helper()
	l[LinkName(rec.Name, s.Public().KeyID())] = seal(t, s, rec)
}

// TestLinksUnderALayout writes links into an evidence folder and holds them to a
// layout that wants two builders of the image.
func TestLinksUnderALayout(t *testing.T) {
	owner, one, two, stranger := newSigner(t), newSigner(t), newSigner(t), newSigner(t)
	text, err := owner.SignLayout(sampleLayout(t, 2, one, two))
	if err != nil {
		t.Fatal(err)
	}
	both := func() links {
		all := links{}
		for _, s := range []*Signer{one, two} {
			for _, rec := range sampleRecords() {
				all.add(t, s, rec)
			}
		}
		return all
	}
	name := func(step string, s *Signer) string { return LinkName(step, s.Public().KeyID()) }
	for what, c := range map[string]struct {
		change func(links)
		want   string // of a problem; "" for none
	}{
		"as it should be":                    {func(links) {}, ""},
		"one builder where two have to":      {func(l links) { delete(l, name("iso", two)) }, "step iso: 1 functionaries left a link that holds, 2 have to"},
		"one builder where one is enough":    {func(l links) { delete(l, name("fetch", two)) }, ""},
		"a step that nobody did":             {func(l links) { delete(l, name("install", one)); delete(l, name("install", two)) }, "step install: 0 functionaries"},
		"a stranger's link":                  {func(l links) { l.add(t, stranger, sampleRecords()["iso"]) }, "lets no key"},
		"a stranger's under a known name":    {func(l links) { l[name("iso", two)] = seal(t, stranger, sampleRecords()["iso"]) }, "is not signed by key"},
		"one builder's link under two names": {func(l links) { l[name("iso", two)] = l[name("iso", one)] }, "is not signed by key"},
		"a link of another step":             {func(l links) { l[name("iso", one)] = l[name("install", one)] }, "is the link of stage install"},
		"a step that the layout lacks": {func(l links) {
			rec := sampleRecords()["iso"]
			rec.Name = "more"
			l.add(t, one, rec)
		}, `carry out step "more"`},
		"a link with a stray name": {func(l links) { l["iso.link"] = l[name("iso", one)] }, "lets no key"},
		"another image": {func(l links) {
			rec := sampleRecords()["iso"]
			rec.Products = map[string]artifact.Digest{"iso/x.iso": artifact.HashBytes([]byte("other"))}
			l.add(t, two, rec)
		}, "does not agree with"},
		"other parameters": {func(l links) {
			rec := sampleRecords()["install"]
			rec.Params = json.RawMessage(`{"weak":true}`)
			l.add(t, two, rec)
		}, "other parameters"},
		"a product beside": {func(l links) {
			for _, s := range []*Signer{one, two} {
				rec := sampleRecords()["iso"]
				rec.Products = map[string]artifact.Digest{"iso/x.iso": rec.Products["iso/x.iso"], "iso/y": artifact.HashBytes(nil)}
				l.add(t, s, rec)
			}
		}, "disallowed"},
		"a material from nowhere": {func(l links) {
			for _, s := range []*Signer{one, two} {
				rec := sampleRecords()["install"]
				rec.Materials = map[string]artifact.Digest{"fetch/target/a.deb": artifact.HashBytes([]byte("another"))}
				l.add(t, s, rec)
			}
		}, "disallowed"},
		"a file of the project where none belongs": {func(l links) {
			for _, s := range []*Signer{one, two} {
				rec := sampleRecords()["iso"]
				rec.Materials = map[string]artifact.Digest{"install/root.mtree": rec.Materials["install/root.mtree"], "project/x": artifact.HashBytes(nil)}
				l.add(t, s, rec)
			}
		}, "disallowed"},
		"a path with dots": {func(l links) {
			rec := sampleRecords()["iso"]
			rec.Products = map[string]artifact.Digest{"iso/../iso/x.iso": artifact.HashBytes(nil)}
			l.add(t, two, rec)
		}, "is not a record path"},
		"a layout in place of a link": {func(l links) { l[name("iso", two)] = text }, "unknown field"},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, LinksDir), 0o755); err != nil {
			t.Fatal(err)
		}
		all := both()
		c.change(all)
		for file, link := range all {
			if err := os.WriteFile(filepath.Join(dir, LinksDir, file), link, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, LayoutFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		v := &verification{
			Bundle: &Bundle{dir: dir, Lock: &lockfile.Lock{}}, key: one.Public(), links: map[string]stage.Record{}, done: map[string][]doneStep{}, made: map[string]artifact.Digest{},
			opts: VerifyOptions{OwnerKey: owner.Public(), Now: time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)},
		}
		if have := strings.Join(layoutProblems(t, v), "\n"); have == "" != (c.want == "") || !strings.Contains(have, c.want) {
			t.Errorf("%s: %q, want %q", what, have, c.want)
		}
		v.links, v.done = map[string]stage.Record{}, map[string][]doneStep{}
		v.opts.Now = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
		if have := strings.Join(layoutProblems(t, v), "\n"); !strings.Contains(have, "expired at 2030-01-01T00:00:00Z") {
			t.Errorf("%s, too late: %q", what, have)
		}
	}
}

func layoutProblems(t *testing.T, v *verification) []string {
	t.Helper()
	if err := v.openLayout(); err != nil {
		t.Fatal(err)
	}
	_, problems, err := v.checkLinks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, more, err := v.checkLayout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range append(problems, more...) {
		texts = append(texts, p.String())
	}
	return texts
}

func seal(t *testing.T, s *Signer, rec stage.Record) []byte {
	t.Helper()
	link, err := Recorder{s}.Seal(rec)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
