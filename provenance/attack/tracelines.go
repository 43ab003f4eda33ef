package attack

import (
	"bytes"
	"cmp"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

const linesInFrame = 512 // as docs/formats/trace.md has it

// changeTrace changes the line PART:PATH of the trace: fields that Set names, null for
// none, or From to To in its text; a change that says neither takes the line away. The
// head's counts and frames follow.
func (t target) changeTrace(c Change) error {
	part, at, ok := strings.Cut(c.Trace, ":")
	if !ok {
		return fmt.Errorf("%s: want PART:PATH", c.Trace)
	}
	dir := filepath.Join(t.out, provenance.EvidenceDir, provenance.TraceDir)
	var head trace.Head
	text, err := os.ReadFile(filepath.Join(dir, trace.HeadFile))
	if err == nil {
		err = json.Unmarshal(text, &head)
	}
	if err != nil {
		return err
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer dec.Close()
	packed, err := os.ReadFile(filepath.Join(dir, part+trace.Suffix))
	if err != nil {
		return err
	}
	plain, err := dec.DecodeAll(packed, nil)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(plain, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(lines[len(lines)-1], '\n')
	i := slices.IndexFunc(lines, func(line []byte) bool {
		o, err := originOf(line)
		return err == nil && o.Path == at
	})
	if i < 0 {
		return fmt.Errorf("%s: there is no such line", c.Trace)
	}
	switch {
	case c.Set != nil:
		lines[i], err = set(lines[i], c.Set, &head)
	case c.From != "":
		lines[i], err = replace(lines[i], indexes(c.From, &head), indexes(c.To, &head))
	default:
		lines = slices.Delete(lines, i, i+1)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Trace, err)
	}
	k := slices.IndexFunc(head.Parts, func(p trace.Part) bool { return p.Name == part })
	if packed, err = pack(lines, &head.Parts[k]); err != nil {
		return err
	}
	if text, err = head.Encode(); err != nil {
		return err
	}
	return errors.Join(put(filepath.Join(dir, part+trace.Suffix), packed), put(filepath.Join(dir, trace.HeadFile), text))
}

func originOf(line []byte) (o trace.Origin, err error) {
	err = json.Unmarshal(line, &o)
	return o, err
}

var indexName = regexp.MustCompile(`\{(package|boot|actor):([^}]+)\}`)

// indexes puts indexes of the head in place of {package:NAME}, of the target,
// {boot:NAME} and {actor:STAGE/NAME}.
func indexes(s string, head *trace.Head) string {
	return indexName.ReplaceAllStringFunc(s, func(m string) string {
		kind, name := indexName.FindStringSubmatch(m)[1], indexName.FindStringSubmatch(m)[2]
		at := -1
		switch kind {
		case "actor":
			at = slices.IndexFunc(head.Actors, func(a trace.Actor) bool { return a.Stage+"/"+a.Name == name })
		default:
			sets := map[string]string{"package": "target", "boot": "boot"}
			at = slices.IndexFunc(head.Packages, func(p trace.Package) bool { return p.Set == sets[kind] && p.Name == name })
		}
		return strconv.Itoa(at)
	})
}

// set changes fields of a line, which stays in its one form.
func set(line []byte, fields map[string]any, head *trace.Head) ([]byte, error) {
	var all map[string]any
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&all); err != nil {
		return nil, err
	}
	for name, v := range fields {
		if s, ok := v.(string); ok && indexName.MatchString(s) {
			v = json.Number(indexes(s, head))
		}
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	o, err := originOf(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(o)
	return b.Bytes(), err
}

// pack compresses lines and makes a part's place in the head fit.
func pack(lines [][]byte, p *trace.Part) ([]byte, error) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	counts := map[trace.Kind]*trace.Count{}
	var packed []byte
	p.Files, p.Frames, p.Counts = len(lines), []trace.Frame{}, []trace.Count{}
	for chunk := range slices.Chunk(lines, linesInFrame) {
		first, err := originOf(chunk[0])
		if err != nil {
			return nil, err
		}
		plain := bytes.Join(chunk, nil)
		frame := enc.EncodeAll(plain, nil)
		p.Frames = append(p.Frames, trace.Frame{First: first.Path, Offset: int64(len(packed)), Size: int64(len(frame)), Plain: int64(len(plain))})
		packed = append(packed, frame...)
	}
	for _, line := range lines {
		o, err := originOf(line)
		if err != nil {
			return nil, err
		}
		if counts[o.Kind] == nil {
			counts[o.Kind] = &trace.Count{Kind: o.Kind}
		}
		counts[o.Kind].Files++
		counts[o.Kind].Bytes += o.Size
	}
	for _, k := range trace.Kinds {
		if counts[k] != nil {
			p.Counts = append(p.Counts, *counts[k])
		}
	}
	return packed, nil
}

// relink makes links and attestations fit the evidence's trace and bills of materials, the
// ISO and its EFI system partition, as whoever holds the builder's key can.
func (t target) relink(as string) error {
	k, err := t.signer(as)
	if err != nil {
		return err
	}
	evidence := filepath.Join(t.out, provenance.EvidenceDir)
	links, err := filepath.Glob(filepath.Join(evidence, provenance.LinksDir, "*.link"))
	if err != nil {
		return err
	}
	iso, err := t.iso()
	if err != nil {
		return err
	}
	d, size, err := artifact.HashFile(iso)
	if err != nil {
		return err
	}
	esp, err := partition(iso)
	if err != nil {
		return err
	}
	now := map[string]artifact.Digest{"iso/" + filepath.Base(iso): d, "bootparts/efiboot.img": esp}
	for _, file := range links {
		if err := t.relinkOne(file, k, now); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	f, err := os.Open(iso)
	if err != nil {
		return err
	}
	sum := sha512.New()
	_, err = io.Copy(sum, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(evidence, provenance.AttestationsDir)); err != nil {
		return err
	}
	return provenance.Attest(t.out, k, artifact.Ref{Path: filepath.Base(iso), Digest: d, Size: size}, hex.EncodeToString(sum.Sum(nil)))
}

// folders are those of the evidence that have products of stages, by how records call
// what is in them.
var folders = map[string]string{"trace/trace/": provenance.TraceDir, "sbom/sbom/": provenance.SbomDir}

func (t target) relinkOne(file string, k *provenance.Signer, now map[string]artifact.Digest) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rec, err := provenance.OpenLink(text, k.Public())
	if err != nil {
		return err
	}
	changed := false
	for _, records := range []map[string]artifact.Digest{rec.Materials, rec.Products} {
		for name := range records {
			d, err := t.evidenceOf(name)
			if err != nil {
				return err
			}
			d = cmp.Or(d, now[name])
			if d != "" && d != records[name] {
				records[name], changed = d, true
			}
		}
	}
	if !changed {
		return nil
	}
	if text, err = (provenance.Recorder{Signer: k}).Seal(rec); err != nil {
		return err
	}
	return put(file, text)
}

// evidenceOf is the digest of what the evidence has of a record; "" where it has nothing.
func (t target) evidenceOf(record string) (artifact.Digest, error) {
	for prefix, folder := range folders {
		rest, ok := strings.CutPrefix(record, prefix)
		if !ok {
			continue
		}
		d, _, err := artifact.HashFile(filepath.Join(t.out, provenance.EvidenceDir, folder, filepath.FromSlash(rest)))
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		return d, err
	}
	return "", nil
}
