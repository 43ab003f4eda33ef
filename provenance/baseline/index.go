package baseline

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// writeIndex lists each content of the image's files once, by the first of its names:
// DIGEST, two blanks, PART:PATH; sorted, in one zstd frame.
func writeIndex(t *trace.Trace) (packed []byte, count int, err error) {
	names := map[artifact.Digest]string{}
	for _, part := range trace.Parts {
		err := t.Each(part, nil, func(o trace.Origin) bool {
			if _, ok := names[o.SHA256]; o.Type == roottree.File && o.SHA256 != "" && !ok {
				names[o.SHA256] = part + ":/" + o.Path
			}
			return true
		})
		if err != nil {
			return nil, 0, err
		}
	}
	lines := make([]string, 0, len(names))
	for d, name := range names {
		lines = append(lines, string(d)+"  "+oneLine(name)+"\n")
	}
	slices.Sort(lines)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, 0, err
	}
	return enc.EncodeAll([]byte(strings.Join(lines, "")), nil), len(lines), enc.Close()
}

// oneLine writes a name that has line ends or other bytes than UTF-8 so that it is one
// line of text.
func oneLine(name string) string {
	if strings.ToValidUTF8(name, "") == name && !strings.ContainsFunc(name, isControl) {
		return name
	}
	return fmt.Sprintf("%q", name)
}

// findIn looks a digest up in an index.
func findIn(packed []byte, d artifact.Digest) (name string, ok bool, err error) {
	dec, err := decompress.NewReader(bytes.NewReader(packed), "zst", maxPlain)
	if err != nil {
		return "", false, err
	}
	lines := bufio.NewScanner(dec)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		have, name, _ := strings.Cut(lines.Text(), "  ")
		if have == string(d) {
			return name, true, nil
		}
	}
	return "", false, lines.Err()
}
