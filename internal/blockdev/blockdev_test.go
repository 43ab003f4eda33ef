package blockdev

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/blockdev/looptest"
	"github.com/isotrace/isotrace/internal/fault"
)

// host makes a /sys and /proc: files by path, and links by what they lead to.
func host(t *testing.T, files map[string]string, links map[string]string, mountinfo, swaps string) Host {
	t.Helper()
	dir := t.TempDir()
	h := Host{filepath.Join(dir, "sys"), filepath.Join(dir, "proc")}
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(h.Proc, "self", "mountinfo"), mountinfo)
	write(filepath.Join(h.Proc, "swaps"), swaps)
	for name, text := range files {
		write(filepath.Join(h.Sys, name), text)
	}
	for name, to := range links {
		name = filepath.Join(h.Sys, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(filepath.Join(h.Sys, to), name)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestFind(t *testing.T) {
	const usb, stick = "devices/pci0/usb1/1-2", "devices/pci0/usb1/1-2/1-2:1.0/host6/target6/6:0:0:0"
	files := map[string]string{
		usb + "/serial": "4C530001\n", stick + "/vendor": "SanDisk \n", stick + "/model": "Ultra Fit\n",
		stick + "/block/sdb/size": "1000\n", stick + "/block/sdb/removable": "0\n", stick + "/block/sdb/ro": "0\n",
		stick + "/block/sdb/sdb1/partition": "1\n", stick + "/block/sdb/sdb1/dev": "8:17\n", stick + "/block/sdb/sdb1/size": "900\n",
		"devices/virtual/block/vda/size": "5000\n", "devices/virtual/block/vda/removable": "0\n",
		"devices/virtual/block/vda/vda2/partition": "2\n", "devices/virtual/block/vda/vda2/dev": "254:2\n", "devices/virtual/block/vda/vda2/holders/dm-0/x": "",
		"devices/virtual/block/sr0/size": "0\n", "devices/virtual/block/sr0/removable": "1\n", "devices/virtual/block/sr0/ro": "1\n",
		"devices/virtual/block/bad/size": "-1\n",
	}
	links := map[string]string{
		"dev/block/8:16": stick + "/block/sdb", "dev/block/8:17": stick + "/block/sdb/sdb1", stick + "/block/sdb/device": stick,
		"dev/block/254:0": "devices/virtual/block/vda", "dev/block/11:0": "devices/virtual/block/sr0", "dev/block/9:9": "devices/virtual/block/bad",
	}
	for name, c := range map[string]struct {
		number, mounts, swaps string
		any                   bool
		image                 int64
		says                  string
	}{
		"a stick":            {number: "8:16", image: 500 * 512},
		"all of it":          {number: "8:16", image: 1000 * 512},
		"a partition":        {number: "8:17", says: "is a partition, and not the disk sdb"},
		"too small":          {number: "8:16", image: 1000*512 + 1, says: "has 512000 bytes, the image 512001"},
		"a mounted part":     {number: "8:16", mounts: "30 1 8:17 / /media/stick rw - vfat /dev/sdb1 rw\n", says: "is in use: sdb1 is mounted on /media/stick"},
		"mounted whole":      {number: "8:16", mounts: "30 1 8:16 / /mnt rw - iso9660 /dev/sdb rw\n", says: "is in use: sdb is mounted on /mnt"},
		"swap":               {number: "8:16", swaps: "Filename\tType\n/dev/sdb1 partition 1 0 -2\n", says: "is in use: sdb1 is swap"},
		"not removable":      {number: "254:0", any: false, says: "is in use: vda2 is part of dm-0"},
		"in use for anybody": {number: "254:0", any: true, says: "is in use: vda2 is part of dm-0"},
		"read-only":          {number: "11:0", says: "is read-only"},
		"no size":            {number: "9:9", says: `its size is "-1"`},
		"nothing":            {number: "1:1", says: "the kernel does not tell what it is"},
	} {
		h := host(t, files, links, c.mounts, c.swaps)
		d, err := h.find("/dev/x", c.number)
		if err == nil {
			if d.Name == "sdb" && (d.Model != "SanDisk Ultra Fit" || d.Serial != "4C530001" || !d.Removable || d.Size != 512000) {
				t.Errorf("%s: %+v", name, d)
			}
			err = d.Check(c.image, c.any)
		}
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), "/dev/x: "+c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	fixed := &Disk{Path: "/dev/x", Size: 10}
	if err := fixed.Check(5, false); fault.ClassOf(err) != fault.Refused {
		t.Errorf("a disk that is not removable: %v", err)
	}
	if err := fixed.Check(5, true); err != nil {
		t.Errorf("the same, on demand: %v", err)
	}
	for _, path := range []string{"/nonexistent", "/dev/null", t.TempDir()} {
		if _, err := ThisHost.Find(path); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func sample(n int) ([]byte, artifact.Digest) {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b) // it does not fail
	s := sha256.Sum256(b)
	return b, artifact.Digest(hex.EncodeToString(s[:]))
}

// TestCopyAndRead runs on a file: lengths that fill no block, and the end that is cleared.
func TestCopyAndRead(t *testing.T) {
	const size = 9<<20 + 12345
	image, want := sample(size)
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, bytes.Repeat([]byte{0xff}, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d := &Disk{Path: file, Size: 12 << 20}
	var last int64
	if err := d.copy(t.Context(), f, bytes.NewReader(image), size, func(n int64) { last = n }); err != nil || last != size {
		t.Fatalf("%d, %v", last, err)
	}
	if have, err := d.read(t.Context(), size, func(int64) {}); err != nil || have != want {
		t.Errorf("%s, %v, want %s", have, err, want)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b[size] != 0xff || b[11<<20-1] != 0xff || b[11<<20] != 0 || b[12<<20-1] != 0 {
		t.Error("other bytes were cleared than the last MiB")
	}
	if err := d.copy(t.Context(), f, bytes.NewReader(image[:100]), size, func(int64) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an image that ends early: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := d.copy(ctx, f, bytes.NewReader(image), size, func(int64) {}); err == nil || !strings.Contains(err.Error(), "holds a part of the image only: enough") {
		t.Errorf("stopped: %v", err)
	}
}

// TestWrite writes to a loop device; who may not have one is told so.
func TestWrite(t *testing.T) {
	image, want := sample(3<<20 + 512)
	size := int64(len(image))
	if os.Getuid() != 0 {
		if err := explain("/dev/x", os.ErrPermission); !strings.Contains(fault.HintOf(err), "needs root") {
			t.Errorf("%v", err)
		}
		return
	}
	device, file := looptest.New(t, 8<<20)
	d, err := ThisHost.Find(device)
	if err != nil {
		t.Fatal(err)
	}
	if d.Size != 8<<20 || !strings.Contains(d.Model, file) || d.Check(size, false) == nil || d.Check(size, true) != nil {
		t.Errorf("%+v", d)
	}
	if err := d.Write(t.Context(), bytes.NewReader(image), size, want, nil); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have[:size], image) {
		t.Errorf("the disk does not hold the image: %v", err)
	}
	image[5] ^= 1
	if err := d.Write(t.Context(), bytes.NewReader(image), size, want, nil); fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "the image: its SHA-256 is ") {
		t.Errorf("another image: %v", err)
	}
	other := *d
	other.number = "1:2"
	if err := other.Write(t.Context(), bytes.NewReader(image), size, want, nil); err == nil || !strings.Contains(err.Error(), "is another device than it was") {
		t.Errorf("another device: %v", err)
	}
	held, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), bytes.NewReader(image), size, want, nil); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a device that is held: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
}
