package diskimage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// QCOW2 reads the disk in an image of QEMU's format qcow2, version 3, as qemu-img convert
// writes it: docs/interop/qcow2.rst of QEMU. Backing files, snapshots, encryption,
// compression and all incompatible features are refused, and so is a file of which
// anything is used twice or by nothing: what the disk holds is all that the file holds.
type QCOW2 struct {
	r        io.ReaderAt
	size     int64 // of the disk
	clusters int64 // of the file
	l1       []uint64

	mu     sync.Mutex
	tables map[int64][]uint64 // those of the second level that were read last, by offset
}

const (
	qcow2Cluster = 1 << 16               // bytes: the one size that qemu-img takes by itself
	perTable     = qcow2Cluster / 8      // entries of a table in a cluster
	perRefcounts = qcow2Cluster / 2      // 16-bit counts in a cluster
	tableBytes   = perTable * 1 << 16    // of the disk that one table of the second level maps
	maxTables    = 32                    // held at once
	offsetMask   = 0x00ff_ffff_ffff_fe00 // of an entry of a table
	copied       = 1 << 63               // its cluster has a count of 1
	zeros        = 1                     // the cluster reads as zeros
	maxQCOW2     = 2040 << 30            // bytes of a disk
)

// qcow2Header is what stands first in the file, big endian.
type qcow2Header struct {
	Magic, Version                      uint32
	BackingOffset                       uint64
	BackingSize, ClusterBits            uint32
	Size                                uint64
	Encryption, L1Size                  uint32
	L1Offset, RefcountOffset            uint64
	RefcountClusters, Snapshots         uint32
	SnapshotsOffset                     uint64
	Incompatible, Compatible, Autoclear uint64
	RefcountOrder, HeaderLength         uint32
	CompressionType                     uint8
	_                                   [7]byte
}

// Sizes and types of the header.
const (
	qcow2Magic    = 0x514649fb // QFI\xfb
	headerLength  = 112
	extensionEnd  = 0
	extensionName = 0x6803f857 // names of features, for people
)

// OpenQCOW2 reads an image in a file of size bytes and checks how it is laid out. Errors
// say what is not as qemu-img lays it out.
func OpenQCOW2(ctx context.Context, r io.ReaderAt, size int64) (*QCOW2, error) {
	if size < 0 || size > maxQCOW2+maxQCOW2/256 {
		return nil, fmt.Errorf("qcow2: %d bytes are out of bounds", size)
	}
	q := &QCOW2{r: r, clusters: (size + qcow2Cluster - 1) / qcow2Cluster, tables: map[int64][]uint64{}}
	var h qcow2Header
	if err := binary.Read(io.NewSectionReader(r, 0, size), binary.BigEndian, &h); err != nil {
		return nil, fmt.Errorf("qcow2: header: %w", err)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("qcow2: %w", err)
	}
	q.size = int64(h.Size)
	if err := q.checkLayout(ctx, &h); err != nil {
		return nil, fmt.Errorf("qcow2: %w", err)
	}
	return q, nil
}

// Size is the disk's, in bytes.
func (q *QCOW2) Size() int64 { return q.size }

func (h *qcow2Header) check() error {
	for _, demand := range []struct {
		ok   bool
		want string
	}{
		{h.Magic == qcow2Magic, "is no image of this format"},
		{h.Version == 3, "is not of version 3"},
		{h.BackingOffset == 0 && h.BackingSize == 0, "has a backing file"},
		{1<<min(h.ClusterBits, 63) == qcow2Cluster, "its clusters are not of 64 KiB"},
		{h.Size > 0 && h.Size <= maxQCOW2 && h.Size%Sector == 0, "the size of its disk is out of bounds"},
		{h.Encryption == 0, "is encrypted"},
		{h.Snapshots == 0 && h.SnapshotsOffset == 0, "has snapshots"},
		{h.Incompatible == 0, "has features that change how it is read"},
		{h.Autoclear == 0, "has features besides the disk, such as bitmaps"},
		{h.RefcountOrder == 4, "its counts are not of 16 bits"},
		{h.HeaderLength == headerLength && h.CompressionType == 0, "its header is not the one of qemu-img"},
		{uint64(h.L1Size) == (h.Size+tableBytes-1)/tableBytes, "its first table does not fit the size of its disk"},
		{h.RefcountClusters > 0 && h.RefcountClusters <= 1024, "its table of counts is out of bounds"},
	} {
		if !demand.ok {
			return errors.New(demand.want)
		}
	}
	return nil
}

