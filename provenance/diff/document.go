package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/changelog"
	"github.com/isotrace/isotrace/internal/trace"
)

// document is a result for people: the most important first.
type document struct {
	Title    string
	Verdict  string
	Bad      bool // the verdict is that something is unexplained
	Facts    [][2]string
	Sections []section
}

// section is a table, or a text as it stands. One without content is left out.
type section struct {
	Title   string
	Note    string
	Columns []string
	Rows    [][]string
	Text    string
	Below   []section
	// Long tells that rows do not fit on a line: text has a line for each cell.
	Long bool
}

func (s *section) empty() bool { return len(s.Rows) == 0 && s.Text == "" && len(s.Below) == 0 }

func (s *section) row(cells ...string) { s.Rows = append(s.Rows, cells) }

// Options say how much is shown.
type Options struct {
	Files bool // every file
}

// shown bounds how many rows of a kind people are shown where they did not ask for files.
const shown = 30

func (r *Result) document(o Options) document {
	d := document{Title: fmt.Sprintf("%s %s → %s %s", r.Baseline.Name, r.Baseline.Release, r.Candidate.Name, r.Candidate.Release)}
	for _, s := range []struct {
		name string
		side Side
	}{{"baseline", r.Baseline}, {"candidate", r.Candidate}} {
		text := fmt.Sprintf("%s  sha256:%s, built by %.8s", s.side.Image, s.side.SHA256, s.side.Builder)
		if s.side.Released {
			text += ", released"
		}
		d.Facts = append(d.Facts, [2]string{s.name, text})
	}
	switch {
	case r.Same:
		d.Verdict = "nothing differs"
	case len(r.Unexplained) == 0:
		d.Verdict = fmt.Sprintf("every change is explained: %d files by what they come from, %d by what the stage took that made them", r.Direct, r.Indirect)
	default:
		d.Verdict, d.Bad = r.openText(), true
	}
	for _, s := range []section{
		r.unexplainedSection(o), r.weakerSection(o), r.requirementSection(), r.packageSection("Packages of the image", SetTarget), r.packageSection("Packages that boot the image", SetBoot),
		r.configSection(), r.lockSection(), r.layoutSection(), r.toolSection(), r.licenceSection(), r.ownerSection(), r.sizeSection(), r.stageSection(), r.changelogSection(), r.fileSection(o),
	} {
		if !s.empty() {
			d.Sections = append(d.Sections, s)
		}
	}
	return d
}

// bound shows no more rows than people want to see, and says how many there are.
func (s *section) bound(all bool, hint string) {
	if n := len(s.Rows); !all && n > shown {
		s.Rows = s.Rows[:shown]
		s.Note = strings.TrimSpace(s.Note + fmt.Sprintf(" The first %d of %d; %s.", shown, n, hint))
	}
}

func (r *Result) unexplainedSection(o Options) section {
	s := section{Title: "Unexplained", Note: "Neither the config, nor the lock, nor a file of the project accounts for these.", Columns: []string{"what", "why"}}
	for _, u := range r.Unexplained {
		s.row(u.What, u.Why)
	}
	s.bound(o.Files, "--files shows all")
	return s
}

func partPath(part, path string) string {
	if path == "." {
		path = ""
	}
	if !strings.HasPrefix(path, "[") {
		path = "/" + path
	}
	if part == trace.PartRoot {
		return path
	}
	return part + ":" + path
}

func (r *Result) weakerSection(o Options) section {
	s := section{Title: "Origins that prove less than before", Columns: []string{"file", "from", "to", "by"}}
	for _, w := range r.Weaker {
		by := w.By
		if w.Allowed != "" {
			by = strings.TrimSpace(by + " accepted: " + w.Allowed)
		}
		s.row(partPath(w.Part, w.Path), orDash(string(w.From)), string(w.To), by)
	}
	s.bound(o.Files, "--files shows all")
	return s
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func (r *Result) requirementSection() section {
	s := section{Title: "Requirements", Long: true, Columns: []string{"requirement", "change", "before", "now"}}
	for _, q := range r.Requirements {
		s.row(strings.TrimSpace(q.ID+" "+q.Title), q.Change, served(q.From), served(q.To))
	}
	return s
}

// served shortens what serves a requirement for people: digests are in the JSON.
func served(list []string) string {
	var words []string
	for _, line := range list {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 2 && fields[0] == "package":
			words = append(words, fields[2])
		case len(fields) > 1 && fields[0] == "file":
			words = append(words, fields[1])
		default:
			words = append(words, "its text")
		}
	}
	return orDash(some(slices.Compact(words)))
}

func (r *Result) packageSection(title, set string) section {
	s := section{Title: title, Columns: []string{"change", "package", "from", "to", "source"}}
	for _, p := range r.Packages {
		if p.Set == set {
			s.row(p.row()...)
		}
	}
	return s
}

func (p PackageChange) row() []string {
	from, to, source := "–", "–", ""
	if p.From != nil {
		from, source = p.From.Version, p.From.Source+" "+p.From.SourceVersion
	}
	if p.To != nil {
		to = p.To.Version
		if now := p.To.Source + " " + p.To.SourceVersion; source == "" {
			source = now
		} else if source != now {
			source += " → " + p.To.SourceVersion
		}
	}
	change := p.Change
	if p.Change == Moved && p.To.Gone != "" {
		change = "removed (" + p.To.Gone + ")"
	} else if p.Change == Moved {
		change = "no longer removed"
	}
	return []string{change, p.Name + ":" + p.Architecture, from, to, source}
}

