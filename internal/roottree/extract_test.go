package roottree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExtractRefuses(t *testing.T) {
	oci := ExtractOptions{OCILayer: true}
	merge := ExtractOptions{MergeUsr: true}
	xattr := folder("d", 0o755)
	xattr.PAXRecords = map[string]string{"SCHILY.xattr.trusted.evil": "1"}
	cases := map[string]struct {
		members []member
		opts    ExtractOptions
		text    string
	}{
		"absolute name":             {[]member{reg("/tmp/x", "")}, ExtractOptions{}, "an absolute name"},
		"dots":                      {[]member{reg("../sentinel", "evil")}, ExtractOptions{}, `".." is refused`},
		"dots within":               {[]member{folder("a", 0o755), reg("a/../../sentinel", "evil")}, ExtractOptions{}, `".." is refused`},
		"dots of a folder":          {[]member{folder("..", 0o777)}, ExtractOptions{}, `".." is refused`},
		"empty name":                {[]member{folder("", 0o777)}, ExtractOptions{}, "the name is refused"},
		"file as root":              {[]member{reg(".", "x")}, ExtractOptions{}, "the root is no folder"},
		"link as root":              {[]member{symlink(".", "../outside")}, ExtractOptions{}, "the root is no folder"},
		"through absolute link":     {[]member{symlink("l", "OUTSIDE"), reg("l/x", "evil")}, ExtractOptions{}, "escapes"},
		"through relative link":     {[]member{symlink("l", "../outside"), reg("l/x", "evil")}, ExtractOptions{}, "escapes"},
		"through link of links":     {[]member{symlink("a", "b/../c"), folder("b", 0o755), symlink("c", ".."), reg("a/sentinel", "evil")}, ExtractOptions{}, "escapes"},
		"folder through link":       {[]member{symlink("l", ".."), folder("l/outside", 0o777)}, merge, "escapes"},
		"link through link":         {[]member{symlink("l", ".."), symlink("l/x", "sentinel")}, ExtractOptions{}, "escapes"},
		"through loop":              {[]member{symlink("l", "l"), reg("l/x", "")}, ExtractOptions{}, "l"},
		"below dangling link":       {[]member{symlink("l", "nothing"), reg("l/x", "")}, ExtractOptions{}, "exists"},
		"below file":                {[]member{reg("f", ""), reg("f/x", "")}, ExtractOptions{}, "f is no folder"},
		"file over folder":          {[]member{folder("d", 0o755), reg("d", "")}, ExtractOptions{}, "a folder stands in its place"},
		"hard link outside":         {[]member{hardlink("h", "../sentinel")}, ExtractOptions{}, `".." is refused`},
		"hard link absolute":        {[]member{hardlink("h", "/etc/passwd")}, ExtractOptions{}, "an absolute name"},
		"hard link through link":    {[]member{symlink("l", ".."), hardlink("h", "l/sentinel")}, ExtractOptions{}, "escapes"},
		"hard link to link":         {[]member{symlink("l", "../sentinel"), hardlink("h", "l")}, ExtractOptions{}, "no regular file"},
		"hard link to folder":       {[]member{folder("d", 0o755), hardlink("h", "d")}, ExtractOptions{}, "no regular file"},
		"hard link to missing":      {[]member{hardlink("h", "missing")}, ExtractOptions{}, "no such file"},
		"hard link to what follows": {[]member{hardlink("h", "f"), reg("f", "")}, ExtractOptions{}, "no such file"},
		"hard link to itself":       {[]member{reg("f", ""), hardlink("f", "./f")}, ExtractOptions{}, "to itself"},
		"hard link put in the way":  {[]member{hardlink("l/h", "f"), reg("f", "")}, ExtractOptions{}, "no such file"},
		"character device":          {[]member{special("dev/null", tar.TypeChar)}, ExtractOptions{}, "devices and FIFOs are refused"},
		"block device":              {[]member{special("sda", tar.TypeBlock)}, ExtractOptions{}, "devices and FIFOs are refused"},
		"FIFO":                      {[]member{special("pipe", tar.TypeFifo)}, ExtractOptions{}, "devices and FIFOs are refused"},
		"device of a layer":         {[]member{special("etc/null", tar.TypeChar)}, oci, "a device outside dev/ is refused"},
		"unknown type":              {[]member{special("cont", tar.TypeCont)}, ExtractOptions{}, "type '7' is not known"},
		"link without target":       {[]member{symlink("l", "")}, ExtractOptions{}, "the link's target is refused"},
		"link with long target":     {[]member{symlink("l", strings.Repeat("x/", 2048))}, ExtractOptions{}, "the link's target is refused"},
		"long name":                 {[]member{reg(strings.Repeat("x", 256), "")}, ExtractOptions{}, "too long"},
		"long path":                 {[]member{reg(strings.Repeat(strings.Repeat("x", 250)+"/", 17)+"x", "")}, ExtractOptions{}, "the name is refused"},
		"deep path":                 {[]member{reg(strings.Repeat("d/", maxDepth)+"x", "")}, ExtractOptions{}, "folders deep"},
		"host's xattr":              {[]member{xattr}, ExtractOptions{}, `xattr "trusted.evil" is refused`},
		"too many members":          {[]member{reg("a", ""), reg("b", ""), reg("c", "")}, ExtractOptions{MaxEntries: 2}, "more than 2 members"},
		"too many of one name":      {[]member{reg("a", ""), reg("a", ""), reg("a", "")}, ExtractOptions{MaxEntries: 2}, "more than 2 members"},
		"large file":                {[]member{reg("a", "12345678901")}, ExtractOptions{MaxBytes: 10}, "more than 10 bytes"},
		"large files":               {[]member{reg("a", "123456"), reg("a", "123456")}, ExtractOptions{MaxBytes: 10}, "more than 10 bytes"},
		"cut off":                   {[]member{{tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 100}, "12"}}, ExtractOptions{}, "unexpected EOF"},
		"whiteout of nothing":       {[]member{reg(".wh.", "")}, oci, "no whiteout of the specification"},
		"whiteout of the folder":    {[]member{reg("d/.wh..", "")}, oci, "no whiteout of the specification"},
		"whiteout of its parent":    {[]member{reg(".wh...", "")}, oci, "no whiteout of the specification"},
		"whiteout of whiteout":      {[]member{reg(".wh..wh.x", "")}, oci, "no whiteout of the specification"},
		"opaque file":               {[]member{reg("f", ""), reg("f/.wh..wh..opq", "")}, oci, "f is no folder"},
		"layer, below its file":     {[]member{reg("f", ""), reg("f/x", "")}, oci, "f is no folder"},
		"layer, through loop":       {[]member{symlink("l", "l"), reg("l/x", "")}, oci, "too many symbolic links"},
		"layer, dots":               {[]member{reg("/a/../../sentinel", "evil")}, oci, `".." is refused`},
		"layer, file as root":       {[]member{reg("/.", "x")}, oci, "the root is no folder"},
		"layer, link to folder":     {[]member{folder("d", 0o755), hardlink("h", "d")}, oci, "a folder"},
		"layer, folder again":       {[]member{folder("d", 0o755), symlink("d", "x"), folder("d", 0o755)}, oci, "a folder again"},
		"layer, link to missing":    {[]member{hardlink("h", "/etc/passwd")}, oci, "no such file"},
		"layer, link ahead":         {[]member{hardlink("h", "f"), reg("f", "")}, oci, "no such file"},
		"layer, link to itself":     {[]member{symlink("l", "x"), hardlink("l", "/l")}, oci, "to itself"},
		"whiteout of its own":       {[]member{reg("d/f", ""), reg(".wh.d", "")}, oci, "its own layer brings"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for i := range c.members {
				if c.members[i].Linkname == "OUTSIDE" {
					c.members[i].Linkname = filepath.Join(p.outer, "outside")
				}
			}
			if _, err := p.extract(t, makeTar(t, c.members...), c.opts); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
			p.check(t)
		})
	}
}

