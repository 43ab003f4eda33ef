package provenance

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func (v *verification) checkLinks(context.Context) (string, []Problem, error) {
	files, err := os.ReadDir(filepath.Join(v.dir, LinksDir))
	if err != nil {
		return "", []Problem{problemOf(LinksDir, err)}, nil
	}
	var problems []Problem
	for _, f := range files {
		name := path.Join(LinksDir, f.Name())
		text, err := v.read(name, maxLink)
		if err != nil {
			problems = append(problems, problemOf(name, err))
			continue
		}
		key, err := v.signerOf(f.Name())
		if err != nil {
			problems = append(problems, problemOf(name, err))
			continue
		}
		rec, err := OpenLink(text, key)
		if err != nil {
			problems = append(problems, problemOf(name, err))
			continue
		}
		if f.Name() != LinkName(rec.Name, key.KeyID()) {
			problems = append(problems, Problem{name, "is the link of stage " + rec.Name})
			continue
		}
		if key != v.key {
			v.done[rec.Name] = append(v.done[rec.Name], doneStep{name, key.KeyID(), rec})
			continue
		}
		v.done[rec.Name] = slices.Insert(v.done[rec.Name], 0, doneStep{name, key.KeyID(), rec})
		if rec.Epoch != v.Lock.Epoch {
			problems = append(problems, Problem{name, fmt.Sprintf("its epoch is %s, the lock's is %s", rec.Epoch, v.Lock.Epoch)})
		}
		v.links[rec.Name] = rec
		for p, d := range rec.Products {
			if !strings.HasPrefix(p, rec.Name+"/") {
				problems = append(problems, Problem{name, "names a product that is not the stage's own: " + p})
			}
			v.made[p] = d
		}
	}
	return fmt.Sprintf("%d stages, each with a link signed by %.8s", len(v.links), v.key.KeyID()), problems, nil
}

// signerOf is whose key must have signed a link, by the link's name.
func (v *verification) signerOf(file string) (*PublicKey, error) {
	base, _ := strings.CutSuffix(file, ".link")
	short := strings.TrimPrefix(path.Ext(base), ".")
	stageName := strings.TrimSuffix(base, "."+short)
	if v.layout == nil {
		if file != LinkName(stageName, v.key.KeyID()) {
			return nil, fmt.Errorf("is not a link of the builder %.8s", v.key.KeyID())
		}
		return v.key, nil
	}
	key := v.layout.signer(stageName, short)
	switch {
	case key == nil:
		return nil, fmt.Errorf("the layout lets no key %q carry out step %q", short, stageName)
	case key.KeyID() == v.key.KeyID():
		return v.key, nil
	}
	return key, nil
}

// chain follows the materials from the image's stage back to the project.
func (v *verification) chain(context.Context) (string, []Problem, error) {
	var problems []Problem
	seen := map[string]bool{}
	count := 0
	var follow func(name string)
	follow = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		rec, ok := v.links[name]
		if !ok {
			problems = append(problems, Problem{LinksDir, "there is no link of stage " + name})
			return
		}
		for _, m := range sortedKeys(rec.Materials) {
			count++
			if isProject(m) {
				continue
			}
			maker, _, _ := strings.Cut(m, "/")
			follow(maker)
			switch made, ok := v.made[m]; {
			case v.links[maker].Name == "":
			case !ok:
				problems = append(problems, Problem{path.Join(LinksDir, LinkName(name, v.key.KeyID())), fmt.Sprintf("took %s, which stage %s did not give", m, maker)})
			case made != rec.Materials[m]:
				problems = append(problems, Problem{path.Join(LinksDir, LinkName(name, v.key.KeyID())), fmt.Sprintf("took %s as %s, stage %s gave %s", m, rec.Materials[m].Short(), maker, made.Short())})
			}
		}
	}
	for _, image := range v.imageRecords() {
		if _, ok := v.made[image]; !ok {
			problems = append(problems, Problem{LinksDir, "no stage gave " + image})
		}
	}
	follow(traceStage)
	follow(sbomStage)
	records := v.imageRecords()
	for _, image := range sortedKeys(records) {
		maker, _, _ := strings.Cut(records[image], "/")
		follow(maker)
	}
	for _, name := range sortedKeys(v.links) {
		if !seen[name] {
			problems = append(problems, Problem{path.Join(LinksDir, LinkName(name, v.key.KeyID())), "the image does not rest on this stage"})
		}
	}
	problems = append(problems, v.bills()...)
	return fmt.Sprintf("%d materials, each the product of a stage or a file of the project", count), problems, nil
}

// bills holds the bills of materials to what their stage gave.
func (v *verification) bills() []Problem {
	var problems []Problem
	for _, p := range sortedKeys(v.made) {
		base, ok := strings.CutPrefix(p, recordSbom)
		if name := SbomDir + "/" + base; ok && v.files[name] != v.made[p] {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %q, the stage %s gave %s", v.files[name], sbomStage, v.made[p])})
		}
	}
	for _, name := range sortedKeys(v.files) {
		if base, ok := strings.CutPrefix(name, SbomDir+"/"); ok && v.made[recordSbom+base] == "" {
			problems = append(problems, Problem{name, "is not of the stage " + sbomStage})
		}
	}
	return problems
}