func (r *Result) changelogSection() section {
	s := section{Title: "Changelogs", Note: "What the newer packages' own changelogs say of the versions in between."}
	for _, c := range r.Changelogs {
		below := section{Title: fmt.Sprintf("%s %s → %s", c.Source, c.From, c.To), Note: "In " + some(c.Packages) + "."}
		if c.Undone {
			below.Note += " The candidate lacks these changes."
		}
		if c.State != ChangelogRead {
			below.Note += " " + upper(c.State) + "."
		}
		if c.More {
			below.Note += fmt.Sprintf(" There are more than %d entries.", maxEntries)
		}
		var text strings.Builder
		for _, part := range []struct {
			name    string
			entries []changelog.Entry
		}{{"news", c.News}, {"changes", c.Entries}} {
			for _, e := range part.entries {
				fmt.Fprintf(&text, "%s in %s", part.name, e.Version)
				for _, more := range []string{e.Distribution, e.Urgency, e.Date} {
					if more != "" {
						text.WriteString(", " + more)
					}
				}
				text.WriteString("\n\n" + e.Text + "\n")
				if e.Cut {
					text.WriteString("  …\n")
				}
				text.WriteString("\n")
			}
		}
		below.Text = strings.TrimRight(text.String(), "\n")
		s.Below = append(s.Below, below)
	}
	return s
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func keyRows(s *section, keys []KeyChange) {
	for _, k := range keys {
		s.row(k.Key, orDash(k.From), orDash(k.To))
	}
}

func (r *Result) configSection() section {
	s := section{Title: "Config and project"}
	keys := section{Title: "isotrace.yaml by key", Columns: []string{"key", "from", "to"}}
	keyRows(&keys, r.Config.Keys)
	lines := section{Title: "isotrace.yaml by line", Text: strings.TrimRight(r.Config.Lines, "\n")}
	files := section{Title: "Files of the project", Columns: []string{"change", "file", "from", "to", "requirements"}}
	for _, f := range r.Project {
		files.row(f.Change(), strings.TrimPrefix(f.Path, "project/"), orDash(f.From.Short()), orDash(f.To.Short()), strings.Join(f.Requirements, ", "))
	}
	for _, below := range []section{keys, lines, files} {
		if !below.empty() {
			s.Below = append(s.Below, below)
		}
	}
	return s
}

func (r *Result) lockSection() section {
	s := section{Title: "Lock", Columns: []string{"key", "from", "to"}}
	keyRows(&s, r.Lock.Keys)
	return s
}

func (r *Result) layoutSection() section {
	s := section{Title: "Who may build", Note: "What the owner's layout says otherwise.", Columns: []string{"key", "from", "to"}, Long: true}
	keyRows(&s, r.Layout)
	return s
}

func (r *Result) toolSection() section {
	s := r.packageSection("Tool environment", SetTools)
	if r.Isotrace != nil {
		s.Rows = append([][]string{{"isotrace", "isotrace", r.Isotrace.From, r.Isotrace.To, ""}}, s.Rows...)
	}
	return s
}

func (r *Result) licenceSection() section {
	s := section{Title: "Licences", Columns: []string{"package", "from", "to", ""}}
	for _, l := range r.Licences {
		note := ""
		if l.First {
			note = "nothing in the baseline had this"
		}
		s.row(l.Package, orDash(l.From), orDash(l.To), note)
	}
	return s
}

func (r *Result) ownerSection() section {
	s := section{Title: "Files by package", Columns: []string{"of", "added", "removed", "changed"}}
	for _, o := range r.Owners {
		s.row(o.Owner, fmt.Sprint(o.Added), fmt.Sprint(o.Removed), fmt.Sprint(o.Changed))
	}
	return s
}

func (r *Result) sizeSection() section {
	s := section{Title: "Sizes in bytes", Columns: []string{"of", "from", "to", "difference"}}
	for _, list := range [][]Size{r.Sizes, r.Installed} {
		for _, z := range list {
			if z.From != z.To {
				s.row(z.Name, fmt.Sprint(z.From), fmt.Sprint(z.To), fmt.Sprintf("%+d", z.To-z.From))
			}
		}
	}
	return s
}

func (r *Result) stageSection() section {
	s := section{Title: "Stages", Long: true, Note: "What a stage gave follows from what it took.", Columns: []string{"stage", "state", "took other", "gave other", "because of"}}
	for _, x := range r.Stages {
		if x.State == StageSame {
			continue
		}
		var causes []string
		for _, c := range x.Causes {
			causes = append(causes, c.Text)
		}
		s.row(x.Stage, x.State, orDash(some(x.Inputs)), orDash(some(x.Products)), orDash(some(causes)))
	}
	return s
}

func (r *Result) fileSection(o Options) section {
	s := section{Title: "Files", Columns: []string{"change", "file", "differs in", "origin", "explained by"}}
	if !o.Files {
		return s
	}
	for _, f := range r.Files {
		origin := string(f.To)
		if f.From != "" && f.From != f.To {
			origin = strings.TrimSuffix(string(f.From)+" → "+string(f.To), " → ")
		}
		s.row(f.Change, partPath(f.Part, f.Path), orDash(strings.Join(f.Fields, ", ")), origin, f.explained())
	}
	return s
}

func (f FileChange) explained() string {
	var words []string
	for _, c := range f.Causes {
		words = append(words, c.Text)
	}
	switch {
	case f.Class == Unexplained:
		return "UNEXPLAINED: " + f.Why
	case f.Class == Indirect:
		return "what stage " + f.Stage + " took"
	}
	return some(words)
}
