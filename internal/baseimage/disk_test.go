package baseimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/diskimage"
)

var tree = artifact.HashBytes([]byte("tree"))

// rawDisk is a disk of three partitions, the last of which has a small ext4 file system.
func rawDisk(t *testing.T) []byte {
	t.Helper()
	packed, err := os.ReadFile("../ext4/testdata/tree.ext4.zst")
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	files, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := diskimage.NewLayout(8*diskimage.MiB, int64(len(files)), 0)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "raw")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(l.Size); err != nil {
		t.Fatal(err)
	}
	w, err := file.New(f, false).Writable()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WriteTable(w, tree); err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(files, l.Root.Offset)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func vhdOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	footer, err := diskimage.Footer(int64(len(raw)), tree, 0)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(raw), footer...)
}

func tarGz(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range files {
		kind := byte(tar.TypeReg)
		if strings.HasSuffix(name, "/") {
			kind = tar.TypeDir
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: kind}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zst begins with a frame to skip, as some tools write.
func zst(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"))
}

func unpacked(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func openDiskOf(t *testing.T, name string, content []byte) (*Image, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return Open(t.Context(), config.Base{Disk: name}, dir, "amd64", nil)
}

// TestDisk: however a disk is packed, it is the same image, and its layer has the files.
func TestDisk(t *testing.T) {
	raw := rawDisk(t)
	vhd := vhdOf(t, raw)
	var digest artifact.Digest
	for name, content := range map[string][]byte{
		"disk.raw": raw, "disk.vhd": vhd, "disk.vhd.tar.gz": tarGz(t, map[string][]byte{"disk.vhd": vhd}), "disk.tgz": tarGz(t, map[string][]byte{"disk.raw": raw}),
		"named.tar.gz": raw, "disk.vhd.gz": gz(t, vhd), "disk.zst": zst(t, raw), "disk.tar": unpacked(t, tarGz(t, map[string][]byte{"folder/": nil, "folder/disk.vhd": vhd})),
		"disk.tar.zst": zst(t, unpacked(t, tarGz(t, map[string][]byte{"disk.raw": raw}))),
	} {
		img, err := openDiskOf(t, name, content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if have := img.Locked.Manifest.Digest; digest == "" {
			digest = have
		} else if have != digest {
			t.Errorf("%s: the image is %s, otherwise %s", name, have, digest)
		}
		layer := img.Locked.Layers[0]
		r, err := img.parts[layer.Digest]()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || artifact.HashBytes(b) != layer.Digest || int64(len(b)) != layer.Size {
			t.Errorf("%s: the layer is another one the second time: %v", name, err)
		}
		for tr := tar.NewReader(bytes.NewReader(b)); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			found[h.Name] = string(h.Typeflag) + h.Linkname + string(text) + h.PAXRecords["SCHILY.xattr.user.note"]
		}
		for at, want := range map[string]string{
			"./": "5", "dir/": "5", "dir/many/": "5", "a-second-name": "0hello\nvalue", "dir/hello": "1a-second-name", "short": "2dir/hello", "pipe": "6",
			"sparse": "0" + strings.Repeat("\x00", 100000) + "end",
		} {
			if found[at] != want {
				t.Errorf("%s: %s is %.40q, want %.40q", name, at, found[at], want)
			}
		}
		if _, ok := found["lost+found/"]; ok || len(found) != 411 {
			t.Errorf("%s: %d files", name, len(found))
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskRefused(t *testing.T) {
	raw := rawDisk(t)
	vhd := vhdOf(t, raw)
	change := func(b []byte, at int, to ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], to)
		return b
	}
	const root = 10 * diskimage.MiB
	dynamic := change(vhd, len(raw)+60, binary.BigEndian.AppendUint32(nil, 3)...)
	for name, c := range map[string]struct {
		file    string
		content []byte
		says    string
	}{
		"truncated VHD":      {"a.vhd", vhd[:len(vhd)-4096], "the VHD is cut off: it has no footer"},
		"VHD cut in between": {"a.vhd", append(bytes.Clone(vhd[:12*diskimage.MiB]), vhd[len(raw):]...), "the VHD is cut off: its footer says"},
		"dynamic VHD":        {"a.vhd", dynamic, "the VHD is dynamic: qemu-img convert"},
		"ext4 with errors":   {"a.raw", change(raw, root+1024+58, 3), "not unmounted cleanly, or has errors"},
		"journal to be run":  {"a.raw", change(raw, root+1024+96, raw[root+1024+96]|4), "not unmounted cleanly, or has errors"},
		"encrypted":          {"a.raw", change(raw, root+1024+98, 1), "other features"},
		"no file system":     {"a.raw", change(raw, root+1024+56, 0), "no partition has an ext4 file system"},
		"no partition table": {"a.raw", make([]byte, 2*diskimage.MiB), "read the partition table"},
		"an empty file":      {"a.raw", nil, "0 bytes are no disk"},
		"qcow2":              {"a.img", append([]byte("QFI\xfb"), make([]byte, diskimage.MiB)...), "it is a qcow2 disk: qemu-img convert"},
		"VHDX":               {"a.vhdx.gz", gz(t, append([]byte("vhdxfile"), make([]byte, diskimage.MiB)...)), "it is a VHDX disk: qemu-img convert"},
		"bzip2":              {"a.bz2", append([]byte("BZh9"), make([]byte, diskimage.MiB)...), "it is compressed by bzip2"},
		"zip":                {"a.zip", append([]byte("PK\x03\x04"), make([]byte, diskimage.MiB)...), "it is a zip archive"},
		"disk cut off":       {"a.gz", gz(t, raw)[:2000], "unexpected EOF"},
		"an archive of two":  {"a.tar.gz", tarGz(t, map[string][]byte{"a": raw, "b": raw}), "it holds two files"},
		"an empty archive":   {"a.tar.gz", tarGz(t, nil), "1024 bytes are no disk"},
		"folders only":       {"a.tar", unpacked(t, tarGz(t, map[string][]byte{"a/": nil})), "it holds no file"},
		"a folder's block":   {"a.raw", damaged(t, raw), "ext4"},
		"an archive cut off": {"a.tgz", tarGz(t, map[string][]byte{"a": raw})[:2000], "unexpected EOF"},
	} {
		img, err := openDiskOf(t, c.file, c.content)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "base disk "+c.file+": ") {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if err == nil {
			_ = img.Close()
		}
	}
}

// damaged has a folder with an entry of length 0.
func damaged(t *testing.T, raw []byte) []byte {
	t.Helper()
	b := bytes.Clone(raw)
	at := bytes.Index(b, []byte("a-second-name"))
	if at < 0 {
		t.Fatal("no folder has a-second-name")
	}
	b[at-4], b[at-3] = 0, 0
	return b
}