// checkLayout follows every table and wants each cluster of the file to be used once, and
// to be counted so.
func (q *QCOW2) checkLayout(ctx context.Context, h *qcow2Header) error {
	used := &usage{seen: make([]bool, q.clusters)}
	if err := used.take("the header", 0, 1); err != nil {
		return err
	}
	if err := q.checkExtensions(); err != nil {
		return err
	}
	if err := used.take("the first table", h.L1Offset, uint64(h.L1Size*8+qcow2Cluster-1)/qcow2Cluster); err != nil {
		return err
	}
	if err := used.take("the table of counts", h.RefcountOffset, uint64(h.RefcountClusters)); err != nil {
		return err
	}
	var err error
	if q.l1, err = q.readTable(int64(h.L1Offset), int(h.L1Size)); err != nil {
		return fmt.Errorf("the first table: %w", err)
	}
	for i, entry := range q.l1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if entry == 0 {
			continue
		}
		what := fmt.Sprintf("table %d of the second level", i)
		if entry&^(copied|offsetMask) != 0 || entry&copied == 0 {
			return fmt.Errorf("%s: entry %#x is not one of qemu-img", what, entry)
		}
		if err := used.take(what, entry&offsetMask, 1); err != nil {
			return err
		}
		table, err := q.readTable(int64(entry&offsetMask), perTable)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		for k, e := range table {
			at := int64(i)*tableBytes + int64(k)*qcow2Cluster // on the disk
			switch {
			case e == 0 || e == zeros:
			case at >= q.size:
				return fmt.Errorf("%s: maps what lies behind the disk", what)
			case e&^(copied|offsetMask) != 0 || e&copied == 0:
				return fmt.Errorf("%s: entry %#x is not one of qemu-img", what, e)
			default:
				if err := used.take(fmt.Sprintf("byte %d of the disk", at), e&offsetMask, 1); err != nil {
					return err
				}
			}
		}
	}
	return q.checkCounts(ctx, h, used)
}

// checkExtensions wants nothing in the first cluster but the header and names of features.
func (q *QCOW2) checkExtensions() error {
	first := make([]byte, qcow2Cluster)
	if _, err := q.r.ReadAt(first, 0); err != nil {
		return fmt.Errorf("the first cluster: %w", err)
	}
	rest := first[headerLength:]
	for {
		if len(rest) < 8 {
			return errors.New("the header's extensions do not end")
		}
		kind, length := binary.BigEndian.Uint32(rest), int(binary.BigEndian.Uint32(rest[4:]))
		rest = rest[8:]
		padded := (length + 7) &^ 7
		if length < 0 || padded > len(rest) || kind == extensionEnd && length != 0 {
			return errors.New("an extension of the header is too long")
		}
		if kind == extensionEnd {
			break
		}
		if kind != extensionName {
			return fmt.Errorf("the header has an extension %#x", kind)
		}
		rest = rest[padded:]
	}
	for _, b := range rest {
		if b != 0 {
			return errors.New("something stands behind the header")
		}
	}
	return nil
}

