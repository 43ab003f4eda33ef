package stages

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/requirement"
	"github.com/isotrace/isotrace/internal/stage"
)

const requiring = `name: x
release: "1"
base: {oci: l}
packages:
  - vim
  - {name: mutt, requirements: [HLR-10, HLR-9, HLR-9]}
overlay: [{from: files/, to: /, requirements: [HLR-9]}]
boot: {requirements: [LLR-1]}
`

func TestRequirements(t *testing.T) {
	c, err := config.Parse(config.FileName, []byte(requiring))
	if err != nil {
		t.Fatal(err)
	}
	list, err := requirement.Read("r.csv", []byte("id,title,text,parent\nHLR-10,Mail,Reads mail.,SYS-1\nHLR-9,,x,ELSEWHERE\nHLR-11,,,SYS-2\nSYS-1,,,\nSYS-2,,,\nLLR-1,,,HLR-12\nHLR-12,,,SYS-3\nSYS-3,,,\n"))
	if err != nil {
		t.Fatal(err)
	}
	have, err := json.Marshal(Requirements(c, list))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"id":"HLR-9","text":"x","parent":"ELSEWHERE","source":"r.csv:3","entries":["packages[1]: mutt","overlay[0]: files/"]},` +
		`{"id":"HLR-10","title":"Mail","text":"Reads mail.","parent":"SYS-1","source":"r.csv:2","entries":["packages[1]: mutt"]},` +
		`{"id":"HLR-11","parent":"SYS-2","source":"r.csv:4","entries":[]},` +
		`{"id":"HLR-12","parent":"SYS-3","source":"r.csv:8","entries":[]},` +
		`{"id":"LLR-1","parent":"HLR-12","source":"r.csv:7","entries":["boot"]},` +
		`{"id":"SYS-1","source":"r.csv:5","entries":[]},{"id":"SYS-2","source":"r.csv:6","entries":[]},{"id":"SYS-3","source":"r.csv:9","entries":[]}]`
	if string(have) != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	if have := Unmet(Requirements(c, list)); !reflect.DeepEqual(have, []string{"HLR-11", "SYS-2"}) {
		t.Errorf("unmet: %v", have)
	}
	var ids []string
	for _, r := range Requirements(c, nil) {
		ids = append(ids, r.ID+" "+r.Source+strings.Join(r.Entries, "; "))
	}
	if have := strings.Join(ids, "\n"); have != "HLR-9 packages[1]: mutt; overlay[0]: files/\nHLR-10 packages[1]: mutt\nLLR-1 boot" {
		t.Errorf("without a list:\n%s", have)
	}
	if have := Unmet(Requirements(c, nil)); have != nil {
		t.Errorf("unmet without a list: %v", have)
	}
}

func TestProjectRequirements(t *testing.T) {
	const with = requiring + "requirements-file: ./lists/r.csv\n"
	for name, c := range map[string]struct{ config, list, want, hint string }{
		"all known":   {with, "id\nHLR-9\nHLR-10\nLLR-1\n", "", ""},
		"no list":     {requiring, "", "", ""},
		"unknown":     {with, "id\nHLR-9\nLLR-1\nHLR-100\n", "isotrace.yaml:6: packages[1].requirements[0]: ./lists/r.csv does not list HLR-10", "did you mean HLR-100?"},
		"far":         {with, "id\nHLR-9\nHLR-10\n", "isotrace.yaml:8: boot.requirements[0]: ./lists/r.csv does not list LLR-1", "list it there"},
		"twice":       {with, "id\nHLR-9\nHLR-9\n", "lists/r.csv:3: HLR-9 is listed twice, first at lists/r.csv:2", "an identifier of its own"},
		"missing":     {with, "", "isotrace.yaml:9: requirements-file: ./lists/r.csv: no such file or directory", "relative to the project"},
		"a folder":    {requiring + "requirements-file: lists\n", "id\n", "isotrace.yaml:9: requirements-file: lists: is not a regular file", ""},
		"format":      {requiring + "requirements-file: isotrace.yaml\n", "", "isotrace.yaml: is of no format", ".csv"},
		"out by link": {requiring + "requirements-file: link.csv\n", "", "isotrace.yaml:9: requirements-file: link.csv: path escapes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(config.FileName, c.config)
			if c.list != "" {
				write("lists/r.csv", c.list)
			}
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.csv")); err != nil {
				t.Fatal(err)
			}
			write("files/x", "")
			p, err := OpenProject(dir)
			if err != nil {
				t.Fatal(err)
			}
			store := openStore(t)
			m, err := p.Collect(t.Context(), store)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), c.hint) {
					t.Errorf("error %v (%s), want %s (%s)", err, fault.HintOf(err), c.want, c.hint)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Config.RequirementsFile == "" {
				if m.Requirements != nil || m.RequirementList != nil {
					t.Error("a list came from nowhere")
				}
				return
			}
			if m.Requirements.Path != "project/lists/r.csv" || m.Requirements.Digest != artifact.HashBytes([]byte(c.list)) || !store.Has(m.Requirements.Digest) || len(m.RequirementList.All()) != 3 {
				t.Errorf("material %+v", m.Requirements)
			}
		})
	}
}

// lines keeps what a session tells.
type lines []string

func (l *lines) Stage(string, stage.State)  {}
func (l *lines) Bytes(string, int64, int64) {}
func (l *lines) Line(name, text string)     { *l = append(*l, name+": "+text) }

func TestTellUnmet(t *testing.T) {
	list, err := requirement.Read("r.csv", []byte("id\nR1\nR2\nR3\nR4\nR5\nR6\nR7\nR8\nR9\nR10\nR11\nR12\nR13\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("c", []byte("name: x\nrelease: \"1\"\nbase: {oci: l}\npackages: [{name: a2, requirements: [R2]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var told lines
	s := &Session{Project: &Project{Config: c}, Progress: &told}
	s.tellUnmet(nil)
	s.tellUnmet(list)
	s.tellUnmet(list)
	want := lines{"requirements: named by no entry of the config: R1, R3, R4, R5, R6, R7, R8, R9, R10, R11 and 2 more"}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %q", told)
	}
}
