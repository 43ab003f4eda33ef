package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

var update = flag.Bool("update", false, "write the goldens")

const minimal = "name: x\nrelease: \"1\"\nbase: {oci: layout}\n"

const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestPinnedFiles(t *testing.T) {
	text := minimal + "live: casper\ntitle: Demo\nlive-session: {user: demo}\ndebs: [{file: ./debs/a.deb, sha256: " + sum + ", requirements: [R-1]}]\n" +
		"boot: {memory-tests: [{file: vendor/MT.efi, sha256: " + sum + ", title: MT 1, firmware: uefi, licence: LicenseRef-V AND MIT, options: [a=b]}]}\n"
	c, err := Parse(FileName, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if c.LiveSession.Flavour != "Demo" || c.Boot.MemoryTests[0].OnMedium() != "boot/memory/MT.efi" {
		t.Errorf("%+v", c)
	}
	intent := func(text string) artifact.Digest {
		c, err := Parse(FileName, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Intent()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := strings.ReplaceAll(strings.Replace(text, "./debs", "debs", 1), "R-1", "R-2")
	if intent(text) != intent(same) {
		t.Error("a requirement, or another way to write a path, wants another lock")
	}
	if intent(text) == intent(strings.Replace(text, "debs: [{file: ./debs/a.deb, sha256: e3", "debs: [{file: ./debs/a.deb, sha256: f3", 1)) {
		t.Error("another package file does not want another lock")
	}
}

func TestParseDefaults(t *testing.T) {
	c, err := Parse(FileName, []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "amd64" || c.Live != "live-boot" || c.Title != "x" || *c.Boot.Timeout != 5 || !c.Boot.WithMemtest() ||
		c.Squashfs != (Squashfs{Compression: "zstd", Level: 3}) || !reflect.DeepEqual(c.Outputs, []string{"iso"}) || len(c.Manifest.LiveOnly) != 5 {
		t.Errorf("defaults: %+v", c)
	}
}

func TestSupplier(t *testing.T) {
	c, err := Parse(FileName, []byte(minimal+"supplier: {name: Exämple Ltd, contact: sbom.team+x@mail.example.org, url: \"https://example.org/a?b=c#d\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Supplier{"Exämple Ltd", "sbom.team+x@mail.example.org", "https://example.org/a?b=c#d"}); c.Supplier == nil || *c.Supplier != want {
		t.Errorf("supplier %+v", c.Supplier)
	}
	if c, err = Parse(FileName, []byte(minimal)); err != nil || c.Supplier != nil {
		t.Errorf("supplier %+v, %v", c.Supplier, err)
	}
}

func TestStarterParses(t *testing.T) {
	c, err := Parse(FileName, []byte(Starter("rescue", "trixie")))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "rescue" || c.Base.Bootstrap != "trixie" || c.Archives[2].Repo() != "debian-security" {
		t.Errorf("%+v", c)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "isotrace.yaml: is empty"},
		{minimal + "---\n" + minimal, "more than one YAML document"},
		{"- x\n", "isotrace.yaml:1: the config: want keys and values"},
		{minimal + "nam: y\n", `isotrace.yaml:4: unknown key "nam"`},
		{minimal + "name: y\n", `isotrace.yaml:4: mapping key "name" already defined at line 1`},
		{minimal + "packages: [[a]]\n", "isotrace.yaml:4: packages[0]: want keys and values"},
		{minimal + "packages:\n", "isotrace.yaml:4: packages has no value"},
		{minimal + "packages: [\"bad name\"]\n", "isotrace.yaml:4: packages[0]"},
		{minimal + "packages: [\"a=1 2\"]\n", "isotrace.yaml:4: packages[0]"},
		{minimal + "recommends: perhaps\n", "isotrace.yaml:4:"},
		{minimal + "boot: {timeout: soon}\n", "isotrace.yaml:4:"},
		{minimal + "boot: {timeout: -1}\n", "isotrace.yaml:4: boot.timeout: want 0 to 3600"},
		{minimal + "boot: {parameters: [\"a b\"]}\n", "boot.parameters[0]"},
		{minimal + "boot: {menu: /etc/passwd}\n", "boot.menu: \"/etc/passwd\" leads out"},
		{minimal + "live: systemd\n", "live: \"systemd\" is neither"},
		{minimal + "architecture: m68k\n", "architecture: \"m68k\" is not supported"},
		{minimal + "title: 'a\"b'\n", "title: want at most 80"},
		{minimal + "hostname: -x\n", "hostname: want a host name"},
		{minimal + "locale: ../x\n", "locale: \"../x\" is not a locale"},
		{minimal + "timezone: ../../etc/shadow\n", "timezone: \"../../etc/shadow\" is not a time zone"},
		{minimal + "keyboard: \"x;y\"\n", "keyboard:"},
		{minimal + "outputs: [floppy]\n", "outputs[0]: \"floppy\" is not known"},
		{minimal + "outputs: [iso, vhd, vhd]\n", "outputs[2]: \"vhd\" stands there twice"},
		{minimal + "outputs: [vhd]\n", "outputs: want iso among them"},
		{minimal + "limits: {processes: -1}\n", "isotrace.yaml:4: limits.processes: -1 is not a number"},
		{minimal + "limits: {memory: 4G}\n", "limits.memory: \"4G\" is not a size"},
		{minimal + "limits: {time: 6}\n", "limits.time: \"6\" is not a length of time"},
		{minimal + "limits: {time: 1ms}\n", "limits.time"},
		{minimal + "limits: {output: 0MiB}\n", "limits.output: \"0MiB\" is not a size"},
		{minimal + "limits: {cpus: 1}\n", "unknown key \"cpus\" in limits"},
		{minimal + "disk: {size: 4GB}\n", "disk.size: \"4GB\" is not a size of a disk"},
		{minimal + "disk: {size: 0MiB}\n", "disk.size"},
		{minimal + "disk: {size: 2041GiB}\n", "disk.size"},
		{minimal + "disk: {size: 99999999999999999999GiB}\n", "disk.size"},
		{minimal + "disk: {parameters: [\"a b\"]}\n", "disk.parameters[0]"},
		{minimal + "debs: [{file: ../x.deb, sha256: " + sum + "}]\n", "debs[0].file: \"../x.deb\" leads out"},
		{minimal + "debs: [{file: \"a b.deb\", sha256: " + sum + "}]\n", "debs[0].file"},
		{minimal + "debs: [{file: x.rpm, sha256: " + sum + "}]\n", "debs[0].file: \"x.rpm\" is not a .deb"},
		{minimal + "debs: [{file: x.deb}]\n", "debs[0].sha256"},
		{minimal + "debs: [{file: x.deb, sha256: ABC}]\n", "debs[0].sha256"},
		{minimal + "debs: [{file: x.deb, sha256: " + sum + "}, {file: ./x.deb, sha256: " + sum + "}]\n", "debs[1]: ./x.deb is listed twice"},
		{minimal + "boot: {memory-tests: [{file: m.efi, sha256: " + sum + ", title: M, firmware: uboot, licence: X}]}\n", "boot.memory-tests[0].firmware: \"uboot\" is not known"},
		{minimal + "boot: {memory-tests: [{file: m.efi, sha256: " + sum + ", title: M, firmware: uefi}]}\n", "boot.memory-tests[0].licence"},
		{minimal + "boot: {memory-tests: [{file: m.efi, sha256: " + sum + ", title: 'M \"', firmware: uefi, licence: X}]}\n", "boot.memory-tests[0].title"},
		{minimal + "boot: {memory-tests: [{file: 'm;.efi', sha256: " + sum + ", title: M, firmware: uefi, licence: X}]}\n", "boot.memory-tests[0].file"},
		{minimal + "boot: {memory-tests: [{file: m.efi, sha256: " + sum + ", title: M, firmware: uefi, licence: X, options: ['a;b']}]}\n", "boot.memory-tests[0].options[0]"},
		{minimal + "boot: {memory-tests: [{file: a/m.efi, sha256: " + sum + ", title: M, firmware: uefi, licence: X}, {file: b/M.EFI, sha256: " + sum + ", title: M, firmware: uefi, licence: X}]}\n", "boot.memory-tests[1]: m.efi is listed twice"},
		{minimal + "live-session: {user: demo}\n", "live-session: only casper reads it"},
		{minimal + "live: casper\nlive-session: {user: Demo}\n", "live-session.user"},
		{minimal + "live: casper\nlive-session: {flavour: '$(x)'}\n", "live-session.flavour"},
		{minimal + "live: casper\nlive-session: {host: a.b}\n", "live-session.host"},
		{minimal + "archives: [{repository: project, suite: x, components: [main], signed-by: k}]\n", "archives[0].repository: records call"},
		{minimal + "sanitise: {keep: [everything]}\n", "sanitise.keep[0]: there is no pass"},
		{minimal + "problems: [{id: PR 12}]\n", `problems[0].id: "PR 12" is not an identifier`},
		{minimal + "problems: [{id: PR-12}, {id: PR-12}]\n", "problems[1].id: PR-12 stands there twice"},
		{minimal + "problems: [{id: PR-12, text: \"a\\nb\"}]\n", "problems[0].text: want one line"},
		{minimal + "squashfs: {compression: lzo}\n", "squashfs.compression"},
		{minimal + "squashfs: {compression: gzip, level: 20}\n", "squashfs.level: want 1 to 9 for gzip"},
		{minimal + "epoch: yesterday\n", "epoch: \"yesterday\" is not an RFC 3339 time"},
		{minimal + "epoch: \"1970-01-01T00:00:00Z\"\n", "epoch: epoch 0: must lie between"},
		{minimal + "mirrors: {debian: [\"ftp://x/debian\"]}\n", "mirrors.debian[0]"},
		{minimal + "mirrors: {debian: [\"http://u:p@x/debian\"]}\n", "must not hold a password"},
		{minimal + "overlay: [{from: ../x, to: /}]\n", "overlay[0].from"},
		{minimal + "overlay: [{from: x, to: etc}]\n", "overlay[0].to"},
		{minimal + "overlay: [{from: x, to: /a/../../b}]\n", "overlay[0].to"},
		{minimal + "overlay: [{from: x, to: /a, mode: \"0888\"}]\n", "overlay[0].mode"},
		{minimal + "overlay: [{from: x, to: /a, uid: 70000}]\n", "overlay[0]"},
		{minimal + "users: [{name: root}]\n", "users[0].name"},
		{minimal + "users: [{name: a, password-hash: \"x:y\"}]\n", "users[0].password-hash"},
		{minimal + "users: [{name: a, ssh-keys: [\"no key\\nat all\"]}]\n", "users[0].ssh-keys[0]"},
		{minimal + "users: [{name: a, shell: sh}]\n", "users[0].shell"},
		{minimal + "scripts: [\"/bin/sh\"]\n", "scripts[0]"},
		{minimal + "archives: [{suite: ../x, components: [main], signed-by: k}]\n", "archives[0].suite"},
		{minimal + "archives: [{suite: x, components: [], signed-by: k}]\n", "archives[0].components"},
		{minimal + "archives: [{suite: x, components: [main], signed-by: /k}]\n", "archives[0].signed-by"},
		{minimal + "archives: [{suite: x, components: [a], signed-by: k}, {suite: x, components: [b], signed-by: k}]\n", "archives[1]: debian x is listed twice"},
		{minimal + "packages: [{name: a2, requirements: [\"\"]}]\n", "packages[0].requirements[0]: \"\" is not an identifier"},
		{minimal + "packages:\n  - a2\n  - {name: b2, requirements: [R-1, R 2]}\n", "isotrace.yaml:6: packages[1].requirements[1]: \"R 2\" is not an identifier"},
		{minimal + "preseed: [{from: x, requirements: [-]}]\n", "isotrace.yaml:4: preseed[0].requirements[0]"},
		{minimal + "scripts: [a, {from: x, requirements: [é]}]\n", "isotrace.yaml:4: scripts[1].requirements[0]"},
		{minimal + "overlay: [{from: x, to: /, requirements: [/x]}]\n", "isotrace.yaml:4: overlay[0].requirements[0]"},
		{minimal + "users: [{name: a, requirements: [R-1, \"a\\nb\"]}]\n", "isotrace.yaml:4: users[0].requirements[1]"},
		{minimal + "boot:\n  serial: true\n  requirements: [\"\"]\n", "isotrace.yaml:6: boot.requirements[0]"},
		{minimal + "boot: {requirements: R-1}\n", "isotrace.yaml:4: boot.requirements: want a list"},
		{minimal + "requirements-file: ../r.csv\n", "isotrace.yaml:4: requirements-file: \"../r.csv\" leads out"},
		{minimal + "requirements-file: [r.csv]\n", "isotrace.yaml:4: requirements-file: want a single value"},
		{minimal + "supplier: {contact: a@example.org}\n", "isotrace.yaml:4: supplier.name"},
		{minimal + "supplier: {name: \"a <b@c.org>\"}\n", "supplier.name"},
		{minimal + "supplier: {name: A, contact: example.org}\n", "supplier.contact: \"example.org\" is not an email address"},
		{minimal + "supplier: {name: A, contact: \"a b@example.org\"}\n", "supplier.contact"},
		{minimal + "supplier: {name: A, contact: a@localhost}\n", "supplier.contact"},
		{minimal + "supplier: {name: A, url: \"javascript:alert(1)\"}\n", "supplier.url"},
		{minimal + "supplier: {name: A, url: \"https://u:p@example.org/\"}\n", "supplier.url"},
		{minimal + "supplier: {name: A, url: \"https://example.org/a b\"}\n", "supplier.url"},
		{minimal + "supplier: Example\n", "supplier: want keys and values"},
		{"name: x\nrelease: \"1\"\nbase: {}\n", "base: want exactly one"},
		{"name: x\nrelease: \"1\"\nbase: {image: a, digest: sha256:12}\n", "base.digest"},
		{"name: x\nrelease: \"1\"\nbase: {bootstrap: a, digest: sha256:" + strings.Repeat("a", 64) + "}\narchives: [{suite: a, components: [main], signed-by: k}]\n", "a bootstrap has no digest"},
		{"name: X\nrelease: \"1\"\nbase: {oci: l}\n", "name: want lower-case"},
		{strings.Repeat("#", MaxSize+1), "longer than"},
	} {
		_, err := Parse(FileName, []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: error %v, want %q", c.text, err, c.want)
			continue
		}
		if fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: class %d", err, fault.ClassOf(err))
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than one line", err)
		}
	}
}

func TestShorthand(t *testing.T) {
	c, err := Parse(FileName, []byte(minimal+"packages: [a2, {name: b2, requirements: [R-1]}]\nscripts: [x.sh, {from: y.sh}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Packages, []Package{{Name: "a2"}, {Name: "b2", Requirements: []string{"R-1"}}}) {
		t.Errorf("%+v", c.Packages)
	}
	if !reflect.DeepEqual(c.Scripts, []Source{{From: "x.sh"}, {From: "y.sh"}}) {
		t.Errorf("%+v", c.Scripts)
	}
}

// TestIntent: what decides the content changes the intent, the rest does not.
func TestIntent(t *testing.T) {
	intent := func(more string) string {
		c, err := Parse(FileName, []byte(minimal+more))
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Intent()
		if err != nil {
			t.Fatal(err)
		}
		return string(d)
	}
	plain := intent("")
	for _, same := range []string{
		"hostname: y\n", "boot: {timeout: 9, parameters: [quiet]}\n", "overlay: [{from: x, to: /}]\n", "scripts: [x]\n",
		"users: [{name: a}]\n", "mirrors: {debian: [\"http://example.org/debian\"]}\n", "squashfs: {level: 9}\n", "# a comment\n",
		"requirements-file: r.csv\n", "boot: {requirements: [R]}\n",
	} {
		if intent(same) != plain {
			t.Errorf("%q changes the intent", same)
		}
	}
	for _, other := range []string{
		"packages: [a2]\n", "recommends: true\n", "boot: {memtest: false}\n", "live: casper\n", "sources: true\n", "epoch: \"2026-01-01T00:00:00Z\"\n",
		"archives: [{suite: x, components: [main], signed-by: k}]\n", "tools: {archives: [{suite: x, components: [main], signed-by: k}]}\n",
	} {
		if intent(other) == plain {
			t.Errorf("%q does not change the intent", other)
		}
	}
	if intent("packages: [b2, a2]\n") != intent("packages: [a2, {name: b2, requirements: [R]}]\n") {
		t.Error("the order of packages, or a requirement, changes the intent")
	}
}

// TestSchema keeps docs/isotrace.schema.json as the types are.
func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: false, Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/isotrace/isotrace/internal/config", "."); err != nil {
		t.Fatal(err)
	}
	r.Mapper = func(rt reflect.Type) *jsonschema.Schema {
		if rt != reflect.TypeFor[Package]() && rt != reflect.TypeFor[Source]() {
			return nil
		}
		inner := &jsonschema.Reflector{FieldNameTag: "yaml", Anonymous: true, DoNotReference: true, CommentMap: r.CommentMap}
		object := inner.ReflectFromType(rt)
		object.Version = ""
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, object}}
	}
	s := r.Reflect(&Config{})
	s.Title = "isotrace.yaml"
	have, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	const golden = "../../docs/isotrace.schema.json"
	if *update {
		if err := os.WriteFile(golden, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the types say: go test ./internal/config -update", golden)
	}
	for key := range fieldsOf(reflect.TypeFor[Config]()) {
		if p, ok := s.Properties.Get(key); !ok || p.Description == "" && p.Ref == "" && p.Type != "array" {
			t.Errorf("%s: the schema does not describe it", key)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(Starter("rescue", "trixie")))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: {x: [}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(FileName, b)
		if err == nil {
			if _, err := c.Intent(); err != nil {
				t.Fatal(err)
			}
		} else if fault.ClassOf(err) != fault.Usage {
			t.Fatalf("class %d: %v", fault.ClassOf(err), err)
		}
	})
}

// TestExamplesParse: the examples are configs, those too that no test builds.
func TestExamplesParse(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/isotrace.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(file, b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		dir := filepath.Dir(file)
		var named []string
		for _, a := range slices.Concat(c.Archives, c.BootArchives(), c.ToolArchives()) {
			named = append(named, a.SignedBy)
		}
		for _, o := range c.Overlay {
			named = append(named, o.From)
		}
		for _, s := range slices.Concat(c.Scripts, c.Preseed) {
			named = append(named, s.From)
		}
		for _, name := range named {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
