package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTokens builds and runs the tests of keys in tokens on a Debian with a C compiler
// and SoftHSM, whatever the host has.
func TestTokens(t *testing.T) {
	out, err := exec.Command("go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ GOROOT, GOMODCACHE, GOCACHE, GOMOD string }
	if err := json.Unmarshal(out, &env); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unpackDebian(t, root, "bookworm", "base-files", "libc-bin", "dash", "gcc", "libc6-dev", "softhsm2")
	source := filepath.Dir(env.GOMOD)
	// The test runs without a network: what it is built from comes before.
	list := exec.Command("go", "list", "-deps", "-test", "-tags", "keyservices,pkcs11key", "./provenance/keyref")
	list.Dir, list.Env = source, append(os.Environ(), "CGO_ENABLED=1")
	if out, err := list.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := namespaced("root", root, "0", "/bin/sh", "-c", "cd '"+source+"' && exec go test -count=1 -tags keyservices,pkcs11key ./provenance/keyref -run PKCS11 -v")
	c.Env = []string{
		bindVariable + "=" + strings.Join([]string{env.GOROOT, env.GOMODCACHE, env.GOCACHE, source}, string(filepath.ListSeparator)),
		"PATH=" + env.GOROOT + "/bin:/usr/bin:/bin", "HOME=/tmp", "CGO_ENABLED=1", "GOTOOLCHAIN=local", "GOPROXY=off",
		"GOMODCACHE=" + env.GOMODCACHE, "GOCACHE=" + env.GOCACHE,
	}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPKCS11") {
		t.Fatalf("%v\n%s", err, out)
	}
}
