package sourceiso

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

func TestCommandIsFixed(t *testing.T) {
	c := Command(Params{File: "x.iso", Volume: "SRC_X_1"}, 1700000000)
	const want = "xorriso -as mkisofs -iso-level 3 -full-iso9660-filenames -rational-rock -joliet -joliet-long" +
		" -volid SRC_X_1 -preparer isotrace -appid  -sysid  -publisher  --set_all_file_dates =1700000000" +
		" -o /out/x.iso -graft-points /=/in/sources /SHA256SUMS=/in/given/SHA256SUMS"
	if have := strings.Join(c.Argv, " "); have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	if have := strings.Join(c.Env, " "); have != "SOURCE_DATE_EPOCH=1700000000 TZ=UTC" {
		t.Errorf("environment %s", have)
	}
}

func TestChecksums(t *testing.T) {
	a, b := artifact.HashBytes([]byte("a")), artifact.HashBytes([]byte("b"))
	files := []artifact.Ref{{Path: "debian/pool/b.dsc", Digest: b}, {Path: "debian/pool/a b.tar.xz", Digest: a}}
	want := string(a) + "  debian/pool/a b.tar.xz\n" + string(b) + "  debian/pool/b.dsc\n"
	if have := string(Checksums(files)); have != want || files[0].Path != "debian/pool/b.dsc" {
		t.Errorf("have %s\nwant %s", have, want)
	}
}
