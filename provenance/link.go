package provenance

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/strictjson"
	"github.com/isotrace/isotrace/internal/tool"
)

// Recorder turns stage records into signed in-toto links and back; it is what
// stage.Runner asks for.
type Recorder struct{ Signer *Signer }

// KeyID names the signer's key.
func (r Recorder) KeyID() string { return r.Signer.public.KeyID() }

// The keys of a link's environment.
const (
	envEpoch   = "SOURCE_DATE_EPOCH"
	envVersion = "isotrace.stage-version"
	envParams  = "isotrace.parameters" // JSON, as text: canonical JSON has no numbers with fractions
)

// LinkName is the file name of a stage's link, as in-toto wants it.
func LinkName(stage, keyID string) string { return fmt.Sprintf("%s.%.8s.link", stage, keyID) }

// Seal writes a record as a link in a Metablock, signed.
func (r Recorder) Seal(rec stage.Record) ([]byte, error) {
	text, err := r.Signer.metablock(in_toto.Link{
		Type: "link", Name: rec.Name,
		Materials:   hashObjects(rec.Materials),
		Products:    hashObjects(rec.Products),
		ByProducts:  map[string]any{"commands": commandsOf(rec)},
		Command:     stageCommand(rec.Name),
		Environment: environmentOf(rec),
	})
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", rec.Name, err)
	}
	return text, nil
}

// commandsOf are a record's commands as a link has them.
func commandsOf(rec stage.Record) []any {
	commands := []any{}
	for _, c := range rec.Commands {
		m := map[string]any{"argv": c.Argv}
		if len(c.Env) > 0 {
			m["env"] = c.Env
		}
		if c.Dir != "" {
			m["dir"] = c.Dir
		}
		commands = append(commands, m)
	}
	return commands
}

func environmentOf(rec stage.Record) map[string]any {
	return map[string]any{
		envEpoch: rec.Epoch.String(), envVersion: strconv.Itoa(rec.Version), envParams: string(rec.Params),
	}
}

// Open verifies a link of the signer's own and returns its record.
func (r Recorder) Open(link []byte) (stage.Record, error) { return OpenLink(link, r.Signer.public) }

func hashObjects(m map[string]artifact.Digest) map[string]in_toto.HashObj {
	out := make(map[string]in_toto.HashObj, len(m))
	for path, d := range m {
		out[path] = in_toto.HashObj{"sha256": string(d)}
	}
	return out
}

// isProject tells whether a material is a file of the project.
func isProject(material string) bool { return strings.HasPrefix(material, recordProject) }

// linkFile is a link as Seal writes it, strictly.
type linkFile struct {
	Signed struct {
		Type       string                       `json:"_type"`
		Name       string                       `json:"name"`
		Materials  map[string]map[string]string `json:"materials"`
		Products   map[string]map[string]string `json:"products"`
		ByProducts struct {
			Commands []tool.Command `json:"commands"`
		} `json:"byproducts"`
		Command     []string          `json:"command"`
		Environment map[string]string `json:"environment"`
	} `json:"signed"`
	Signatures []in_toto.Signature `json:"signatures"`
}

// maxLink bounds a link, in bytes.
const maxLink = 64 << 20

// OpenLink verifies that the key signed a link, and returns its record.
func OpenLink(link []byte, key *PublicKey) (stage.Record, error) {
	var rec stage.Record
	if len(link) > maxLink {
		return rec, fmt.Errorf("link: longer than %d bytes", maxLink)
	}
	var f linkFile
	if err := strictjson.Unmarshal(link, &f); err != nil {
		return rec, fmt.Errorf("link: %w", err)
	}
	text, err := signable(link)
	if err != nil {
		return rec, fmt.Errorf("link: %w", err)
	}
	if !signedBy(key, f.Signatures, text) {
		return rec, fmt.Errorf("link %s: is not signed by key %.8s", f.Signed.Name, key.KeyID())
	}
	rec, err = recordOf(f)
	if err != nil {
		return rec, err
	}
	if err := agrees(f.inToto(), text); err != nil {
		return rec, fmt.Errorf("link %s: %w", rec.Name, err)
	}
	return rec, nil
}

// inToto is the link as in-toto's own type has it.
func (f linkFile) inToto() in_toto.Link {
	objects := func(m map[string]map[string]string) map[string]in_toto.HashObj {
		out := make(map[string]in_toto.HashObj, len(m))
		for name, h := range m {
			out[name] = h
		}
		return out
	}
	environment := map[string]any{}
	for k, v := range f.Signed.Environment {
		environment[k] = v
	}
	return in_toto.Link{
		Type: f.Signed.Type, Name: f.Signed.Name, Materials: objects(f.Signed.Materials), Products: objects(f.Signed.Products),
		ByProducts: map[string]any{"commands": commandsOf(stage.Record{Commands: f.Signed.ByProducts.Commands})},
		Command:    f.Signed.Command, Environment: environment,
	}
}

func signedBy(key *PublicKey, signatures []in_toto.Signature, text []byte) bool {
	for _, s := range signatures {
		sig, err := hex.DecodeString(s.Sig)
		if err == nil && s.KeyID == key.KeyID() && key.verifyMetadata(text, sig) {
			return true
		}
	}
	return false
}

func recordOf(f linkFile) (stage.Record, error) {
	l := f.Signed
	rec := stage.Record{Name: l.Name, Commands: l.ByProducts.Commands, Params: json.RawMessage(l.Environment[envParams])}
	if l.Type != "link" || !slices.Equal(l.Command, stageCommand(l.Name)) {
		return rec, fmt.Errorf("link %s: is not one of a stage of isotrace", l.Name)
	}
	if err := strictjson.Check(rec.Params); err != nil {
		return rec, fmt.Errorf("link %s: its parameters: %w", l.Name, err)
	}
	seconds, err := strconv.ParseInt(l.Environment[envEpoch], 10, 64)
	if err != nil {
		return rec, fmt.Errorf("link %s: epoch: %w", l.Name, err)
	}
	rec.Epoch = epoch.Epoch(seconds)
	if rec.Version, err = strconv.Atoi(l.Environment[envVersion]); err != nil {
		return rec, fmt.Errorf("link %s: version: %w", l.Name, err)
	}
	if rec.Materials, err = digests(l.Materials); err != nil {
		return rec, fmt.Errorf("link %s: %w", l.Name, err)
	}
	rec.Products, err = digests(l.Products)
	if err != nil {
		return rec, fmt.Errorf("link %s: %w", l.Name, err)
	}
	return rec, nil
}

func digests(m map[string]map[string]string) (map[string]artifact.Digest, error) {
	out := make(map[string]artifact.Digest, len(m))
	for name, h := range m {
		if name != path.Clean(name) || path.IsAbs(name) {
			return nil, fmt.Errorf("%q: is not a record path", name)
		}
		d := artifact.Digest(h["sha256"])
		if err := d.Validate(); err != nil || len(h) != 1 {
			return nil, fmt.Errorf("%s: want one sha256, have %v", name, h)
		}
		out[name] = d
	}
	return out, nil
}

// ProjectFiles are the files of the project that the stages took, as records call them.
func ProjectFiles(records map[string]stage.Record) map[string]artifact.Digest {
	files := map[string]artifact.Digest{}
	for _, r := range records {
		for name, d := range r.Materials {
			if isProject(name) {
				files[name] = d
			}
		}
	}
	return files
}