// checkCounts compares the counts in the file with what is used.
func (q *QCOW2) checkCounts(ctx context.Context, h *qcow2Header, used *usage) error {
	var blocks []uint64
	for i := range int64(h.RefcountClusters) {
		table, err := q.readTable(int64(h.RefcountOffset)+i*qcow2Cluster, perTable)
		if err != nil {
			return fmt.Errorf("the table of counts: %w", err)
		}
		blocks = append(blocks, table...)
	}
	for i, at := range blocks {
		if at == 0 {
			continue
		}
		if err := used.take(fmt.Sprintf("block %d of counts", i), at, 1); err != nil {
			return err
		}
	}
	for i, at := range blocks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		first := int64(i) * perRefcounts
		if at == 0 {
			if first < q.clusters {
				return fmt.Errorf("cluster %d is not counted", first)
			}
			continue
		}
		b := make([]byte, qcow2Cluster)
		if err := q.readCluster(b, int64(at)); err != nil {
			return fmt.Errorf("block %d of counts: %w", i, err)
		}
		for k := range int64(perRefcounts) {
			want := uint16(0)
			if first+k < q.clusters {
				want = 1 // that each is used is seen below
			}
			if have := binary.BigEndian.Uint16(b[2*k:]); have != want {
				return fmt.Errorf("cluster %d is counted %d times", first+k, have)
			}
		}
	}
	if int64(len(blocks))*perRefcounts < q.clusters {
		return errors.New("its table of counts is too short")
	}
	for i, u := range used.seen {
		if !u {
			return fmt.Errorf("cluster %d belongs to nothing", i)
		}
	}
	return nil
}

// usage tells which clusters of the file belong to something.
type usage struct{ seen []bool }

func (u *usage) take(what string, at, n uint64) error {
	if at%qcow2Cluster != 0 || at/qcow2Cluster >= uint64(len(u.seen)) || n > uint64(len(u.seen))-at/qcow2Cluster {
		return fmt.Errorf("%s: stands at %d, which is no place in the file", what, at)
	}
	for i := at / qcow2Cluster; i < at/qcow2Cluster+n; i++ {
		if u.seen[i] {
			return fmt.Errorf("%s: cluster %d belongs to something else, too", what, i)
		}
		u.seen[i] = true
	}
	return nil
}

// readCluster reads a cluster; the last one of a file may be cut off.
func (q *QCOW2) readCluster(b []byte, at int64) error {
	n, err := q.r.ReadAt(b, at)
	if errors.Is(err, io.EOF) && n > 0 && at/qcow2Cluster == q.clusters-1 {
		clear(b[n:])
		return nil
	}
	return err
}

// readTable reads n entries; what follows them in their last cluster has to be zero.
func (q *QCOW2) readTable(at int64, n int) ([]uint64, error) {
	table := make([]uint64, 0, n)
	b := make([]byte, qcow2Cluster)
	for done := 0; done < n*8; done += qcow2Cluster {
		if err := q.readCluster(b, at+int64(done)); err != nil {
			return nil, err
		}
		for k := 0; k < qcow2Cluster; k += 8 {
			e := binary.BigEndian.Uint64(b[k:])
			if len(table) < n {
				table = append(table, e)
			} else if e != 0 {
				return nil, errors.New("something stands behind it")
			}
		}
	}
	return table, nil
}

// ReadAt reads bytes of the disk, as io.ReaderAt has it.
func (q *QCOW2) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("qcow2: a negative offset")
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= q.size {
			return n, io.EOF
		}
		within := at % qcow2Cluster
		part := p[n:min(int64(len(p)), int64(n)+qcow2Cluster-within, int64(n)+q.size-at)]
		entry, err := q.entry(at)
		if err != nil {
			return n, fmt.Errorf("qcow2: byte %d of the disk: %w", at, err)
		}
		clear(part)
		if entry&offsetMask != 0 {
			// The end of a file that is cut off in its last cluster reads as zeros.
			if _, err := q.r.ReadAt(part, int64(entry&offsetMask)+within); err != nil && !errors.Is(err, io.EOF) {
				return n, fmt.Errorf("qcow2: byte %d of the disk: %w", at, err)
			}
		}
		n += len(part)
	}
	return n, nil
}

// entry is that of the cluster with a byte of the disk.
func (q *QCOW2) entry(at int64) (uint64, error) {
	first := q.l1[at/tableBytes]
	if first == 0 {
		return 0, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	table, ok := q.tables[int64(first&offsetMask)]
	if !ok {
		var err error
		if table, err = q.readTable(int64(first&offsetMask), perTable); err != nil {
			return 0, err
		}
		if len(q.tables) == maxTables {
			clear(q.tables)
		}
		q.tables[int64(first&offsetMask)] = table
	}
	return table[at%tableBytes/qcow2Cluster], nil
}
