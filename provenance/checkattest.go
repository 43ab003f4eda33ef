package provenance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// attested holds every attestation to what the rest of the evidence says: each is made
// anew, and has to be the same to the byte.
func (v *verification) attested(ctx context.Context) (string, []Problem, error) {
	var content []artifact.Digest
	for _, name := range sortedKeys(v.files) {
		content = append(content, artifact.HashBytes([]byte(name)), v.files[name])
	}
	name, known := v.known("attested", append(content, v.iso, artifact.HashBytes(v.key.PEM))...)
	a := attested{v.Bundle, Resource{}, v.links}
	list := a.statements()
	what := fmt.Sprintf("%d attestations of the image and its stages, signed by %.8s", len(list), v.key.KeyID())
	if known {
		return what, nil, nil
	}
	strong := ""
	if v.iso != "" {
		var err error
		if strong, err = v.sha512(); err != nil {
			return "", nil, err
		}
	}
	a.image = imageResource(v.Bundle, v.iso, strong)
	var problems []Problem
	expected := map[string]bool{}
	for _, st := range a.statements() {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		file := path.Join(AttestationsDir, st.file)
		expected[file] = true
		if err := v.statementHolds(file, st); err != nil {
			problems = append(problems, problemOf(file, err))
		}
	}
	for _, file := range sortedKeys(v.files) {
		if strings.HasPrefix(file, AttestationsDir+"/") && !expected[file] {
			problems = append(problems, Problem{file, "is no attestation of this build"})
		}
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

func (v *verification) statementHolds(file string, st statement) error {
	text, err := v.read(file, maxBundle)
	if err != nil {
		return err
	}
	have, err := openStatement(text, v.key)
	if err != nil {
		return err
	}
	said, err := st.say()
	if err != nil {
		return err
	}
	want, err := said.payload()
	if err != nil {
		return err
	}
	var about struct {
		Subject []Resource `json:"subject"`
	}
	if err := json.Unmarshal(have, &about); err != nil {
		return err
	}
	if is, be := about.Subject, said.Subject; len(is) == 1 && len(be) == 1 && !reflect.DeepEqual(is, be) {
		return fmt.Errorf("its subject is %s, not %s", is[0], be[0])
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("says something else than the evidence, from byte %d on", firstDifference(have, want))
	}
	return nil
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
