package diskimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// Where the image of these tests has what, in clusters, as qemu-img lays it out.
const (
	atCounts = 1 // their table
	atBlock  = 2
	atFirst  = 3
	atSecond = 4
	atData   = 5
)

// qcow2Disk is a disk of a little over 512 MiB, so that there is a second table, of which
// nothing is mapped; the third and the last cluster of the first one hold something.
const qcow2Disk = tableBytes + 3*qcow2Cluster + 512

func qcow2Image() []byte {
	be := binary.BigEndian
	b := make([]byte, 7*qcow2Cluster)
	head := qcow2Header{
		Magic: qcow2Magic, Version: 3, ClusterBits: 16, Size: qcow2Disk, L1Size: 2, L1Offset: atFirst * qcow2Cluster,
		RefcountOffset: atCounts * qcow2Cluster, RefcountClusters: 1, RefcountOrder: 4, HeaderLength: headerLength,
	}
	var text bytes.Buffer
	if err := binary.Write(&text, be, head); err != nil {
		panic(err)
	}
	copy(b, text.Bytes())
	be.PutUint32(b[headerLength:], extensionName)
	be.PutUint32(b[headerLength+4:], 48)
	be.PutUint64(b[atCounts*qcow2Cluster:], atBlock*qcow2Cluster)
	for i := range 7 {
		be.PutUint16(b[atBlock*qcow2Cluster+2*i:], 1)
	}
	be.PutUint64(b[atFirst*qcow2Cluster:], copied|atSecond*qcow2Cluster)
	second := b[atSecond*qcow2Cluster:]
	be.PutUint64(second[8*1:], zeros)
	be.PutUint64(second[8*2:], copied|atData*qcow2Cluster)
	be.PutUint64(second[8*(perTable-1):], copied|(atData+1)*qcow2Cluster)
	for i := range 2 * qcow2Cluster {
		b[atData*qcow2Cluster+i] = byte(i%251 + 1)
	}
	return b
}

func openQCOW2(t *testing.T, b []byte) (*QCOW2, error) {
	t.Helper()
	return OpenQCOW2(t.Context(), bytes.NewReader(b), int64(len(b)))
}

