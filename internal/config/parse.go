package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/fault"
)

// MaxSize bounds a config, in bytes.
const MaxSize = 1 << 20

// Parse reads a config strictly: an unknown key, a wrong type or an impossible
// value is an error that names file, line and what to do.
func Parse(name string, b []byte) (*Config, error) {
	if len(b) > MaxSize {
		return nil, fault.New(fault.Usage, "", "%s: longer than %d bytes", name, MaxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, "isotrace init writes one to start from", "%s: is empty", name)
	} else if err != nil {
		return nil, syntaxError(name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, "keep one document", "%s: more than one YAML document", name)
	}
	f := &file{name: name, root: doc.Content[0]}
	if err := f.checkKeys(f.root, reflect.TypeFor[Config](), ""); err != nil {
		return nil, err
	}
	c := &Config{}
	if err := f.root.Decode(c); err != nil {
		return nil, syntaxError(name, err)
	}
	c.defaults()
	if err := f.validate(c); err != nil {
		return nil, err
	}
	return c, nil
}

// file is a parsed config that can tell where things stand.
type file struct {
	name string
	root *yaml.Node
}

// errorAt is an error about the value at a path such as archives[1].suite; where
// there is none, it stands at the nearest value above.
func (f *file) errorAt(path, hint, format string, args ...any) error {
	return fault.New(fault.Usage, hint, "%s:%d: %s: %w", f.name, f.line(path), path, fmt.Errorf(format, args...))
}

var pathElement = regexp.MustCompile(`[^.\[\]]+`)

func (f *file) line(path string) int {
	n := f.root
	line := n.Line
	for _, e := range pathElement.FindAllString(path, -1) {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == e {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(e); err == nil && i < len(n.Content) {
				next = n.Content[i]
				line = next.Line
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

// shorthand are the types that may also be written as a plain string.
var shorthand = []reflect.Type{reflect.TypeFor[Package](), reflect.TypeFor[Source]()}

// checkKeys refuses keys that the type does not have, and what has the wrong shape.
func (f *file) checkKeys(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind == yaml.AliasNode {
		return fault.New(fault.Usage, "write the value out", "%s:%d: aliases are not supported", f.name, n.Line)
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		// The rest of an unquoted value that begins with ! would be lost.
		return fault.New(fault.Usage, "put a value that begins with ! into quotes", "%s:%d: %s: has a YAML tag", f.name, n.Line, orRoot(path))
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Tag == "!!null" {
		return fault.New(fault.Usage, "leave the key out, or give it a value", "%s:%d: %s has no value", f.name, n.Line, orRoot(path))
	}
	want := map[reflect.Kind]yaml.Kind{reflect.Struct: yaml.MappingNode, reflect.Map: yaml.MappingNode, reflect.Slice: yaml.SequenceNode}[t.Kind()]
	if want == 0 {
		want = yaml.ScalarNode
	}
	if n.Kind == yaml.ScalarNode && slices.Contains(shorthand, t) {
		return nil
	}
	if n.Kind != want {
		return fault.New(fault.Usage, "see docs/isotrace.schema.json, or isotrace init for an example", "%s:%d: %s: want %s", f.name, n.Line, orRoot(path), shapes[want])
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := fieldsOf(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			field, ok := fields[key.Value]
			if !ok {
				return fault.New(fault.Usage, nearest(key.Value, fields), "%s:%d: unknown key %q%s", f.name, key.Line, key.Value, in(path))
			}
			if err := f.checkKeys(n.Content[i+1], field, join(path, key.Value)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := f.checkKeys(n.Content[i+1], t.Elem(), join(path, n.Content[i].Value)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i, e := range n.Content {
			if err := f.checkKeys(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

var shapes = map[yaml.Kind]string{yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}

func orRoot(path string) string {
	if path == "" {
		return "the config"
	}
	return path
}

func in(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		fields[name] = t.Field(i).Type
	}
	return fields
}

// nearest says which keys there are, the likeliest first.
func nearest(key string, fields map[string]reflect.Type) string {
	var names []string
	for name := range fields {
		if len(key) > 2 && (strings.HasPrefix(name, key[:2]) || strings.Contains(name, key) || strings.Contains(key, name)) {
			return fmt.Sprintf("did you mean %q?", bestOf(key, fields))
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return "known keys: " + strings.Join(names, ", ")
}

func bestOf(key string, fields map[string]reflect.Type) string {
	best, score := "", -1
	for name := range fields {
		s := 0
		for i := 0; i < len(name) && i < len(key) && name[i] == key[i]; i++ {
			s += 2
		}
		if strings.Contains(name, key) || strings.Contains(key, name) {
			s += 3
		}
		if s > score || s == score && name < best {
			best, score = name, s
		}
	}
	return best
}

// UnmarshalYAML takes the name alone, too.
func (p *Package) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		p.Name = n.Value
		return nil
	}
	type plain Package
	return n.Decode((*plain)(p))
}

// UnmarshalYAML takes the path alone, too.
func (s *Source) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		s.From = n.Value
		return nil
	}
	type plain Source
	return n.Decode((*plain)(s))
}

// anchor is the name of an anchor in the YAML library's words: it may be a value that was
// not quoted, and a secret.
var anchor = regexp.MustCompile(`unknown anchor '[^']*' referenced`)

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntaxError puts the YAML library's words behind file and line.
func syntaxError(name string, err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		what := strings.NewReplacer("into string", "where text is wanted", "into int", "where a number is wanted", "into bool", "where true or false is wanted", "cannot unmarshal", "cannot use").Replace(m[2])
		return fault.New(fault.Usage, "put text with special characters into quotes; indent with spaces", "%s:%s: %s", name, m[1], what)
	}
	what := anchor.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "a value begins with *, which YAML takes for an alias: put it into quotes")
	return fault.New(fault.Usage, "", "%s: %s", name, what)
}
