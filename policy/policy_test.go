package policy

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens")

// sample is an image to which no rule objects.
func sample() Input {
	return Input{
		Now: "2026-03-01T12:00:00Z", Name: "x", Release: "1", Config: map[string]any{"base": map[string]any{"bootstrap": "trixie"}},
		Lock: Lock{AgeDays: 3, Architecture: "amd64", Archives: []Archive{{ID: "debian/trixie", Signers: []string{"AB"}}}, Packages: []Package{
			{Set: "target", Name: "bash", Version: "5", Archive: "debian/trixie", Component: "main", Licences: "GPL-3.0-or-later", LicenceIDs: []string{"GPL-3.0-or-later"}},
			{Set: "tools", Name: "gcc", Version: "14", Archive: "debian/trixie", Component: "contrib", LicenceIDs: []string{}},
		}},
		Image: Image{File: "x.iso", Size: 1000, SHA256: "00", Files: map[string]int64{"md5sum.txt": 3}},
		Tree: Tree{
			Origins: map[string]int{"archive": 10, "generated": 1}, Removed: []string{}, Secrets: []Secret{}, Accounts: []Account{{Name: "root", Password: "none"}},
			Files: []File{{Part: "root", Path: "/etc/x", Type: "file", Origin: "generated", Mode: "0644", Special: []string{}}},
		},
		Links: []Link{{Stage: "iso", Signer: "b"}}, Keys: Keys{Builder: "b", Owner: "o", Functionaries: []string{"b"}},
	}
}

