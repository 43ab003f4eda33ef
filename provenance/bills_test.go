package provenance

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
)

func billsIn(t *testing.T, cdx string) *Bundle {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, SbomDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, SbomDir, "x.cdx.json"), []byte(cdx), 0o644); err != nil {
		t.Fatal(err)
	}
	return &Bundle{dir: dir, Config: &config.Config{Name: "x"}}
}

// TestLargeBill: a bill that is too large to be a predicate is named by one.
func TestLargeBill(t *testing.T) {
	small, large := `{"components":[]}`, `{"a":"`+strings.Repeat("x", maxEmbedded)+`"}`
	for text, want := range map[string]string{
		small: `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":null}],"predicateType":"https://cyclonedx.org/bom","predicate":{"components":[]}}`,
		large: `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":null}],"predicateType":"https://in-toto.io/attestation/reference/v0.1","predicate":{"attester":{"id":"` + builderID +
			`"},"references":[{"name":"x.cdx.json","digest":{"sha256":"` + string(artifact.HashBytes([]byte(large))) + `"},"mediaType":"application/vnd.cyclonedx+json"}]}}`,
	} {
		a := attested{Bundle: billsIn(t, text)}
		st := a.statements()[1]
		said, err := st.say()
		if err != nil {
			t.Fatal(err)
		}
		have, err := said.payload()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Replace(string(have), `{"digest":null}`, `{"name":"","digest":null}`, 1) != want {
			t.Errorf("%.400s\nwant %.400s", have, want)
		}
	}
}

func TestBillLicences(t *testing.T) {
	const hash = `"hashes":[{"alg":"SHA-1","content":"no"},{"alg":"SHA-256","content":"%"}]`
	h := func(s string) string { return strings.Replace(hash, "%", s, 1) }
	v := &verification{Bundle: billsIn(t, `{"a":{"components":[1]},"components":[
		{`+h("a")+`,"licenses":[{"expression":"MIT OR X"}]},
		{`+h("b")+`,"licenses":[{"license":{"id":"MIT"}},{"license":{"id":"X"}}]},
		{`+h("c")+`},{"licenses":[{"expression":"X"}]}],
		"formulation":[{"components":[{`+h("d")+`,"licenses":[{"license":{"name":"own"}}]}]}],"z":[{}]}`)}
	have, err := v.billLicences()
	if want := map[string]string{"a": "MIT OR X", "b": "MIT", "d": "own"}; err != nil || !maps.Equal(have, want) {
		t.Errorf("%v, %v, want %v", have, err, want)
	}
	for _, text := range []string{"", "[]", "{", `{"components":{}}`, `{"components":[1]}`, `{"components":[{}`, `{"components":[]`} {
		v := &verification{Bundle: billsIn(t, text)}
		if _, err := v.billLicences(); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