func TestExtract(t *testing.T) {
	oci := ExtractOptions{OCILayer: true}
	merge := ExtractOptions{MergeUsr: true}
	usr := []member{folder("usr/", 0o755), folder("usr/lib/", 0o755), reg("usr/lib/old", "1"), symlink("lib", "usr/lib")}
	lower := []member{folder("./", 0o755), folder("d", 0o755), reg("d/one", "1"), reg("d/two", "2"), folder("d/sub", 0o755), reg("d/sub/three", "3"), reg("e", "5")}
	global := member{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "/tmp/GlobalHead.1", PAXRecords: map[string]string{"comment": "x"}}}
	cases := map[string]struct {
		archives [][]member
		opts     ExtractOptions
		want     string
	}{
		"names":                   {[][]member{{folder("./", 0o755), reg("./a", "1"), reg("b//./c", "2"), reg("\xff\n \\", "")}}, ExtractOptions{}, "a=1 b/ b/c=2 \xff\n \\="},
		"parents not named":       {[][]member{{reg("a/b/c", "1"), symlink("d/e", "../a")}}, ExtractOptions{}, "a/ a/b/ a/b/c=1 d/ d/e>../a"},
		"hard link":               {[][]member{{reg("a", "1"), hardlink("d/b", "./a"), hardlink("d/b", "a")}}, ExtractOptions{}, "a=1 d/ d/b=1"},
		"hard link cut":           {[][]member{{reg("a", "1"), hardlink("b", "a"), reg("b", "2")}}, ExtractOptions{}, "a=1 b=2"},
		"links lead anywhere":     {[][]member{{symlink("a", "/etc"), symlink("b", "../outside"), symlink("c", "c")}}, ExtractOptions{}, "a>/etc b>../outside c>c"},
		"file in place of link":   {[][]member{{symlink("l", "../sentinel"), reg("l", "mine")}}, ExtractOptions{}, "l=mine"},
		"link in place of file":   {[][]member{{reg("l", "1"), symlink("l", "x")}}, ExtractOptions{}, "l>x"},
		"folder in place of link": {[][]member{{symlink("l", "../outside"), folder("l", 0o777), reg("l/x", "1")}}, ExtractOptions{}, "l/ l/x=1"},
		"folder in place of file": {[][]member{{reg("d", "1"), folder("d", 0o755)}}, ExtractOptions{}, "d/"},
		"global header":           {[][]member{{global, reg("a", "1")}}, ExtractOptions{}, "a=1"},
		"just small enough":       {[][]member{{reg("a", "12345"), reg("b", "12345")}}, ExtractOptions{MaxBytes: 10, MaxEntries: 2}, "a=12345 b=12345"},

		"merged":                     {[][]member{usr, {folder("lib/", 0o700), reg("lib/new", "2")}}, merge, "lib>usr/lib usr/ usr/lib/ usr/lib/new=2 usr/lib/old=1"},
		"merged, below":              {[][]member{usr, {reg("lib/a/b", "2")}}, merge, "lib>usr/lib usr/ usr/lib/ usr/lib/a/ usr/lib/a/b=2 usr/lib/old=1"},
		"not merged":                 {[][]member{usr, {folder("lib/", 0o755), reg("lib/new", "2")}}, ExtractOptions{}, "lib/ lib/new=2 usr/ usr/lib/ usr/lib/old=1"},
		"merged, but leads out":      {[][]member{{symlink("lib", "../outside")}, {folder("lib/", 0o777), reg("lib/new", "2")}}, merge, "lib/ lib/new=2"},
		"merged, but leads to file":  {[][]member{{reg("f", "1"), symlink("lib", "f")}, {folder("lib/", 0o755)}}, merge, "f=1 lib/"},
		"merged, but leads nowhere":  {[][]member{{symlink("lib", "usr/lib")}, {folder("lib/", 0o755)}}, merge, "lib/"},
		"merged, link again":         {[][]member{usr, {symlink("lib", "usr/lib")}}, merge, "lib>usr/lib usr/ usr/lib/ usr/lib/old=1"},
		"whiteouts without OCILayer": {[][]member{{reg(".wh.x", "1")}}, ExtractOptions{}, ".wh.x=1"},

		"whiteout":                 {[][]member{lower, {reg("d/.wh.one", ""), reg(".wh.e", "")}}, oci, "d/ d/sub/ d/sub/three=3 d/two=2"},
		"whiteout of folder":       {[][]member{lower, {reg(".wh.d", "")}}, oci, "e=5"},
		"whiteout of missing":      {[][]member{lower, {reg(".wh.x", ""), reg("y/z/.wh.x", "")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2 e=5 y/ y/z/"},
		"whiteout, then new":       {[][]member{lower, {reg(".wh.d", ""), reg("d/new", "n")}}, oci, "d/ d/new=n e=5"},
		"whiteout of link":         {[][]member{{symlink("l", "../sentinel")}, {reg(".wh.l", "")}}, oci, ""},
		"opaque":                   {[][]member{lower, {folder("d", 0o755), reg("d/.wh..wh..opq", ""), reg("d/new", "n")}}, oci, "d/ d/new=n e=5"},
		"opaque last":              {[][]member{lower, {folder("d", 0o755), reg("d/new", "n"), folder("d/sub", 0o755), reg("d/sub/new", "m"), reg("d/.wh..wh..opq", "")}}, oci, "d/ d/new=n d/sub/ d/sub/new=m e=5"},
		"opaque last, not named":   {[][]member{lower, {reg("d/sub/deep/new", "m"), reg(".wh..wh..opq", "")}}, oci, "d/ d/sub/ d/sub/deep/ d/sub/deep/new=m"},
		"opaque root":              {[][]member{lower, {reg(".wh..wh..opq", ""), reg("a", "1")}}, oci, "a=1"},
		"opaque missing":           {[][]member{lower, {reg("x/.wh..wh..opq", "")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2 e=5 x/"},
		"opaque, not UTF-8":        {[][]member{{reg("\xff/a", "1")}, {reg("\xff/.wh..wh..opq", ""), reg("\xff/b", "2")}}, oci, "\xff/ \xff/b=2"},
		"file in place of folder":  {[][]member{lower, {reg("d", "1")}}, oci, "d=1 e=5"},
		"link in place of folder":  {[][]member{lower, {symlink("d", "../outside")}}, oci, "d>../outside e=5"},
		"folder of both":           {[][]member{lower, {folder("d", 0o755), reg("d/two", "new")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=new e=5"},
		"devices of a layer":       {[][]member{{special("dev/null", tar.TypeChar), special("dev/sda", tar.TypeBlock)}}, oci, "dev/"},
		"below link of same layer": {[][]member{{folder("usr", 0o755), symlink("lib", "usr"), reg("lib/x", "1")}}, oci, "lib>usr usr/ usr/x=1"},

		"layer, absolute names":      {[][]member{{folder("/", 0o755), reg("/a/b", "1"), hardlink("/c", "/a/b"), reg("//d", "2")}}, oci, "a/ a/b=1 c=1 d=2"},
		"layer, absolute link":       {[][]member{{symlink("a", "/etc"), reg("a/x", "1"), reg("/a/.wh.y", "")}}, oci, "a>/etc etc/ etc/x=1"},
		"layer, link above the root": {[][]member{{symlink("l", "../../outside"), reg("l/x", "1"), reg("l/.wh.sentinel", "")}}, oci, "l>../../outside outside/ outside/x=1"},
		"layer, opaque through link": {[][]member{lower, {symlink("l", "../d"), reg("l/new", "n"), reg("l/.wh..wh..opq", "")}}, oci, "d/ d/new=n e=5 l>../d"},
		"layer, links of links":      {[][]member{{symlink("a", "b/../c"), symlink("b", "/x/y"), symlink("x/c", "/z"), reg("a/f", "1")}}, oci, "a>b/../c b>/x/y x/ x/c>/z z/ z/f=1"},
		"layer, link of lower layer": {[][]member{{symlink("var/run", "/run"), folder("run", 0o755)}, {reg("var/run/pid", "1")}}, oci, "run/ var/ var/run/ var/run/pid=1"},
		"layer, relative lower link": {[][]member{usr, {reg("lib/a/b", "2")}}, oci, "lib/ lib/a/ lib/a/b=2 usr/ usr/lib/ usr/lib/old=1"},
		"layer, file of lower layer": {[][]member{lower, {reg("e/x", "1")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2 e/ e/x=1"},
		"layer, link, then again":    {[][]member{{symlink("l", "/a"), reg("l/x", "1"), folder("l", 0o755), reg("l/y", "2")}}, oci, "a/ a/x=1 l/ l/y=2"},
		"layer, hard link to link":   {[][]member{{symlink("s", "/a"), hardlink("t", "s"), reg("t/x", "1")}}, oci, "a/ a/x=1 s>/a t>/a"},
		"layer, hard link of lower":  {[][]member{lower, {hardlink("h", "/d/one")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2 e=5 h=1"},
		"layer, FIFO":                {[][]member{lower, {special("e", tar.TypeFifo), special("dev/p", tar.TypeFifo), hardlink("q", "e")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2 dev/ dev/p fifo e fifo q fifo"},
		"layer, AUFS":                {[][]member{lower, {reg(".wh..wh.aufs", ""), folder(".wh..wh.plnk", 0o700), reg(".wh..wh.plnk/1.2", "x"), reg(".wh.e", "")}}, oci, "d/ d/one=1 d/sub/ d/sub/three=3 d/two=2"},
		"layer, names twice":         {[][]member{{reg("a", "1"), reg("./a", "2"), folder("b", 0o755), reg("/b/c", "3"), folder("b/", 0o755), symlink("a", "b")}}, oci, "a>b b/ b/c=3"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for _, members := range c.archives {
				did, err := p.extract(t, makeTar(t, members...), c.opts)
				if err != nil {
					t.Fatal(err)
				}
				if did.Entries != len(members) {
					t.Errorf("%d entries of %d", did.Entries, len(members))
				}
			}
			if got := p.list(t); got != c.want {
				t.Errorf("tree %q\n want %q", got, c.want)
			}
			p.check(t)
		})
	}
}

func TestExtractMetadata(t *testing.T) {
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	members := []member{
		folder("./", 0o700), folder("closed/", 0o555), reg("closed/f", "1"), folder("twice", 0o700), folder("twice/", 0o750),
		folder("tmp", 0o1777), reg("bin/su", "2"), special("dev/null", tar.TypeChar),
	}
	members[6].Mode = 0o104755
	again := hardlink("bin/doas", "bin/su")
	again.Mode, again.ModTime = 0o4711, at // the last of a file's names counts
	members = append(members, again)
	for i := range members {
		members[i].ModTime = at
	}
	p := newPlace(t)
	did, err := p.extract(t, makeTar(t, members...), ExtractOptions{OCILayer: true})
	if err != nil {
		t.Fatal(err)
	}
	if did.Bytes != 2 || !slices.Equal(did.SkippedDevices, []string{"dev/null"}) {
		t.Errorf("%+v", did)
	}
	m, err := Walk(t.Context(), p.tree, WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{".": 0o700, "closed": 0o555, "closed/f": 0o644, "twice": 0o750, "tmp": 0o1777, "bin": 0o755, "bin/su": 0o4711, "bin/doas": 0o4711} {
		e, _ := m.Lookup(name)
		if e.Mode != mode || int(e.UID) != os.Getuid() {
			t.Errorf("%s: mode %o of %d, want %o", name, e.Mode, e.UID, mode)
		}
		st, err := os.Stat(filepath.Join(p.tree, name))
		if err != nil || name != "bin" && !st.ModTime().Equal(at) {
			t.Errorf("%s: time %v, %v", name, st.ModTime(), err)
		}
	}
	if err := os.Chmod(filepath.Join(p.tree, "closed"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestExtractXattrs(t *testing.T) {
	p := newPlace(t)
	if err := unix.Setxattr(p.outer, "user.probe", []byte("1"), 0); err != nil {
		t.Skipf("no xattrs here: %v", err)
	}
	f, d := reg("f", "1"), folder("d", 0o555)
	layer := reg("layer", "1")
	layer.PAXRecords = map[string]string{"SCHILY.xattr.user.b": "1", "SCHILY.xattr.trusted.md5sum": "2", "SCHILY.acl.access": "user::rwx", "com.example": "3"}
	if _, err := p.extract(t, makeTar(t, layer), ExtractOptions{OCILayer: true}); err != nil {
		t.Fatal(err)
	}
	f.PAXRecords = map[string]string{"SCHILY.xattr.user.b": "\x00\xff", "SCHILY.xattr.user.a": "", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.selinux": "label"}
	d.PAXRecords = map[string]string{"SCHILY.xattr.user.c": "=\n"}
	if _, err := p.extract(t, makeTar(t, f, d), ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := Walk(t.Context(), p.tree, WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"f": "user.a= user.b=00ff ", "d": "user.c=3d0a ", "layer": "user.b=31 "} {
		if e, _ := m.Lookup(name); xattrText(e.Xattrs) != want {
			t.Errorf("%s has %s, want %s", name, xattrText(e.Xattrs), want)
		}
	}
	if m, err = Walk(t.Context(), p.tree, WalkOptions{NoXattrs: true}); err != nil || slices.ContainsFunc(m.Entries, func(e Entry) bool { return e.Xattrs != nil }) {
		t.Errorf("without xattrs: %+v, %v", m, err)
	}
}

func TestExtractOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	p := newPlace(t)
	members := []member{folder("d", 0o755), reg("d/su", "1"), symlink("d/l", "x")}
	for i := range members {
		members[i].Uid, members[i].Gid = 12, 34
	}
	members[1].Mode = 0o4755
	if _, err := Extract(t.Context(), p.tree, tar.NewReader(bytes.NewReader(makeTar(t, members...))), ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := Walk(t.Context(), p.tree, WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Entries[1:] {
		if e.UID != 12 || e.GID != 34 {
			t.Errorf("%s belongs to %d:%d", e.Path, e.UID, e.GID)
		}
	}
	if e, _ := m.Lookup("d/su"); e.Mode != 0o4755 {
		t.Errorf("mode %o", e.Mode)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestExtractEndlessFile(t *testing.T) {
	for name, size := range map[string]int64{"more than all": math.MaxInt64, "more than is left": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			bomb := member{Header: tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Size: size, Format: tar.FormatGNU}}
			head := makeTar(t, reg("a", "12"), bomb)
			p := newPlace(t)
			r := io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, 8<<20))
			did, err := Extract(t.Context(), p.tree, tar.NewReader(r), ExtractOptions{IgnoreOwners: true, MaxBytes: 1 << 20})
			if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") || did.Bytes != 2 {
				t.Errorf("%+v, error %v", did, err)
			}
			p.check(t)
		})
	}
}

func TestExtractStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cancel(reason)
	p := newPlace(t)
	archive := tar.NewReader(bytes.NewReader(makeTar(t, reg("a", "1"))))
	if did, err := Extract(ctx, p.tree, archive, ExtractOptions{}); !errors.Is(err, reason) || did.Entries != 0 {
		t.Errorf("%+v, error %v", did, err)
	}
	if _, err := Extract(t.Context(), filepath.Join(p.outer, "missing"), archive, ExtractOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(makeTar(f, folder("./", 0o755), reg("usr/bin/a", "1"), hardlink("b", "usr/bin/a"), symlink("bin", "usr/bin"), reg("bin/c", "2")), true, false)
	f.Add(makeTar(f, symlink("l", "../outside"), reg("l/x", "evil")), false, false)
	f.Add(makeTar(f, reg("d/a", "1"), reg("d/.wh.b", ""), reg("d/.wh..wh..opq", ""), special("dev/null", tar.TypeChar)), false, true)
	f.Add(makeTar(f, member{Header: tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 1 << 40}}), false, false)
	f.Add(makeTar(f, symlink("a", ".."), hardlink("b", "a/sentinel"), folder("a/outside", 0o777)), true, true)
	f.Add(makeTar(f, symlink("a", "/outside"), reg("/a/sentinel", "evil"), symlink("b", ".."), special("b/p", tar.TypeFifo), hardlink("c", "/a/sentinel"), reg("b/.wh.outside", "")), false, true)
	f.Fuzz(func(t *testing.T, archive []byte, mergeUsr, oci bool) {
		p := newPlace(t)
		opts := ExtractOptions{MergeUsr: mergeUsr, OCILayer: oci, MaxBytes: 1 << 20, MaxEntries: 64}
		did, err := p.extract(t, archive, opts)
		if did.Bytes > opts.MaxBytes || err == nil && did.Entries > opts.MaxEntries {
			t.Errorf("%+v, error %v", did, err)
		}
		p.check(t)
	})
}

// A sparse file of GNU tar, old format: 4 bytes at 512 of 1,024, the rest is a hole.
func TestExtractSparse(t *testing.T) {
	var head [512]byte
	for at, text := range map[int]string{
		0: "sp", 100: "0000644\x00", 108: "0000000\x00", 116: "0000000\x00", 124: "00000001000\x00", 136: "00000000000\x00", 148: "        ", 156: "S", 257: "ustar  \x00",
		386: "00000001000\x00", 398: "00000001000\x00", 483: "00000002000\x00",
	} {
		copy(head[at:], text)
	}
	sum := 0
	for _, b := range head {
		sum += int(b)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	archive := slices.Concat(head[:], bytes.Repeat([]byte("data"), 128), make([]byte, 1024))
	p := newPlace(t)
	did, err := p.extract(t, archive, ExtractOptions{OCILayer: true})
	if err != nil || did.Bytes != 1024 {
		t.Fatalf("%+v, error %v", did, err)
	}
	if got, want := p.list(t), "sp="+strings.Repeat("\x00", 512)+strings.Repeat("data", 128); got != want {
		t.Errorf("%q", got)
	}
	if _, err := newPlace(t).extract(t, archive, ExtractOptions{}); err == nil || !strings.Contains(err.Error(), "type 'S' is not known") {
		t.Errorf("error %v", err)
	}
}