func evaluate(t *testing.T, text string, in Input) *Result {
	t.Helper()
	doc, err := Parse(FileName, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Document: doc, Digest: "d", Modules: map[string][]byte{}}
	r, err := p.Evaluate(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// open are the findings that nobody waived, as RULE SUBJECT MESSAGE.
func open(r *Result) []string {
	var all []string
	for _, rr := range r.Rules {
		for _, f := range rr.Open() {
			all = append(all, rr.ID+" "+f.Subject+" "+f.Message)
		}
	}
	return all
}

// pin is a fingerprint.
var pin = strings.Repeat("A", 40)

func TestRules(t *testing.T) {
	if r := evaluate(t, "", sample()); !r.Holds || len(open(r)) > 0 {
		t.Fatalf("the sample: %v", open(r))
	}
	file := func(change func(*File)) func(*Input) {
		return func(in *Input) { change(&in.Tree.Files[0]) }
	}
	for _, c := range []struct {
		name, policy string
		change       func(*Input)
		want         []string
	}{
		{"unexplained", "", file(func(f *File) { f.Origin = "unexplained" }), []string{"unexplained /etc/x is of unknown origin, in root"}},
		{"unexplained, accepted", "", file(func(f *File) { f.Origin, f.Accepted = "unexplained", "known" }), nil},
		{"replaced", "", file(func(f *File) { f.Origin, f.Package, f.By, f.Replaced = "modified", "one:all=1", "one's postinst", true }),
			[]string{"replaced /etc/x is a program, and is not as one:all=1 has it: one's postinst has changed it"}},
		{"origin", "origins: [archive]", nil, []string{"origins /etc/x is generated, in root"}},
		{"unsigned archive", "", func(in *Input) { in.Lock.Archives[0].Signers = []string{} }, []string{"archives debian/trixie no key signed its Release file"}},
		{"expired archive", "", func(in *Input) { in.Lock.Archives[0].ExpiredAccepted = true }, []string{"archives debian/trixie had expired when the lock was made"}},
		{"older archive", "", func(in *Input) { in.Lock.Archives[0].OlderAccepted = "2026-01-01T00:00:00Z" }, []string{"archives debian/trixie is older than the Release file of 2026-01-01T00:00:00Z, which was locked before"}},
		{"changed archive", "", func(in *Input) { in.Lock.Archives[0].ChangedAccepted = "codename bookworm" }, []string{"archives debian/trixie was codename bookworm in the lock before"}},
		{"a pinned key", "archive-keys: {debian/*: ['AAAA AAAA aaaa AAAA AAAA  AAAA AAAA AAAA AAAA AAAA']}", func(in *Input) { in.Lock.Archives[0].Signers = []string{pin} }, nil},
		{"a pinned key beside another", "archive-keys: {debian/trixie: [" + pin + "]}", func(in *Input) { in.Lock.Archives[0].Signers = []string{"B", pin} }, nil},
		{"not the pinned key", "archive-keys: {debian/*: [" + pin + "]}", func(in *Input) { in.Lock.Archives[0].Signers = []string{"B", "C"} },
			[]string{"archives debian/trixie is signed by B and C, and archive-keys names none of them for it"}},
		{"a key pinned for another suite", "archive-keys: {ubuntu/*: [" + pin + "]}", func(in *Input) { in.Lock.Archives[0].Signers = []string{pin} },
			[]string{"archives debian/trixie is signed by " + pin + ", and archive-keys names none of them for it"}},
		{"foreign archive", "", func(in *Input) { in.Lock.Packages[0].Archive = "else/where" }, []string{"archives bash comes from else/where, which the lock does not have"}},
		{"component", "", func(in *Input) { in.Lock.Packages[0].Component = "non-free" }, []string{"components bash is in non-free of debian/trixie"}},
		{"a .deb of the project", "", func(in *Input) {
			in.Lock.Packages[0].Archive, in.Lock.Packages[0].Path, in.Lock.Packages[0].Component = "project", "debs/bash.deb", ""
		},
			[]string{"debs bash is debs/bash.deb of the project: no archive has it; the policy may name it under debs"}},
		{"a .deb of the project, agreed to", "debs: [ba*]", func(in *Input) { in.Lock.Packages[0].Archive, in.Lock.Packages[0].Component = "project", "" }, nil},
		{"a memory test's licence, denied", "licences: {deny: [LicenseRef-*]}", func(in *Input) {
			in.Image.MemoryTests = []MemoryTest{{"v/m.efi", []string{"LicenseRef-V"}}}
		}, []string{"licences v/m.efi LicenseRef-V is denied"}},
		{"a memory test's licence, not allowed", "licences: {allow: [GPL-*]}", func(in *Input) {
			in.Image.MemoryTests = []MemoryTest{{"v/m.efi", []string{"LicenseRef-V"}}}
		}, []string{"licences v/m.efi LicenseRef-V is not allowed"}},
		{"component of a tool", "components: [main]", nil, nil},
		{"licence denied", "licences: {deny: [GPL-3.0-*]}", nil, []string{"licences bash GPL-3.0-or-later is denied"}},
		{"licence not allowed", "licences: {allow: [MIT]}", nil, []string{"licences bash GPL-3.0-or-later is not allowed"}},
		{"licence allowed", "licences: {allow: [GPL-*]}", nil, nil},
		{"licence not known", "licences: {allow: [MIT]}", func(in *Input) { in.Lock.Packages[0].LicenceIDs = []string{} }, []string{"licences bash its licence is not known"}},
		{"package denied", "packages: {deny: [ba*]}", nil, []string{"packages bash is denied"}},
		{"package not allowed", "packages: {allow: [dash]}", nil, []string{"packages bash is not allowed"}},
		{"package too old", "", func(in *Input) { in.Lock.Packages[0].Below = "6" }, []string{"packages bash 5 is older than 6"}},
		{"setuid", "", file(func(f *File) { f.Special, f.Mode = []string{"setuid"}, "4755" }), []string{"privileged /etc/x is setuid, mode 4755"}},
		{"setuid, listed", "privileged: [/etc/*]", file(func(f *File) { f.Special = []string{"setuid"} }), nil},
		{"setuid, listed elsewhere", "privileged: [/etc/*/x]", file(func(f *File) { f.Special, f.Mode = []string{"setuid", "world-writable"}, "4757" }), []string{"privileged /etc/x is setuid and world-writable, mode 4757"}},
		{"secret", "", func(in *Input) { in.Tree.Secrets = []Secret{{"/root/.ssh/id_rsa", "is an SSH key"}} }, []string{"secrets /root/.ssh/id_rsa is an SSH key"}},
		{"secret, known", "secrets: [/root/**]", func(in *Input) { in.Tree.Secrets = []Secret{{"/root/.ssh/id_rsa", "is an SSH key"}} }, nil},
		{"empty password", "accounts: [root]", func(in *Input) { in.Tree.Accounts[0].Password = "empty" }, []string{"passwords root has an empty password"}},
		{"password", "", func(in *Input) { in.Tree.Accounts[0] = Account{Name: "root", Password: "hash", Scheme: "y"} }, []string{"passwords root has a password (y)"}},
		{"a password of every other image", "accounts: [root]", func(in *Input) {
			in.Tree.Accounts[0] = Account{Name: "root", Password: "hash", Scheme: "y", WellKnown: true}
		}, []string{"passwords root has a password that everybody tries first"}},
		{"password, allowed", "accounts: [root]", func(in *Input) { in.Tree.Accounts[0] = Account{Name: "root", Password: "hash", Scheme: "y"} }, nil},
		{"no base", "", func(in *Input) { in.Config = map[string]any{"base": map[string]any{"image": "debian:13"}} }, []string{"base isotrace.lock names no base image by digest, and the config has no bootstrap"}},
		{"base by digest", "", func(in *Input) {
			in.Config, in.Lock.BaseImage = map[string]any{"base": map[string]any{"image": "debian:13"}}, "00"
		}, nil},
		{"protected, changed", "protected: [/etc/**]", nil, []string{"protected /etc/x is generated"}},
		{"protected, gone", "protected: [/usr/bin/*]", func(in *Input) { in.Tree.Removed = []string{"/usr/bin/agent"} }, []string{"protected /usr/bin/agent was removed"}},
		{"snap of the base image", "", file(func(f *File) { f.Path, f.Origin = "/var/lib/snapd/seed/snaps/core20_1.snap", "base" }),
			[]string{"snaps /var/lib/snapd/seed/snaps/core20_1.snap is a snap of origin base: put it among the project's files, under overlay"}},
		{"snap of the project", "", file(func(f *File) { f.Path, f.Origin = "/var/lib/snapd/seed/snaps/core20_1.snap", "overlay" }), nil},
		{"old lock", "max-age: 2", nil, []string{"lock-age isotrace.lock is 3 days old, 2 are allowed"}},
		{"lock not as old", "max-age: 3", nil, nil},
		{"a base image that nobody signed", "signed-base: true", func(in *Input) { in.Base.Image = "abc" }, []string{"base abc is a base image that nobody has signed: the config has no base.signed-by"}},
		{"a base image that somebody signed", "signed-base: true", func(in *Input) { in.Base.Image, in.Base.Signer = "abc", "def" }, nil},
		{"one FROM", "", func(in *Input) { in.Base.Stages = []BuildStages{{Of: "base/Dockerfile", From: []string{"debian"}}} }, nil},
		{"two FROMs", "", func(in *Input) {
			in.Base.Stages = []BuildStages{{Of: "base/Dockerfile", From: []string{"golang", "debian"}}}
		}, []string{"one-from base/Dockerfile shows 2 build stages, from golang, debian"}},
		{"no secure boot", "secure-boot: true", nil, []string{"secure-boot x.iso does not boot where Secure Boot is on: boot.secure-boot is off, or its chain is broken"}},
		{"secure boot", "secure-boot: true", func(in *Input) { in.Image.SecureBoot = true }, nil},
		{"too large", "max-image: 999", nil, []string{"size x.iso has 1000 bytes, 999 are allowed"}},
		{"one key in two roles", "", func(in *Input) { in.Keys.Owner = "b" }, []string{"keys b builds, and owns the layout"}},
		{"one key in two roles, by name", "shared-keys: [b]", func(in *Input) { in.Keys.Owner = "b" }, nil},
		{"foreign signer", "", func(in *Input) { in.Links[0].Signer = "m" }, []string{"keys m signed the link of iso, and is no functionary of the layout"}},
		{"turned off", "origins: [archive]\noff: [{rule: origins, reason: tests}]", nil, nil},
		{"waived", "origins: [archive]\nwaivers: [{rule: origins, subject: '/etc/*', reason: r, by: me, until: '2026-03-01'}]", nil, nil},
		{"waived for another", "origins: [archive]\nwaivers: [{rule: origins, subject: /etc/y, reason: r, by: me, until: '2026-03-01'}]", nil, []string{"origins /etc/x is generated, in root"}},
		{"waiver over", "origins: [archive]\nwaivers: [{rule: origins, subject: /etc/x, reason: r, by: me, until: '2026-02-28'}]", nil,
			[]string{"origins /etc/x is generated, in root", "waivers origins /etc/x the waiver of me ended on 2026-02-28"}},
	} {
		in := sample()
		if c.change != nil {
			c.change(&in)
		}
		r := evaluate(t, c.policy, in)
		if have := open(r); !slices.Equal(have, c.want) || r.Holds != (len(c.want) == 0) {
			t.Errorf("%s: %q, want %q", c.name, have, c.want)
		}
	}
}

func TestResult(t *testing.T) {
	in := sample()
	in.Tree.Secrets = []Secret{{"/root/.netrc", "holds passwords"}}
	r := evaluate(t, `
origins: [archive]
off: [{rule: size, reason: it has no medium}]
waivers:
  - {rule: origins, subject: /etc/x, reason: it is made at build time, by: someone@example.org, until: "2027-01-01"}
  - {rule: packages, subject: bash, reason: not needed, by: someone@example.org, until: "2027-01-01"}
`, in)
	have, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "result.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(have, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(have)+"\n" != string(want) {
		t.Errorf("have %s", have)
	}
}

const ownRule = `package isotrace.project.motd

rule := {"id": "motd", "reason": "Every image greets.", "requirement": "RSC-9"}

findings contains {"subject": input.name, "message": "does not greet"} if not greets

greets if input.release == "2"

test_greets if greets with input as {"release": "2"}
test_silent if count(findings) == 1 with input as {"release": "1", "name": "x"}
`

func TestOwnRules(t *testing.T) {
	p := &Policy{Document: Defaults(), Modules: map[string][]byte{"motd.rego": []byte(ownRule)}}
	r, err := p.Evaluate(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	if have := open(r); !slices.Equal(have, []string{"motd x does not greet"}) || r.Modules["motd.rego"] == "" {
		t.Errorf("%v, %v", have, r.Modules)
	}
	tests, err := p.Test(t.Context())
	if err != nil || len(tests) != 2 || !tests[0].OK || !tests[1].OK {
		t.Errorf("%+v, %v", tests, err)
	}
	p.Modules["motd.rego"] = []byte(strings.Replace(ownRule, `== "2"`, `== "3"`, 1))
	if tests, err = p.Test(t.Context()); err != nil || len(tests) != 2 || tests[0].OK {
		t.Errorf("a test that fails: %+v, %v", tests, err)
	}
	rules, err := p.Rules(t.Context())
	if err != nil || len(rules) != 20 {
		t.Errorf("%d rules, %v", len(rules), err)
	}
}

// TestRulesAreClosed: a rule cannot ask the world outside its input.
func TestRulesAreClosed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"network":         {`x := http.send({"method": "get", "url": "http://localhost"})`, "http.send"},
		"names":           {`x := net.lookup_ip_addr("localhost")`, "net.lookup_ip_addr"},
		"clock":           {`x := time.now_ns()`, "time.now_ns"},
		"environment":     {`x := opa.runtime()`, "opa.runtime"},
		"chance":          {`x := rand.intn("a", 3)`, "rand.intn"},
		"unique":          {`x := uuid.rfc4122("a")`, "uuid.rfc4122"},
		"not Rego":        {`x = = 1`, "rego_parse_error"},
		"another package": {"", "its package is not below isotrace.project"},
		"no rule":         {`findings contains {"subject": "x", "message": "y"}`, "defines no rule"},
		"twice":           {`rule := {"id": "size", "reason": "r", "requirement": ""}`, "two rules are called size"},
	} {
		text := "package isotrace.project.p\n\n" + c.text + "\n"
		if name == "another package" {
			text = "package isotrace.rules.size2\n"
		}
		p := &Policy{Document: Defaults(), Modules: map[string][]byte{"p.rego": []byte(text)}}
		if _, err := p.Evaluate(t.Context(), sample()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// bomb is a document of which each list names the one before it nine times.
func bomb() string {
	text := "off: [&a {rule: x}, &b [" + strings.TrimSuffix(strings.Repeat("*a,", 9), ",") + "]"
	for c := 'b'; c < 'k'; c++ {
		text += fmt.Sprintf(", &%c [%s]", c+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c), 9), ","))
	}
	return text + "]"
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"also: 1":                  "line 1: field also not found",
		"off: [{rule: size}]":      "a rule and a reason are wanted",
		"waivers: [{rule: size}]":  "are wanted",
		"max-age: -1":              "not below 0",
		"max-age: 1\nmax-age: 2":   `mapping key "max-age" already defined`,
		"max-age: 1\n---\noff: []": "more than one YAML document",
		"off: &a [{rule: *a}]":     "cannot unmarshal",
		bomb():                     "cannot unmarshal",
		"off: [{rule: \xff}]":      "UTF-8",
		"waivers: [{rule: size, subject: x, reason: r, by: me, until: soon}]": "is not a day",
	} {
		if _, err := Parse(FileName, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"off: [{rule: nothing, reason: r}]":                                              "there is no rule nothing",
		"waivers: [{rule: nothing, subject: x, reason: r, by: me, until: '2027-01-01'}]": "there is no rule nothing",
	} {
		doc, err := Parse(FileName, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&Policy{Document: doc}).Evaluate(t.Context(), sample()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "origins: [archive]", "off: [{rule: size, reason: r}]", "waivers: [{rule: size, subject: x, reason: r, by: me, until: '2027-01-01'}]", "packages: {minimum: {a: '1'}}", "a: &a [*a]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = Parse(FileName, text) })
}
