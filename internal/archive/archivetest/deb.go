package archivetest

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// File is a file of a package. A path that ends in a slash is a folder; one
// below DEBIAN/ goes to the package's control files. Folders above a file need
// not be named.
type File struct {
	Path     string
	Content  string
	Mode     int64  // 0644, or 0755 for folders and below DEBIAN/, when 0
	Symlink  string // target, of a symbolic link
	Hardlink string // path in the package, of a hard link
	UID, GID int
	Uname    string // the owner's name, which is root's for UID 0 when ""
}

// Time is the modification time of all files.
var Time = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

// BuildDeb makes a .deb. control is the text of its control file, to which a
// Maintainer and a Description are added where they are missing. compression,
// "gz", "xz", "zst" or "", is that of both its parts.
func BuildDeb(t testing.TB, control, compression string, files ...File) []byte {
	t.Helper()
	control = completeControl(control)
	own := []File{{Path: "control", Content: control}}
	var data []File
	var sums strings.Builder
	for _, f := range files {
		if name, ok := strings.CutPrefix(f.Path, "DEBIAN/"); ok {
			f.Path = name
			if f.Mode == 0 {
				f.Mode = 0o755
			}
			own = append(own, f)
			continue
		}
		data = append(data, f)
		if f.Symlink == "" && f.Hardlink == "" && !strings.HasSuffix(f.Path, "/") {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum([]byte(f.Content)), f.Path)
		}
	}
	own = append(own, File{Path: "md5sums", Content: sums.String()})
	ending := ""
	if compression != "" {
		ending = "." + compression
	}
	return Ar(
		ArMember{"debian-binary", []byte("2.0\n")},
		ArMember{"control.tar" + ending, Compress(t, compression, buildTar(t, own))},
		ArMember{"data.tar" + ending, Compress(t, compression, buildTar(t, data))},
	)
}

func completeControl(control string) string {
	control = strings.TrimRight(control, "\n") + "\n"
	for _, f := range []struct{ name, value string }{
		{"Maintainer", "Nobody <nobody@example.org>"}, {"Description", "package for tests"},
	} {
		if !strings.Contains("\n"+control, "\n"+f.name+":") {
			control += f.name + ": " + f.value + "\n"
		}
	}
	return control
}

func buildTar(t testing.TB, files []File) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	made := map[string]bool{}
	write := func(h *tar.Header, content string) {
		h.Format, h.ModTime = tar.FormatGNU, Time
		if h.Uid == 0 && h.Uname == "" { // dpkg goes by the name where there is one
			h.Uname = "root"
		}
		if h.Gid == 0 {
			h.Gname = "root"
		}
		h.Size = int64(len(content))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatalf("write tar: %v", err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatalf("write tar: %v", err)
		}
	}
	write(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range files {
		for i := range len(f.Path) - 1 {
			if f.Path[i] == '/' && !made[f.Path[:i]] {
				made[f.Path[:i]] = true
				write(&tar.Header{Name: "./" + f.Path[:i+1], Typeflag: tar.TypeDir, Mode: 0o755}, "")
			}
		}
		h := &tar.Header{Name: "./" + f.Path, Typeflag: tar.TypeReg, Mode: f.Mode, Uid: f.UID, Gid: f.GID, Uname: f.Uname}
		content := f.Content
		switch {
		case f.Symlink != "":
			h.Typeflag, h.Linkname, h.Mode, content = tar.TypeSymlink, f.Symlink, 0o777, ""
		case f.Hardlink != "":
			h.Typeflag, h.Linkname, content = tar.TypeLink, "./"+f.Hardlink, ""
		case strings.HasSuffix(f.Path, "/"):
			h.Typeflag, content = tar.TypeDir, ""
			name := path.Clean(f.Path)
			if made[name] {
				continue
			}
			made[name] = true
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		write(h, content)
	}
	if err := tw.Close(); err != nil {
		t.Fatalf("write tar: %v", err)
	}
	return b.Bytes()
}

// Compress compresses b as a file that ends in format would be.
func Compress(t testing.TB, format string, b []byte) []byte {
	t.Helper()
	if format == "" {
		return b
	}
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "gz":
		w = gzip.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	default:
		t.Fatalf("compression %q is not known", format)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatalf("compress: %v", err)
	}
	return out.Bytes()
}

// ArMember is a member of an ar archive.
type ArMember struct {
	Name    string
	Content []byte
}

// Ar makes an ar archive.
func Ar(members ...ArMember) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.Name, Time.Unix(), 0, 0, 0o100644, len(m.Content))
		b.Write(m.Content)
		if len(m.Content)%2 != 0 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}
