package provenance

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// TestBootSet: what is said to be of the boot set has to be in that package, at the path
// from which it is taken.
func TestBootSet(t *testing.T) {
	head := &trace.Head{Packages: []trace.Package{
		{Name: "grub", Version: "1", Architecture: "amd64", Set: "boot", Origin: trace.Archive},
		{Name: "shim", Version: "1", Architecture: "amd64", Set: "boot", Origin: trace.Archive},
		{Name: "bash", Version: "1", Architecture: "amd64", Set: "target", Origin: trace.Archive},
	}}
	b := newBootSet(head, []debContent{
		{Deb: trace.Deb{Package: 0, List: &roottree.Manifest{Entries: []roottree.Entry{
			fileEntry("usr/lib/grub/i386-pc/ls.mod", "ls"), fileEntry("usr/lib/grub/i386-pc/other.mod", "other"), fileEntry(hybridImage, "mbr"),
		}}}},
		{Deb: trace.Deb{Package: 1, List: &roottree.Manifest{Entries: []roottree.Entry{fileEntry("usr/lib/shim/shimx64.efi.signed", "shim"), fileEntry("usr/lib/shim/mmx64.efi", "mm")}}}},
	})
	for _, c := range []struct {
		part, path, content string
		pkg                 int
		says                string
	}{
		{trace.PartBIOS, "i386-pc/ls.mod", "ls", 0, ""},
		{trace.PartDisk, "[BIOS boot partition]/i386-pc/ls.mod", "ls", 0, ""},
		{trace.PartBIOS, "i386-pc/ls.mod", "other", 0, "does not hold it at usr/lib/grub/i386-pc/ls.mod"},
		{trace.PartBIOS, "i386-pc/ls.mod", "ls", 1, "is said to be in shim:amd64=1"},
		{trace.PartESP, "EFI/BOOT/BOOTX64.EFI", "shim", 1, ""},
		{trace.PartMedium, "EFI/BOOT/BOOTX64.EFI", "shim", 1, ""},
		{trace.PartDisk, "[EFI system partition]/EFI/BOOT/BOOTX64.EFI", "shim", 1, ""},
		{trace.PartESP, "EFI/BOOT/BOOTX64.EFI", "mm", 1, "does not hold it at"},
		{trace.PartESP, "EFI/BOOT/OTHER.EFI", "mm", 1, "does not hold it at"},
		{trace.PartMedium, mbrName, "mbr", 0, ""},
		{trace.PartMedium, mbrName, "ls", 0, "does not hold it at " + hybridImage},
		{trace.PartMedium, "boot/memtest.bin", "x", 2, "none of the boot set"},
	} {
		o := &trace.Origin{Path: c.path, Type: roottree.File, SHA256: digest(c.content), Size: int64(len(c.content)), Kind: trace.Archive, Package: &c.pkg}
		if have := b.judge(c.part, o); c.says == "" && have != "" || !strings.Contains(have, c.says) {
			t.Errorf("%s:%s of %q in %d: %q, want %q", c.part, c.path, c.content, c.pkg, have, c.says)
		}
	}
}

// TestPieces: a line of a part has to say of each file what the image has.
func TestPieces(t *testing.T) {
	r := &rereading{}
	made := piece{entry: fileEntry("conf", "made"), kinds: []trace.Kind{trace.Generated}}
	copied := piece{entry: fileEntry("bin", "copied"), kinds: []trace.Kind{trace.Generated}, of: "usr/bin"}
	for name, c := range map[string]struct {
		piece  piece
		change func(*trace.Origin)
		says   string
	}{
		"made":                     {made, func(*trace.Origin) {}, ""},
		"other content":            {made, func(o *trace.Origin) { o.SHA256 = digest("x") }, "is another file in the image"},
		"other type":               {made, func(o *trace.Origin) { o.Type = roottree.Link }, "is another file in the image"},
		"said a copy":              {made, func(o *trace.Origin) { o.Of = "root:usr/bin" }, "is said to be a copy of root:usr/bin, and is none"},
		"said a .deb's":            {made, func(o *trace.Origin) { o.Kind = trace.Archive }, "is said to be archive, which it cannot be"},
		"a copy":                   {copied, func(o *trace.Origin) { o.Of, o.Kind = "root:usr/bin", trace.Archive }, ""},
		"a copy of another":        {copied, func(o *trace.Origin) { o.Of = "root:usr/lib" }, "is a copy of root:usr/bin, which is not said"},
		"a copy that nobody names": {copied, func(*trace.Origin) {}, "is a copy of root:usr/bin, which is not said"},
	} {
		o := &trace.Origin{Type: c.piece.entry.Type, SHA256: c.piece.entry.SHA256, Size: c.piece.entry.Size, Kind: trace.Generated}
		c.change(o)
		if have := r.compare(o, c.piece); c.says == "" && have != "" || !strings.Contains(have, c.says) {
			t.Errorf("%s: %q, want %q", name, have, c.says)
		}
	}
}
