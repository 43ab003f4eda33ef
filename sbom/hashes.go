package sbom

import (
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

type hash struct {
	cdx    cdx.HashAlgorithm
	spdx   common.ChecksumAlgorithm
	digits int
	value  string
}

// list are the digests that are known, the strongest last.
func (h Hashes) list() []hash {
	return slices.DeleteFunc([]hash{
		{cdx.HashAlgoMD5, common.MD5, 32, h.MD5},
		{cdx.HashAlgoSHA1, common.SHA1, 40, h.SHA1},
		{cdx.HashAlgoSHA256, common.SHA256, 64, h.SHA256},
		{cdx.HashAlgoSHA512, common.SHA512, 128, h.SHA512},
	}, func(s hash) bool { return s.value == "" })
}

func (h Hashes) cyclonedx() *[]cdx.Hash {
	var all []cdx.Hash
	for _, s := range h.list() {
		all = append(all, cdx.Hash{Algorithm: s.cdx, Value: s.value})
	}
	return some(all)
}

func (h Hashes) spdx() []common.Checksum {
	var all []common.Checksum
	for _, s := range h.list() {
		all = append(all, common.Checksum{Algorithm: s.spdx, Value: s.value})
	}
	return all
}

// some is a list of CycloneDX, which is left out where it is empty.
func some[T any](list []T) *[]T {
	if len(list) == 0 {
		return nil
	}
	return &list
}
