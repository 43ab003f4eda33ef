package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/provenance/registry"
)

// dockerRegistry is that of Debian's packages, on the loopback.
func dockerRegistry(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"proc", "dev", "tmp", "srv"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unpackDebian(t, root, "bookworm", "docker-registry", "base-files", "libc-bin")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: /srv}}\nhttp: {addr: %q}\n", address)
	if err := os.WriteFile(filepath.Join(root, "config.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	c := namespaced("root", root, "0", "/usr/bin/docker-registry", "serve", "/config.yml")
	var said strings.Builder
	c.Env, c.Stdout, c.Stderr = []string{"PATH=/usr/bin:/bin"}, &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	for range 100 {
		if resp, err := http.Get("http://" + address + "/v2/"); err == nil {
			_ = resp.Body.Close() // it was not read
			return address
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = c.Process.Kill()
	_ = c.Wait() // so that nothing writes any more
	t.Fatalf("the registry does not answer:\n%s", said.String())
	return ""
}

// TestRegistry puts a release into a registry and gets it back.
func TestRegistry(t *testing.T) {
	p := released(t)
	out := filepath.Join(t.TempDir(), "out")
	if err := os.CopyFS(out, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	ref := dockerRegistry(t) + "/images/rescue:1.0.0"
	said, code := p.run("release", out, "--push", ref)
	_, digest, ok := strings.Cut(said, "pushed to ")
	if digest = strings.TrimSpace(digest); code != 0 || !ok {
		t.Fatalf("exit status %d\n%s", code, said)
	}
	if again, err := registry.Push(t.Context(), ref, out); err != nil || again != digest {
		t.Errorf("the same release is %s and %s (%v)", digest, again, err)
	}
	key := func(role string) string { return filepath.Join(p.dir, "keys", role+".pub") }
	for i, from := range []string{ref, digest} {
		got := filepath.Join(t.TempDir(), fmt.Sprint("got", i))
		said, code := p.run("fetch-release", from, "-o", got, "--owner-key", key("owner"), "--release-key", key("release"))
		if code != 0 || !strings.Contains(said, "ok    release ") {
			t.Fatalf("exit status %d\n%s", code, said)
		}
		if have, want := digests(t, got), withoutJournal(digests(t, out)); have != want {
			t.Errorf("another release came back:\n%s\nwant\n%s", have, want)
		}
	}
	said, code = p.run("fetch-release", ref, "-o", filepath.Join(t.TempDir(), "got"), "--release-key", key("builder"))
	if code != 3 || !strings.Contains(said, "FAIL  release ") {
		t.Errorf("another's key: exit status %d\n%s", code, said)
	}
}
