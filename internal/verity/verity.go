// Package verity computes dm-verity's root hash of a file. The format is version 1
// of Documentation/admin-guide/device-mapper/verity.rst in Linux, with the
// superblock of cryptsetup's lib/verity/verity.c: SHA-256 of blocks of 4,096
// bytes, each hashed behind the salt.
package verity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	blockSize      = 4096
	superblockSize = 512
	maxSalt        = 256
	// maxBlocks bounds the data to 16 TiB.
	maxBlocks = 1 << 32
)

// ErrFormat is in the chain of every error about a superblock that is not of the
// one kind that is made here.
var ErrFormat = errors.New("malformed hash tree")

// RootHash computes the root hash, in lower-case hexadecimal, of data of size bytes
// with the salt that the superblock at the beginning of the hash tree names. The rest of
// the tree has to be the hashes that follow from the data, and nothing else: a block that
// the kernel would not take is found here.
func RootHash(data io.Reader, size int64, tree io.Reader) (string, error) {
	salt, blocks, err := superblock(tree)
	if err != nil {
		return "", err
	}
	if want := (size + blockSize - 1) / blockSize; blocks != want || blocks == 0 {
		return "", fmt.Errorf("%w: of %d blocks of data, there are %d", ErrFormat, blocks, want)
	}
	levels, err := hashes(data, blocks, salt)
	if err != nil {
		return "", err
	}
	root := levels[len(levels)-1]
	if err := checkTree(tree, levels[:len(levels)-1]); err != nil {
		return "", err
	}
	return hex.EncodeToString(root), nil
}

// hashes are the levels of a tree, that of the data's blocks first; the last is one hash.
func hashes(data io.Reader, blocks int64, salt []byte) ([][]byte, error) {
	h := &hasher{salt: salt, hash: sha256.New()}
	level := make([]byte, 0, blocks*sha256.Size)
	block := make([]byte, blockSize)
	for range blocks {
		n, err := io.ReadFull(data, block)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		clear(block[n:])
		level = h.add(level, block)
	}
	levels := [][]byte{level}
	for len(level) > sha256.Size {
		var above []byte
		for len(level) > 0 {
			n := copy(block, level[:min(len(level), blockSize)])
			clear(block[n:])
			above = h.add(above, block)
			level = level[n:]
		}
		level = above
		levels = append(levels, level)
	}
	return levels, nil
}

// checkTree compares what follows the superblock with the levels, which stand there from
// the top down, each in whole blocks.
func checkTree(tree io.Reader, levels [][]byte) error {
	have, want := make([]byte, blockSize), make([]byte, blockSize)
	if _, err := io.ReadFull(tree, have[:blockSize-superblockSize]); err != nil {
		return fmt.Errorf("%w: its first block: %w", ErrFormat, err)
	}
	if !bytes.Equal(have[:blockSize-superblockSize], want[:blockSize-superblockSize]) {
		return fmt.Errorf("%w: something stands behind the superblock", ErrFormat)
	}
	for i := len(levels) - 1; i >= 0; i-- {
		for at, level := 0, levels[i]; at < len(level); at += blockSize {
			if _, err := io.ReadFull(tree, have); err != nil {
				return fmt.Errorf("%w: level %d: %w", ErrFormat, i, err)
			}
			clear(want[copy(want, level[at:]):])
			if !bytes.Equal(have, want) {
				return fmt.Errorf("%w: block %d of level %d holds other hashes than the data has", ErrFormat, at/blockSize, i)
			}
		}
	}
	if n, err := tree.Read(have[:1]); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something stands behind it", ErrFormat)
	}
	return nil
}

type hasher struct {
	salt []byte
	hash hash.Hash
}

func (h *hasher) add(to, block []byte) []byte {
	h.hash.Reset()
	h.hash.Write(h.salt)
	h.hash.Write(block)
	return h.hash.Sum(to)
}

// superblock reads the salt and the number of blocks of data.
func superblock(r io.Reader) (salt []byte, blocks int64, err error) {
	var s struct {
		Signature     [8]byte
		Version, Type uint32
		UUID          [16]byte
		Algorithm     [32]byte
		DataBlock     uint32
		HashBlock     uint32
		DataBlocks    uint64
		SaltSize      uint16
		_             [6]byte
		Salt          [maxSalt]byte
		_             [168]byte
	}
	if err := binary.Read(r, binary.LittleEndian, &s); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	algorithm, _, _ := bytes.Cut(s.Algorithm[:], []byte{0})
	switch {
	case string(s.Signature[:]) != "verity\x00\x00":
		return nil, 0, fmt.Errorf("%w: it has no superblock", ErrFormat)
	case s.Version != 1 || s.Type != 1 || string(algorithm) != "sha256" || s.DataBlock != blockSize || s.HashBlock != blockSize:
		return nil, 0, fmt.Errorf("%w: version %d, type %d, %q, blocks of %d and %d bytes", ErrFormat, s.Version, s.Type, algorithm, s.DataBlock, s.HashBlock)
	case s.SaltSize > maxSalt || s.DataBlocks > maxBlocks:
		return nil, 0, fmt.Errorf("%w: a salt of %d bytes, %d blocks of data", ErrFormat, s.SaltSize, s.DataBlocks)
	}
	return s.Salt[:s.SaltSize], int64(s.DataBlocks), nil
}
