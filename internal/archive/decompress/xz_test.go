package decompress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// text is what compresses a little: words of a small set.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = append(b, "Package: Version: Depends: libc6 main"[r.IntN(30):]...)
	}
	return b[:n]
}

func pack(t testing.TB, c xz.WriterConfig, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpack(packed []byte, limit int64) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(packed), "xz", limit)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestXZ reads what another implementation has written: every kind of check, several
// streams with padding between them, several blocks. A bit that changes is found.
func TestXZ(t *testing.T) {
	plain := text(300_000)
	one := pack(t, xz.WriterConfig{CheckSum: xz.CRC64}, plain[:100_000])
	two := pack(t, xz.WriterConfig{CheckSum: xz.SHA256, BlockSize: 30_000}, plain[100_000:])
	for name, packed := range map[string][]byte{
		"CRC32":                       pack(t, xz.WriterConfig{CheckSum: xz.CRC32}, plain),
		"CRC64":                       pack(t, xz.WriterConfig{CheckSum: xz.CRC64}, plain),
		"SHA-256":                     pack(t, xz.WriterConfig{CheckSum: xz.SHA256}, plain),
		"no check":                    pack(t, xz.WriterConfig{NoCheckSum: true}, plain),
		"blocks":                      pack(t, xz.WriterConfig{CheckSum: xz.SHA256, BlockSize: 10_000}, plain),
		"a large dictionary":          pack(t, xz.WriterConfig{DictCap: 64 << 20}, plain),
		"streams":                     append(bytes.Clone(one), two...),
		"streams with padding":        append(append(bytes.Clone(one), make([]byte, 8)...), two...),
		"streams and padding at last": append(append(bytes.Clone(one), two...), make([]byte, 4)...),
	} {
		have, err := unpack(packed, int64(len(plain)))
		if err != nil || !bytes.Equal(have, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(have), err)
		}
		if _, err := unpack(packed, int64(len(plain))-1); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: one byte more than allowed: %v", name, err)
		}
		for _, cut := range []int{len(packed) / 3, len(packed) - 9} {
			if have, err := unpack(packed[:cut], 1<<20); err == nil && len(have) == len(plain) && cut < len(packed)-9 {
				t.Errorf("%s: cut at %d of %d bytes was read whole", name, cut, len(packed))
			}
		}
		if name == "no check" {
			continue
		}
		changed := bytes.Clone(packed)
		changed[len(changed)/2] ^= 1
		if have, err := unpack(changed, 1<<20); err == nil && bytes.Equal(have, plain) {
			t.Errorf("%s: a bit that changed was not found", name)
		} else if err == nil {
			t.Errorf("%s: other content was read without an error", name)
		}
	}
}

// TestXZMemory: a dictionary that is larger than any that xz -9 asks for is refused, in
// any block, before memory is taken for it.
func TestXZMemory(t *testing.T) {
	packed := pack(t, xz.WriterConfig{CheckSum: xz.CRC32, DictCap: 1 << 20}, text(1000))
	// After the stream's header of 12 bytes: size, flags, filter 0x21, one byte of properties.
	header := packed[12:]
	if header[2] != 0x21 || header[3] != 1 {
		t.Fatalf("the block begins with %x", header[:6])
	}
	header[4] = 40 // 4 GiB - 1
	size := (int(header[0]) + 1) * 4
	binary.LittleEndian.PutUint32(header[size-4:], crc32.ChecksumIEEE(header[:size-4]))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	have, err := unpack(packed, 1<<20)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Errorf("a dictionary of 4 GiB was taken: %d bytes", len(have))
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 2*window {
		t.Errorf("%d bytes of memory for a dictionary that is refused", took)
	}
}

// TestBombs: a small file of each format that holds a gigabyte is read as far as the limit.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 1<<20)
	bombs := map[string]io.WriteCloser{}
	packed := map[string]*bytes.Buffer{"gz": {}, "xz": {}, "zst": {}}
	bombs["gz"] = gzip.NewWriter(packed["gz"])
	var err error
	if bombs["xz"], err = xz.NewWriter(packed["xz"]); err != nil {
		t.Fatal(err)
	}
	if bombs["zst"], err = zstd.NewWriter(packed["zst"]); err != nil {
		t.Fatal(err)
	}
	for format, w := range bombs {
		for range 64 {
			if _, err := w.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(packed[format].Bytes()), format, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if !errors.Is(err, ErrLimit) || n != 1<<20 {
			t.Errorf("%s: %d bytes of %d KiB, %v", format, n, packed[format].Len()>>10, err)
		}
	}
}

// TestLayerLimit: a layer of zeros, of which gzip makes a thousandth, is too much before it
// fills a disk; what layers are like is not.
func TestLayerLimit(t *testing.T) {
	const most = 64 << 30
	for packed, want := range map[int64]int64{0: 256 << 20, 4_700_000: 256<<20 + 470_000_000, 30 << 20: 256<<20 + 3000<<20, 1 << 30: most, 1 << 62: most} {
		if have := LayerLimit(packed, most); have != want {
			t.Errorf("%d bytes: %d, want %d", packed, have, want)
		}
	}
}

func FuzzXZ(f *testing.F) {
	f.Add(pack(f, xz.WriterConfig{CheckSum: xz.SHA256, BlockSize: 500}, text(1500)))
	f.Add(append(pack(f, xz.WriterConfig{}, text(100)), make([]byte, 4)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if have, err := unpack(b, 1<<16); err == nil && len(have) > 1<<16 {
			t.Fatalf("%d bytes", len(have))
		}
	})
}
