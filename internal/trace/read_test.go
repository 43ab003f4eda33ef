package trace

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/roottree"
)

// TestOneForm: lines and heads in any other form than isotrace's are refused, whatever a
// reader of JSON makes of them, and so is a head that is not as its lines are.
func TestOneForm(t *testing.T) {
	const origin = `"origin":"archive"`
	for name, c := range map[string]struct {
		line func(string) string // of the first line
		head func(string) string
		tail string
		says string
	}{
		"as written":          {},
		"escaped":             {line: func(s string) string { return strings.Replace(s, origin, `"origin":"\u0061rchive"`, 1) }, says: "a: its line is not as isotrace writes it"},
		"a field's name":      {line: func(s string) string { return strings.Replace(s, origin, `"Origin":"archive"`, 1) }, says: "not as isotrace writes it"},
		"twice":               {line: func(s string) string { return strings.Replace(s, origin, `"origin":"generated",`+origin, 1) }, says: "not as isotrace writes it"},
		"unknown":             {line: func(s string) string { return strings.Replace(s, origin, origin+`,"x":1`, 1) }, says: "not as isotrace writes it"},
		"null":                {line: func(s string) string { return strings.Replace(s, origin, origin+`,"was":null`, 1) }, says: "not as isotrace writes it"},
		"order":               {line: func(s string) string { return strings.Replace(s, `"type":"file",`+origin, origin+`,"type":"file"`, 1) }, says: "not as isotrace writes it"},
		"white space":         {line: func(s string) string { return " " + s }, says: "not as isotrace writes it"},
		"no end":              {line: func(s string) string { return strings.Replace(s, "\n", "", 1) }, says: "after top-level value"},
		"head, escaped":       {head: func(s string) string { return strings.Replace(s, `"one"`, `"\u006fne"`, 1) }, says: "trace.json: is not as isotrace writes it"},
		"head, followed":      {head: func(s string) string { return s + "{}" }, says: "trace.json: "},
		"head, unknown field": {head: func(s string) string { return strings.Replace(s, `"format":1`, `"format":1,"x":2`, 1) }, says: `trace.json: json: unknown field "x"`},
		"counts": {head: func(s string) string {
			return strings.Replace(s, `{"origin":"archive","files":2`, `{"origin":"archive","files":3`, 1)
		}, says: "part root is not as its lines are"},
		"a frame elsewhere": {head: func(s string) string { return strings.Replace(s, `"first":"a"`, `"first":"b"`, 1) }, says: "part root is not as its lines are"},
		"behind the end":    {tail: "x", says: "there is something behind its last frame"},
	} {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			part, err := WritePart(&packed, PartRoot, []Origin{{Path: "a", Type: roottree.File, Kind: Archive}, {Path: "b", Type: roottree.File, Kind: Archive}})
			if err != nil {
				t.Fatal(err)
			}
			if c.line != nil {
				enc, err := zstd.NewWriter(nil)
				if err != nil {
					t.Fatal(err)
				}
				dec, err := zstd.NewReader(nil)
				if err != nil {
					t.Fatal(err)
				}
				plain, err := dec.DecodeAll(packed.Bytes(), nil)
				if err != nil {
					t.Fatal(err)
				}
				plain = []byte(c.line(string(plain)))
				frame := enc.EncodeAll(plain, nil)
				packed.Reset()
				packed.Write(frame)
				part.Frames[0].Size, part.Frames[0].Plain = int64(len(frame)), int64(len(plain))
			}
			head := Head{Format: Format, Name: "one", Parts: []Part{part}}
			text, err := head.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if c.head != nil {
				text = []byte(c.head(string(text)))
			}
			files := memory{HeadFile: text, PartRoot + Suffix: append(packed.Bytes(), c.tail...)}
			tr, err := Open(files.open)
			if err == nil {
				err = tr.CheckPart(PartRoot, func(Origin) bool { return true })
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("error %v, want %q", err, c.says)
			}
		})
	}
}
