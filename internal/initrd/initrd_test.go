package initrd

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
)

func read(t testing.TB, image []byte, limits Limits) ([]Segment, error) {
	t.Helper()
	return Read(t.Context(), "initrd.img", bytes.NewReader(image), int64(len(image)), limits)
}

func hash(s string) artifact.Digest { return artifact.HashBytes([]byte(s)) }

func microcode() []byte {
	return pad(cpio(part{name: "kernel", mode: folder | 0o755}, part{name: "kernel/x86", mode: folder | 0o755},
		part{name: "kernel/x86/code.bin", mode: regular | 0o644, data: "microcode"}), 1024)
}

// TestReadNames: all but the digests is there.
func TestReadNames(t *testing.T) {
	for name, b := range packed(t) {
		t.Run(name, func(t *testing.T) {
			image := append(microcode(), b...)
			want, err := read(t, image, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range want {
				for i := range s.Tree.Entries {
					s.Tree.Entries[i].SHA256 = ""
				}
			}
			have, err := ReadNames(t.Context(), "initrd.img", bytes.NewReader(image), int64(len(image)), Limits{})
			if err != nil || !reflect.DeepEqual(have, want) {
				t.Errorf("%v: %+v, want %+v", err, have, want)
			}
		})
	}
}

func TestCompressions(t *testing.T) {
	want := []roottree.Entry{{Path: "file", Type: roottree.File, Mode: 0o644, Size: 7, SHA256: hash("content")}}
	for name, b := range packed(t) {
		t.Run("of "+name, func(t *testing.T) {
			got, err := read(t, append(microcode(), b...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 || got[0].Offset != 0 || got[0].Compression != "" || len(got[0].Tree.Entries) != 3 {
				t.Fatalf("have %+v", got)
			}
			if s := got[1]; s.Offset != 1024 || s.Compression != name || !reflect.DeepEqual(s.Tree.Entries, want) {
				t.Errorf("have %+v %+v", s, s.Tree)
			}
		})
	}
}

// TestEnds has every stream stand before every other, next to it and after
// zeros: where one ends must be known to the byte.
func TestEnds(t *testing.T) {
	all := packed(t)
	for _, first := range slices.Sorted(maps.Keys(all)) {
		for _, second := range slices.Sorted(maps.Keys(all)) {
			for _, zeros := range []int{0, 1, 511, 512, 70_001} {
				if second == "" {
					zeros = (len(all[first])+zeros+3)&^3 - len(all[first]) // a bare archive begins at a multiple of four
				}
				if first == "bzip2" || first == "lz4" && zeros < 4 && (second == "gzip" || second == "lzma" || second == "bzip2") {
					continue // no decoder could tell
				}
				at := len(all[first]) + zeros
				image := append(append(slices.Clone(all[first]), make([]byte, zeros)...), all[second]...)
				got, err := read(t, image, Limits{})
				if err != nil {
					t.Errorf("%q, %d zeros, %q: %v", first, zeros, second, err)
					continue
				}
				if len(got) != 2 || got[1].Offset != int64(at) || got[0].Compression != first || got[1].Compression != second ||
					!reflect.DeepEqual(got[0].Tree, got[1].Tree) {
					t.Errorf("%q, %d zeros, %q: have %+v", first, zeros, second, got)
				}
			}
		}
	}
}

func TestSeveralArchivesInAStream(t *testing.T) {
	two := append(cpio(part{name: "a", mode: regular, data: "1"}), open(part{name: "b", mode: regular, data: "2"})...)
	two = append(pad(two, 512), open(part{name: "c", mode: regular, data: "3"})...)
	for name, image := range map[string][]byte{"": two, "gzip": gzipped(t, two)} {
		got, err := read(t, image, Limits{})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		var paths []string
		for _, s := range got {
			if s.Compression != name {
				t.Errorf("%q: have %+v", name, s)
			}
			for _, e := range s.Tree.Entries {
				paths = append(paths, e.Path)
			}
			paths = append(paths, "|")
		}
		// The second has no trailer, and so goes on after the zeros.
		if have := strings.Join(paths, " "); have != "a | b c |" {
			t.Errorf("%q: have %s", name, have)
		}
		if name == "" && got[1].Offset != 512 {
			t.Errorf("the second is said to stand at %d", got[1].Offset)
		}
	}
}

func TestRefused(t *testing.T) {
	file := part{name: "f", mode: regular | 0o644, data: "content"}
	with := func(f func(*part)) []byte {
		p := file
		f(&p)
		return cpio(p)
	}
	all := packed(t)
	for name, c := range map[string]struct {
		image  []byte
		limits Limits
		want   string
	}{
		"nothing":               {nil, Limits{}, "it holds no archive"},
		"zeros":                 {make([]byte, 1024), Limits{}, "it holds no archive"},
		"no archive":            {[]byte("#!/bin/sh"), Limits{}, "offset 0: malformed initramfs image: neither"},
		"odc":                   {with(func(p *part) { p.magic = "070707" }), Limits{}, `"070707" is not the magic`},
		"off by two":            {append([]byte{0, 0}, plain()...), Limits{}, "offset 2: malformed initramfs image: neither"},
		"junk behind":           {append(plain(), "junk"...), Limits{}, "offset 512: malformed"},
		"junk in a stream":      {gzipped(t, append(plain(), "junk"...)), Limits{}, "offset 0: gzip: malformed initramfs image: byte 512"},
		"an odd start":          {gzipped(t, append([]byte{0}, plain()...)), Limits{}, "byte 1 of the stream"},
		"lzop":                  {[]byte("\x89LZO\x00\r\n\x1a\n…"), Limits{}, "lzop: the compression is not supported"},
		"digits":                {bytes.Replace(plain(), []byte("000081A4"), []byte("+0081A4 "), 1), Limits{}, `"+0081A4 " is no number`},
		"cut in a header":       {plain()[:60], Limits{}, "unexpected EOF"},
		"cut in a name":         {plain()[:112], Limits{}, "unexpected EOF"},
		"cut in content":        {plain()[:120], Limits{}, "unexpected EOF"},
		"cut in padding":        {plain()[:123], Limits{}, "unexpected EOF"},
		"cut gzip":              {all["gzip"][:len(all["gzip"])-3], Limits{}, "unexpected EOF"},
		"cut zstd":              {all["zstd"][:len(all["zstd"])-3], Limits{}, "unexpected EOF"},
		"cut xz":                {all["xz"][:len(all["xz"])-3], Limits{}, "unexpected EOF"},
		"cut lz4":               {all["lz4"][:len(all["lz4"])-3], Limits{}, "unexpected EOF"},
		"cut lzma":              {all["lzma"][:len(all["lzma"])-3], Limits{}, "unexpected EOF"},
		"damaged gzip":          {flip(all["gzip"], 5), Limits{}, "gzip: invalid checksum"},
		"damaged zstd":          {flip(all["zstd"], 1), Limits{}, "CRC check failed"},
		"damaged xz":            {flip(all["xz"], 9), Limits{}, "xz: data is corrupt"},
		"a large dictionary":    {[]byte("\x5d\x00\x00\x00\x80\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00"), Limits{}, "dictionary"},
		"an empty name":         {with(func(p *part) { p.name = "" }), Limits{}, "an empty name"},
		"up":                    {with(func(p *part) { p.name = "a/../../f" }), Limits{}, `".."`},
		"a NUL within":          {with(func(p *part) { p.name = "f\x00g" }), Limits{}, "ends in no NUL"},
		"no NUL":                {bytes.Replace(plain(), []byte("file\x00"), []byte("file!"), 1), Limits{}, "ends in no NUL"},
		"a long name":           {with(func(p *part) { p.name = strings.Repeat("n", 4096) }), Limits{}, "a name of 4097 bytes"},
		"a long name by limit":  {plain(), Limits{Name: 4}, "a name of 5 bytes, not 1 to 4"},
		"deep":                  {with(func(p *part) { p.name = strings.Repeat("d/", 300) + "f" }), Limits{}, "more than 256 folders deep"},
		"no type":               {with(func(p *part) { p.mode = 0o644 }), Limits{}, "mode 644 is of no known type"},
		"a folder with content": {with(func(p *part) { p.mode = folder }), Limits{}, "has content and is no file"},
		"a link to nothing":     {with(func(p *part) { p.mode, p.data = symlink, "" }), Limits{}, "a target of 0 bytes"},
		"a link with a NUL":     {with(func(p *part) { p.mode, p.data = symlink, "a\x00b" }), Limits{}, "the target"},
		"a long link":           {with(func(p *part) { p.mode, p.data = symlink, strings.Repeat("l", 4097) }), Limits{}, "a target of 4097 bytes"},
		"a checksum":            {with(func(p *part) { p.magic, p.check = "070702", 1 }), Limits{}, "the checksum is 000002fb, the header has 00000001"},
		"padding":               {bytes.Replace(plain(), []byte("content\x00"), []byte("contents"), 1), Limits{}, "padding is not of zeros"},
		"trailer":               {with(func(p *part) { p.name = trailer }), Limits{}, "the trailer has content"},
		"many entries":          {microcode(), Limits{Entries: 3}, "more entries than allowed"},
		"many archives":         {bytes.Repeat(plain(), 3), Limits{Segments: 2}, "more than 2 archives"},
		"many bytes":            {all["zstd"], Limits{Bytes: 511}, decompress.ErrLimit.Error()},
		"a bomb":                {gzipped(t, cpio(part{name: "f", mode: regular, data: strings.Repeat("\x00", 80<<20)})), Limits{}, decompress.ErrLimit.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, c.image, c.limits)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "initrd.img: ") {
				t.Fatalf("have %+v, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestHint(t *testing.T) {
	_, err := read(t, []byte("\x89LZO\x00\r\n\x1a\n"), Limits{})
	if !strings.Contains(fault.HintOf(err), "COMPRESS=zstd") {
		t.Errorf("the hint is %q", fault.HintOf(err))
	}
}

func TestExactLimits(t *testing.T) {
	if _, err := read(t, packed(t)["zstd"], Limits{Bytes: 512, Entries: 2, Name: 11, Segments: 1}); err != nil {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	for name, b := range packed(t) {
		if _, err := Read(ctx, "initrd.img", bytes.NewReader(b), int64(len(b)), Limits{}); !errors.Is(err, why) {
			t.Errorf("%q: have %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, b := range packed(f) {
		f.Add(b)
		f.Add(append(microcode(), b...))
	}
	f.Add(cpio(part{name: "a", mode: regular, ino: 1, links: 2}, part{name: "b", mode: regular, ino: 1, links: 2, data: "x"}))
	f.Fuzz(func(t *testing.T, image []byte) {
		limits := Limits{Bytes: 16 << 20}
		got, err := read(t, image, limits)
		if err != nil {
			return
		}
		for _, s := range got {
			var b strings.Builder
			if err := s.Tree.Write(&b); err != nil {
				t.Fatal(err)
			}
			if _, err := roottree.Parse(strings.NewReader(b.String())); err != nil {
				t.Fatalf("%v in\n%s", err, b.String())
			}
		}
		again, err := read(t, image, limits)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("read again: %v", err)
		}
	})
}
