package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/blockdev/looptest"
)

// TestWriteStick puts the image on a disk. Where the tests do not run as root there is
// none, and what is no disk is refused.
func TestWriteStick(t *testing.T) {
	p := rescue(t)
	keys := t.TempDir()
	for _, role := range []string{"loader", "release"} {
		if out, code := p.run("keys", "new", "--role", role, "-o", keys); code != 0 {
			t.Fatalf("exit status %d\n%s", code, out)
		}
	}
	write := func(device string, more ...string) (string, int) {
		return p.run(append([]string{"write", p.out(), device, "--operator", "A. Engineer", "--key", filepath.Join(keys, "loader.key")}, more...)...)
	}
	if out, code := write(p.iso(), "--yes"); code != 2 || !strings.Contains(out, "rescue.iso: is no disk") {
		t.Errorf("a file: exit status %d\n%s", code, out)
	}
	if os.Getuid() != 0 {
		return
	}
	size := int64(len(readAll(t, p.iso())))
	small, _ := looptest.New(t, size-512)
	if out, code := write(small, "--yes", "--any-disk"); code != 2 || !strings.Contains(out, "bytes, the image ") {
		t.Errorf("too small a disk: exit status %d\n%s", code, out)
	}
	device, file := looptest.New(t, size+(64<<20))
	if out, code := write(device, "--yes"); code != 3 || !strings.Contains(out, device+": is not removable") {
		t.Errorf("a fixed disk: exit status %d\n%s", code, out)
	}
	if out, code := write(device, "--any-disk"); code != 2 || !strings.Contains(out, "standard input is not a terminal") {
		t.Errorf("nobody to ask: exit status %d\n%s", code, out)
	}
	if out, code := write(device, "--yes", "--any-disk", "--release-key", filepath.Join(keys, "release.pub")); code != 3 || !strings.Contains(out, "nothing was written") {
		t.Errorf("an image that nobody released: exit status %d\n%s", code, out)
	}
	if !bytes.Equal(readAll(t, file)[:1<<20], make([]byte, 1<<20)) {
		t.Fatal("something was written")
	}
	record := filepath.Join(t.TempDir(), "load.json")
	out, code := write(device, "--yes", "--any-disk", "--record", record)
	if code != 0 || !strings.Contains(out, "read back and the same; recorded in "+record) {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	if have := readAll(t, file); !bytes.Equal(have[:size], readAll(t, p.iso())) {
		t.Error("the disk does not hold the image")
	}
	var bundle struct{ DSSEEnvelope struct{ Payload string } }
	if err := json.Unmarshal(readAll(t, record), &bundle); err != nil {
		t.Fatal(err)
	}
	said, err := base64.StdEncoding.DecodeString(bundle.DSSEEnvelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{string(digestOf(t, p.iso())), `"operator":"A. Engineer"`, `"device":"` + device + `"`, `"loaded":"20`} {
		if !strings.Contains(string(said), want) {
			t.Errorf("the record does not say %s:\n%s", want, said)
		}
	}
}
