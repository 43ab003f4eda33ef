package provenance

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// maxExplained bounds the lines about one thing that differs.
const maxExplained = 12

// Explain says in what the products of a stage differ between two builds, from what their
// output folders have: paths of trees, files of images, names of files. It says as much
// as it can read, and is no check.
func Explain(of, out string, a, b stage.Record) []string {
	var lines []string
	if !reflect.DeepEqual(a.Commands, b.Commands) {
		lines = append(lines, otherCommands(a, b)...)
	}
	if string(a.Params) != string(b.Params) {
		lines = append(lines, fmt.Sprintf("parameters were %s", a.Params), fmt.Sprintf("parameters are  %s", b.Params))
	}
	for _, m := range []struct {
		what string
		a, b map[string]artifact.Digest
	}{{"material", a.Materials, b.Materials}, {"product", a.Products, b.Products}} {
		var names []string
		for _, name := range sortedKeys(union(m.a, m.b)) {
			if m.a[name] != m.b[name] {
				names = append(names, name)
			}
		}
		for i, name := range names {
			if i == maxExplained {
				lines = append(lines, fmt.Sprintf("%d more %ss differ", len(names)-i, m.what))
				break
			}
			lines = append(lines, m.what+" "+name+presence(m.a[name], m.b[name]))
			if m.what == "product" {
				lines = append(lines, inside(of, out, name)...)
			}
		}
	}
	return lines
}

func union(a, b map[string]artifact.Digest) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

func presence(a, b artifact.Digest) string {
	switch {
	case a == "":
		return ": is new"
	case b == "":
		return ": is missing"
	}
	return ""
}

func otherCommands(a, b stage.Record) []string {
	for i := range max(len(a.Commands), len(b.Commands)) {
		var was, is string
		if i < len(a.Commands) {
			was = strings.Join(a.Commands[i].Argv, " ")
		}
		if i < len(b.Commands) {
			is = strings.Join(b.Commands[i].Argv, " ")
		}
		if was != is {
			return []string{fmt.Sprintf("run %d was %q", i+1, was), fmt.Sprintf("run %d is  %q", i+1, is)}
		}
	}
	return nil
}

// inside looks into a product that both folders have.
func inside(of, out, product string) []string {
	switch {
	case strings.HasSuffix(product, manifestSuffix):
		a, errA := manifestIn(of, product)
		b, errB := manifestIn(out, product)
		if errA != nil || errB != nil {
			return nil
		}
		var lines []string
		for _, d := range roottree.Compare(a, b, roottree.CompareOptions{}) {
			lines = append(lines, "  "+d.String())
		}
		return cut(lines)
	case strings.HasSuffix(product, ".iso"):
		return cut(otherFiles(filepath.Join(of, path.Base(product)), filepath.Join(out, path.Base(product))))
	}
	return nil
}

func cut(lines []string) []string {
	if len(lines) > maxExplained {
		lines = append(lines[:maxExplained], fmt.Sprintf("  %d more", len(lines)-maxExplained))
	}
	return lines
}

func manifestIn(dir, product string) (*roottree.Manifest, error) {
	b := &Bundle{dir: filepath.Join(dir, EvidenceDir)}
	text, err := b.read(path.Join(ManifestDir, product), maxEvidenceFile)
	if err != nil {
		return nil, err
	}
	return roottree.Parse(bytes.NewReader(text))
}

// otherFiles names the files in which two ISOs differ.
func otherFiles(a, b string) (lines []string) {
	was, err := medium.OpenISO(a)
	if err != nil {
		return nil
	}
	defer func() { _ = was.Close() }() // it was only read
	is, err := medium.OpenISO(b)
	if err != nil {
		return nil
	}
	defer func() { _ = is.Close() }() // it was only read
	all := map[string]bool{}
	for name := range was.Files {
		all[name] = true
	}
	for name := range is.Files {
		all[name] = true
	}
	for _, name := range sortedKeys(all) {
		_, before := was.Files[name]
		_, now := is.Files[name]
		switch {
		case !before:
			lines = append(lines, "  "+name+": is new")
		case !now:
			lines = append(lines, "  "+name+": is missing")
		default:
			h, _, errA := was.Sums(name)
			k, _, errB := is.Sums(name)
			if errA == nil && errB == nil && h != k {
				lines = append(lines, fmt.Sprintf("  %s: sha256 is %s, was %s", name, k, h))
			}
		}
	}
	return lines
}
