package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	tsaserver "github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"

	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/sigstoretest"
	"github.com/isotrace/isotrace/stages"
)

// timestampAuthority is sigstore's own, on the loopback; it returns its address and
// certificates.
func timestampAuthority(t *testing.T) (url string, chain []byte) {
	t.Helper()
	for name, value := range map[string]any{
		"timestamp-signer": "memory", "timestamp-signer-hash": "sha256", "default-policy-oid": "1.3.6.1.4.1.57264.2",
		"accepted-policy-oids": []string{"1.3.6.1.4.1.57264.2"}, "include-chain-in-response": false,
	} {
		viper.Set(name, value)
	}
	server := httptest.NewServer(tsaserver.NewRestAPIServer("localhost", 0, []string{"http"}, false, 10*time.Second, 10*time.Second).GetHandler())
	t.Cleanup(server.Close)
	resp, err := http.Get(server.URL + "/api/v1/timestamp/certchain")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	chain, err = io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the authority's certificates: %s, %v", resp.Status, err)
	}
	return server.URL + "/api/v1/timestamp", chain
}

// releasedOnce is shared by the tests of a release, none of which changes it.
var releasedOnce struct {
	sync.Once
	project *project
}

// released is examples/rescue with a layout, released with a timestamp.
func released(t *testing.T) *project {
	t.Helper()
	releasedOnce.Do(func() {
		p := withLayout(t, filepath.Join(e2e.dir, "released"))
		url, chain := timestampAuthority(t)
		file := filepath.Join(p.dir, "tsa.pem")
		if err := os.WriteFile(file, chain, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"keys", "new", "--role", "release"}, {"release", p.out(), "--tsa", url, "--tsa-chain", file}} {
			if out, code := p.run(args...); code != 0 {
				t.Fatalf("%v: exit status %d\n%s", args, code, out)
			}
		}
		copyFileTo(t, p.out("release", "trusted_root.json"), filepath.Join(p.dir, "trusted_root.json"))
		releasedOnce.project = p
	})
	if releasedOnce.project == nil {
		t.Fatal("there is no release")
	}
	return releasedOnce.project
}

// trust are the flags that name whom to believe about a release.
func (p *project) trust() []string {
	key := func(role string) string { return filepath.Join(p.dir, "keys", role+".pub") }
	return []string{"--owner-key", key("owner"), "--release-key", key("release"), "--trusted-root", filepath.Join(p.dir, "trusted_root.json"), "--archive-key", filepath.Join(p.dir, "keys", "debian-archive.asc")}
}

func TestReleaseVerifies(t *testing.T) {
	p := released(t)
	out, code := p.run(append([]string{"verify", p.out(), "--archive", mirrorOf(t, p)}, p.trust()...)...)
	names, _ := provenance.Rules()
	// The example asks for no dm-verity and no disks; all else is shown.
	if code != 0 || strings.Count(out, "ok    ") != len(names)-2 || !strings.Contains(out, "?     verity ") || !strings.Contains(out, "?     disks ") || !strings.Contains(out, "ok    time       signed by 20") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	// What nobody vouched for is said to be so.
	out, code = p.run("verify", p.out())
	for _, want := range []string{"?     release ", "?     time ", "?     layout ", "name it with --release-key", "name it with --trusted-root", "name it with --owner-key", "?     archives ", "with --archive-key"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("nobody named: exit status %d, does not say %q:\n%s", code, want, out)
		}
	}
	// Another's key, and a build that nobody released.
	builder := filepath.Join(p.dir, "keys", "builder.pub")
	if out, code := p.run("verify", p.out(), "--release-key", builder); code != 3 || !strings.Contains(out, "FAIL  release    rescue.iso.sigstore.json: ") {
		t.Errorf("another's key: exit status %d\n%s", code, out)
	}
	if out, code := p.run("verify", rescue(t).out(), "--release-key", builder); code != 3 || !strings.Contains(out, "rescue.iso.sigstore.json: is missing, and a release manager was named") {
		t.Errorf("not released: exit status %d\n%s", code, out)
	}
	// One key in two roles.
	if out, code := p.run("release", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.key")); code != 3 || !strings.Contains(out, "is also the builder's") {
		t.Errorf("the builder releases: exit status %d\n%s", code, out)
	}
	// A rebuild of the same leaves the release as it is.
	before := digests(t, p.out())
	if out, code := p.run("build"); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	if _, err := os.Stat(p.out("rescue.iso.sigstore.json")); err != nil {
		t.Error(err)
	}
	if after := digests(t, p.out()); withoutJournal(before) != withoutJournal(after) {
		t.Error("an unchanged rebuild changed the release")
	}
}

