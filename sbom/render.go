package sbom

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"

	"github.com/google/uuid"
)

// namespace is that of the documents' UUIDs: version 5, of the nil UUID and the
// name "isotrace sbom".
var namespace = uuid.MustParse("9e1276c3-7fea-51e9-8cd8-58c48544214f")

// unnamed stands where a document's name will.
const unnamed = "urn:uuid:00000000-0000-0000-0000-000000000000"

// render writes a document under a name that comes from its content: the UUID, of
// version 5, of the SHA-256 of the document while it is unnamed. write is called
// twice, so that a document of any size needs no room.
func render(w io.Writer, write func(w io.Writer, name string) error) error {
	sum := sha256.New()
	if err := write(sum, unnamed); err != nil {
		return err
	}
	name := uuid.NewSHA1(namespace, []byte(hex.EncodeToString(sum.Sum(nil))))
	return write(w, name.URN())
}

// lists are those of a document that are made while they are written, by key.
type lists map[string]iter.Seq[any]

// encode writes a document, a pointer to a struct, as indented JSON, as encoding/json
// does; of its own lists, and of those that are made meanwhile, one element at a time.
func encode(w io.Writer, doc any, made lists) error {
	e := &encoder{w: bufio.NewWriterSize(w, 1<<16)}
	v := reflect.ValueOf(doc).Elem()
	before := "{\n"
	for i := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		f := v.Field(i)
		seq, lazy := made[key]
		if key == "-" || !lazy && strings.Contains(options, "omitempty") && empty(f) {
			continue
		}
		fmt.Fprintf(e.w, "%s  %q: ", before, key)
		before = ",\n"
		list := reflect.Indirect(f)
		if !lazy && list.Kind() == reflect.Slice && list.Len() > 0 {
			seq, lazy = elements(list), true
		}
		if !lazy {
			e.value(f.Addr().Interface(), "  ")
			continue
		}
		e.list(seq)
	}
	fmt.Fprint(e.w, "\n}\n")
	if e.err != nil {
		return e.err
	}
	return e.w.Flush()
}

// empty is what encoding/json leaves out under omitempty.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func elements(list reflect.Value) iter.Seq[any] {
	return func(yield func(any) bool) {
		for i := range list.Len() {
			if !yield(list.Index(i).Addr().Interface()) {
				return
			}
		}
	}
}

// encoder writes values one by one. Errors of writing stay in w.
type encoder struct {
	w   *bufio.Writer
	buf bytes.Buffer
	err error
}

func (e *encoder) list(seq iter.Seq[any]) {
	before := "[\n    "
	for v := range seq {
		fmt.Fprint(e.w, before)
		e.value(v, "    ")
		if before = ",\n    "; e.err != nil {
			return
		}
	}
	if before[0] == '[' {
		fmt.Fprint(e.w, "[]")
		return
	}
	fmt.Fprint(e.w, "\n  ]")
}

func (e *encoder) value(v any, prefix string) {
	e.buf.Reset()
	j := json.NewEncoder(&e.buf)
	j.SetEscapeHTML(false)
	j.SetIndent(prefix, "  ")
	if err := j.Encode(v); err != nil && e.err == nil {
		e.err = err
	}
	_, _ = e.w.Write(bytes.TrimSuffix(e.buf.Bytes(), []byte("\n"))) // Flush tells
}