func TestQCOW2(t *testing.T) {
	image := qcow2Image()
	q, err := openQCOW2(t, image)
	if err != nil {
		t.Fatal(err)
	}
	if q.Size() != qcow2Disk {
		t.Errorf("%d bytes", q.Size())
	}
	first, last := image[atData*qcow2Cluster:(atData+1)*qcow2Cluster], image[(atData+1)*qcow2Cluster:]
	zero := make([]byte, 2*qcow2Cluster)
	for _, c := range []struct {
		name string
		off  int64
		want []byte
	}{
		{"not mapped, then said to be zeros", 0, zero},
		{"across the end of what is not mapped", 2*qcow2Cluster - 100, slices.Concat(zero[:100], first[:900])},
		{"within a cluster", 2*qcow2Cluster + 7, first[7:77]},
		{"across two tables", tableBytes - qcow2Cluster, slices.Concat(last, zero[:qcow2Cluster])},
		{"the last bytes", qcow2Disk - 512, zero[:512]},
	} {
		have := bytes.Repeat([]byte{0xee}, len(c.want))
		if n, err := q.ReadAt(have, c.off); err != nil || n != len(have) || !bytes.Equal(have, c.want) {
			t.Errorf("%s: %d bytes, %v", c.name, n, err)
		}
	}
	if n, err := q.ReadAt(make([]byte, 1024), qcow2Disk-512); n != 512 || !errors.Is(err, io.EOF) {
		t.Errorf("past the end: %d bytes, %v", n, err)
	}
	if _, err := q.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("before the beginning")
	}
	if err := iotest.TestReader(io.NewSectionReader(q, 2*qcow2Cluster, 1000), first[:1000]); err != nil {
		t.Error(err)
	}
	// A file may end within its last cluster.
	cut := image[:len(image)-100]
	if q, err = openQCOW2(t, cut); err != nil {
		t.Fatal(err)
	}
	have := bytes.Repeat([]byte{0xee}, qcow2Cluster)
	if _, err := q.ReadAt(have, tableBytes-qcow2Cluster); err != nil || !bytes.Equal(have, slices.Concat(last[:qcow2Cluster-100], zero[:100])) {
		t.Errorf("of a file that is cut off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenQCOW2(ctx, bytes.NewReader(image), int64(len(image))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestQCOW2Refused: one change to an image at a time.
func TestQCOW2Refused(t *testing.T) {
	be := binary.BigEndian
	u32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint32(b[at:], v); return b }
	}
	u64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint64(b[at:], v); return b }
	}
	const second = atSecond * qcow2Cluster
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "header: "},
		{"a header alone", func(b []byte) []byte { return b[:headerLength] }, ""},
		{"cut off before the data", func(b []byte) []byte { return b[:atData*qcow2Cluster] }, "is no place in the file"},
		{"another format", u32(0, 1), "is no image of this format"},
		{"version 2", u32(4, 2), "is not of version 3"},
		{"backing file", u64(8, 200), "has a backing file"},
		{"clusters of 2 MiB", u32(20, 21), "its clusters are not of 64 KiB"},
		{"clusters of 2^127", u32(20, 127), "its clusters are not of 64 KiB"},
		{"no disk", u64(24, 0), "the size of its disk is out of bounds"},
		{"a disk of 8 EiB", u64(24, 1<<63), "the size of its disk is out of bounds"},
		{"half a sector", u64(24, qcow2Disk+1), "the size of its disk is out of bounds"},
		{"a larger disk", u64(24, 4*tableBytes), "its first table does not fit the size of its disk"},
		{"a smaller disk", u64(24, 3*qcow2Cluster), "its first table does not fit the size of its disk"},
		{"encrypted", u32(32, 1), "is encrypted"},
		{"a first table of 32 GiB", u32(36, 1<<32-1), "its first table does not fit the size of its disk"},
		{"a first table elsewhere", u64(40, 1<<62), "the first table: stands at"},
		{"a first table within a cluster", u64(40, atFirst*qcow2Cluster+8), "the first table: stands at"},
		{"counts elsewhere", u64(48, 9*qcow2Cluster), "the table of counts: stands at"},
		{"no counts", u32(56, 0), "its table of counts is out of bounds"},
		{"counts without end", u32(56, 1<<32-1), "its table of counts is out of bounds"},
		{"a snapshot", u32(60, 1), "has snapshots"},
		{"dirty", u64(72, 1), "has features that change how it is read"},
		{"data in another file", u64(72, 4), "has features that change how it is read"},
		{"bitmaps", u64(88, 1), "has features besides the disk"},
		{"counts of 64 bits", u32(96, 6), "its counts are not of 16 bits"},
		{"a longer header", u32(100, 120), "its header is not the one of qemu-img"},
		{"compressed by zstd", func(b []byte) []byte { b[104] = 1; return b }, "its header is not the one of qemu-img"},
		{"an extension", u32(headerLength, 0xe2792aca), "the header has an extension 0xe2792aca"},
		{"an extension without end", u32(headerLength+4, 1<<32-1), "an extension of the header is too long"},
		{"an extension over its cluster", u32(headerLength+4, qcow2Cluster), "an extension of the header is too long"},
		{"something behind the header", u32(qcow2Cluster-4, 7), "something stands behind the header"},
		{"something behind the first table", u64(atFirst*qcow2Cluster+16, 1), "the first table: something stands behind it"},
		{"a loop", u64(atFirst*qcow2Cluster, copied|atFirst*qcow2Cluster), "cluster 3 belongs to something else, too"},
		{"one table for two", u64(atFirst*qcow2Cluster+8, copied|second), "cluster 4 belongs to something else, too"},
		{"a table that is shared", u64(atFirst*qcow2Cluster, second), "is not one of qemu-img"},
		{"a table's reserved bits", u64(atFirst*qcow2Cluster, copied|second|1<<60), "is not one of qemu-img"},
		{"compressed", u64(second+16, 1<<62|atData*qcow2Cluster), "is not one of qemu-img"},
		{"zeros with something behind them", u64(second+16, copied|atData*qcow2Cluster|zeros), "is not one of qemu-img"},
		{"one cluster for two", u64(second, copied|atData*qcow2Cluster), "cluster 5 belongs to something else, too"},
		{"the header as data", u64(second, copied), "cluster 0 belongs to something else, too"},
		{"data outside the file", u64(second, copied|1<<40), "is no place in the file"},
		{"data that nothing maps", u64(second+16, 0), "cluster 5 belongs to nothing"},
		{"data behind the disk", func(b []byte) []byte {
			return u64(24, tableBytes/2)(u32(36, 1)(b))
		}, "maps what lies behind the disk"},
		{"a cluster more", func(b []byte) []byte { return append(b, make([]byte, qcow2Cluster)...) }, "cluster 7 is counted 0 times"},
		{"a cluster more, counted", func(b []byte) []byte {
			be.PutUint16(b[atBlock*qcow2Cluster+14:], 1)
			return append(b, make([]byte, qcow2Cluster)...)
		}, "cluster 7 belongs to nothing"},
		{"counted twice", func(b []byte) []byte { be.PutUint16(b[atBlock*qcow2Cluster+10:], 2); return b }, "cluster 5 is counted 2 times"},
		{"counted behind the file", func(b []byte) []byte { be.PutUint16(b[atBlock*qcow2Cluster+200:], 1); return b }, "cluster 100 is counted 1 times"},
		{"not counted", u64(atCounts*qcow2Cluster, 0), "cluster 0 is not counted"},
		{"counts of counts", u64(atCounts*qcow2Cluster+8, atBlock*qcow2Cluster), "cluster 2 belongs to something else, too"},
	} {
		_, err := openQCOW2(t, c.change(qcow2Image()))
		if err == nil || !strings.HasPrefix(err.Error(), "qcow2: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := OpenQCOW2(t.Context(), bytes.NewReader(nil), 1<<62); err == nil {
		t.Error("a file of 4 EiB")
	}
	if _, err := OpenQCOW2(t.Context(), iotestReaderAt{}, 7*qcow2Cluster); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

type iotestReaderAt struct{}

func (iotestReaderAt) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// FuzzQCOW2 changes what an image says of itself: its tables, one behind the other.
func FuzzQCOW2(f *testing.F) {
	image := qcow2Image()
	f.Add(image[:headerLength], image[atFirst*qcow2Cluster:atFirst*qcow2Cluster+16], image[atSecond*qcow2Cluster:atSecond*qcow2Cluster+64])
	f.Add([]byte("QFI\xfb"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, head, first, second []byte) {
		b := qcow2Image()
		copy(b, head)
		copy(b[atFirst*qcow2Cluster:(atFirst+1)*qcow2Cluster], first)
		copy(b[atSecond*qcow2Cluster:(atSecond+1)*qcow2Cluster], second)
		q, err := OpenQCOW2(t.Context(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, io.NewSectionReader(q, 0, min(q.Size(), 1<<20))); err != nil {
			t.Error(err)
		}
	})
}