// withoutJournal leaves out of a list of digests what a build says about itself.
func withoutJournal(list string) string {
	var kept []string
	for _, line := range strings.Split(list, "\n") {
		if !strings.HasPrefix(line, "/journal/") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// TestExpiredLayout: what was signed in time stays valid, as long as a timestamp that
// is believed shows when that was.
func TestExpiredLayout(t *testing.T) {
	p := released(t)
	key := func(role string) *provenance.PublicKey {
		k, err := loadPublic(filepath.Join(p.dir, "keys", role+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	root := readAll(t, filepath.Join(p.dir, "trusted_root.json"))
	state := func(o provenance.VerifyOptions) provenance.State {
		o.Fetched, o.OwnerKey, o.Now = stages.Fetched, key("owner"), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
		r, err := provenance.Verify(t.Context(), p.out(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Checks {
			if c.Rule == "layout" {
				return c.State
			}
		}
		return ""
	}
	if have := state(provenance.VerifyOptions{ReleaseKey: key("release"), TrustedRoot: root}); have != provenance.Expired {
		t.Errorf("with a timestamp: %s", have)
	}
	if have := state(provenance.VerifyOptions{ReleaseKey: key("release")}); have != provenance.Invalid {
		t.Errorf("with a timestamp that nobody vouches for: %s", have)
	}
	if have := state(provenance.VerifyOptions{ReleaseKey: key("builder"), TrustedRoot: root}); have != provenance.Invalid {
		t.Errorf("with a timestamp on another's signature: %s", have)
	}
}

// TestWithoutIsotrace runs every command of docs/verify-without-isotrace.md in a
// Debian that has nothing of ours, and each again after a byte was changed.
func TestWithoutIsotrace(t *testing.T) {
	p := released(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "in-toto", "python3-minimal", "base-files", "libc-bin", "coreutils", "dash", "sed", "openssl")
	cosignBinary(t, filepath.Join(root, "usr", "bin", "cosign"))
	work := filepath.Join(root, "work", "release")
	if err := os.CopyFS(work, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"owner", "release"} {
		copyFileTo(t, filepath.Join(p.dir, "keys", role+".pub"), filepath.Join(root, "work", role+".pub"))
	}
	copyFileTo(t, filepath.Join(p.dir, "trusted_root.json"), filepath.Join(root, "work", "trusted_root.json"))
	owner, err := exec.Command(e2e.binary, "keys", "show", "--in-toto", filepath.Join(p.dir, "keys", "owner.pub")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "work", "owner.json"), owner, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(command string) (string, error) {
		c := namespaced("root", root, "0", "/bin/sh", "-c", "cd /work/release && "+command)
		c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/root", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	// What each command is about, and so what it must not accept changed.
	changes := []struct{ command, file, at string }{
		{"sha256sum --check --strict --quiet SHA256SUMS", "rescue.iso", ""},
		{"sha256sum --check --strict --quiet SHA256SUMS", "evidence/isotrace.lock", ""},
		{"sha256sum --check --strict --quiet SHA256SUMS", "release/policy.json", ""},
		{"-signature SHA256SUMS.sig.raw SHA256SUMS", "SHA256SUMS", ""},
		{"-signature SHA256SUMS.sig.raw SHA256SUMS", "SHA256SUMS.sig.raw", ""},
		{"-signature rescue.iso.sig.raw rescue.iso", "rescue.iso", ""},
		{"--signature rescue.iso.sig ", "rescue.iso", ""},
		{"--signature rescue.iso.sig ", "rescue.iso.sig", ""},
		{"--bundle rescue.iso.sigstore.json", "rescue.iso", ""},
		{"--bundle rescue.iso.sigstore.json", "rescue.iso.sigstore.json", `"signature":"ME`},
		{"--use-signed-timestamps", "rescue.iso.sigstore.json", `signedTimestamp":"MI`},
		{"--bundle SHA256SUMS.sigstore.json", "SHA256SUMS", ""},
		{"--bundle release/policy.json", "rescue.iso", ""},
		{"--bundle release/policy.json", "release/policy.json", `payload":"ey`},
		{"in-toto-verify", "rescue.iso", ""},
		{"in-toto-verify", "evidence/layout.json", ""},
		{"--bundle evidence/attestations/slsa-provenance.json", "evidence/attestations/slsa-provenance.json", ""},
		{"--bundle evidence/attestations/cdx.json", "rescue.iso", ""},
		{"--bundle evidence/attestations/spdx.json", "evidence/attestations/spdx.json", ""},
		{"cd evidence && sha256sum", "evidence/isotrace.yaml", ""},
		{"cd evidence && base64", "evidence/SHA256SUMS", ""},
	}
	commands := shellLines(t, filepath.Join("..", "..", "docs", "verify-without-isotrace.md"))
	for _, command := range commands {
		if out, err := run(command); err != nil {
			t.Errorf("%s\n%v\n%s", command, err, out)
			continue
		}
		tried := 0
		for _, c := range changes {
			if !strings.Contains(command, c.command) || strings.HasPrefix(command, "cd ") != strings.HasPrefix(c.command, "cd ") {
				continue
			}
			tried++
			file := filepath.Join(work, filepath.FromSlash(c.file))
			flipByte(t, file, c.at)
			if out, err := run(command); err == nil {
				t.Errorf("%s changed, and accepted:\n%s\n%s", c.file, command, out)
			}
			flipByte(t, file, c.at)
		}
		if tried == 0 && !strings.HasPrefix(command, "sed ") {
			t.Errorf("nothing is changed for the command\n%s", command)
		}
	}
	if len(commands) < 12 {
		t.Errorf("%d commands", len(commands))
	}
	if out, err := run(commands[0]); err != nil {
		t.Errorf("after all was put back: %v\n%s", err, out)
	}
}

// shellLines are the commands of a document's blocks of sh.
func shellLines(t *testing.T, file string) []string {
	t.Helper()
	var lines []string
	inside := false
	for _, line := range strings.Split(string(readAll(t, file)), "\n") {
		switch {
		case line == "```sh":
			inside = true
		case line == "```":
			inside = false
		case inside:
			lines = append(lines, line)
		}
	}
	return lines
}

// flipByte changes a bit of the byte in the middle of a file, or of the one that comes
// after a text; twice is as before.
func flipByte(t *testing.T, file, after string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at := st.Size() / 2
	if after != "" {
		i := bytes.Index(readAll(t, file), []byte(after))
		if i < 0 {
			t.Fatalf("%s does not hold %s", file, after)
		}
		at = int64(i + len(after))
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestNoSecrets looks for the password and the private keys in everything that a
// build and a release leave or print.
func TestNoSecrets(t *testing.T) {
	p := released(t)
	secrets := map[string][]byte{"the password": []byte(testPassword)}
	for _, role := range []string{"owner", "builder", "release"} {
		key := readAll(t, filepath.Join(p.dir, "keys", role+".key"))
		secrets["the encrypted key of "+role] = bytes.Split(key, []byte("\n"))[1]
		block, _ := pem.Decode(key)
		der, err := encrypted.Decrypt(block.Bytes, []byte(testPassword))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := parsed.(*ecdsa.PrivateKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		secrets["the plain key of "+role] = plain
		secrets["the plain key in hexadecimal of "+role] = []byte(hex.EncodeToString(plain))
		secrets["the plain key in base64 of "+role] = []byte(base64.StdEncoding.EncodeToString(der))[:60]
	}
	seen := 0
	err := filepath.WalkDir(p.out(), func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text := readAll(t, file)
		seen++
		for what, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s holds %s", strings.TrimPrefix(file, p.out()), what)
			}
		}
		return nil
	})
	if err != nil || seen < 80 {
		t.Errorf("%d files, %v", seen, err)
	}
	// Arguments of every process while a release is signed.
	out := filepath.Join(t.TempDir(), "out")
	if err := os.CopyFS(out, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	c := p.command("release", out, "--json")
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	looked := 0
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v\n%s", err, said.String())
			}
			running = false
		case <-time.After(20 * time.Millisecond):
			lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				text, err := os.ReadFile(line)
				if err != nil {
					continue // it has ended
				}
				looked++
				for what, secret := range secrets {
					if bytes.Contains(text, secret) {
						t.Errorf("a command line holds %s", what)
					}
				}
			}
		}
	}
	if looked == 0 {
		t.Error("no command line was seen")
	}
	for what, secret := range secrets {
		if bytes.Contains(said.Bytes(), secret) {
			t.Errorf("the output holds %s", what)
		}
	}
}

// TestKeylessRelease releases with a key of the moment, certified for an identity.
func TestKeylessRelease(t *testing.T) {
	p := withLayout(t, filepath.Join(t.TempDir(), "keyless"))
	sigstore := sigstoretest.New(t)
	token, trusted := filepath.Join(p.dir, "token"), filepath.Join(p.dir, "root.json")
	for file, text := range map[string][]byte{token: []byte(sigstoretest.Token() + "\n"), trusted: sigstore.TrustedRoot(t)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(identity string) (string, int) {
		return p.run("verify", p.out(), "--owner-key", filepath.Join(p.dir, "keys", "owner.pub"), "--identity", identity, "--issuer", sigstoretest.Issuer, "--trusted-root", trusted)
	}
	if out, code := p.run("release", p.out(), "--fulcio", sigstore.URL, "--rekor", sigstore.URL, "--identity-token-file", token); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	if out, code := verify(sigstoretest.Subject); code != 0 || !strings.Contains(out, "ok    release ") || !strings.Contains(out, "ok    time ") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if out, code := verify("other@example.org"); code != 3 || !strings.Contains(out, "FAIL  release ") {
		t.Errorf("another identity: exit status %d\n%s", code, out)
	}
	if found := bytes.Contains(readAll(t, p.out("rescue.iso.sigstore.json")), []byte(sigstoretest.Token())); found {
		t.Error("the token is in the bundle")
	}
}
