package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// traceFlags say what is asked.
type traceFlags struct {
	pkg, source, sha256, requirement, origin, why, part string
	unexplained, coverage, removed                      bool
	key                                                 string
	limit                                               int
	archiveKeyFlags
}

func (a *app) traceCommand() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace DIR [PATH…]",
		Short: "Say where a file of an image came from, up to who signed for it",
		Long: `Answers from the evidence that isotrace build wrote into DIR, checked against its
signed sums; isotrace verify checks the image itself. A PATH is that of a file in
the booted system; of another part it is PART:PATH:

  root      the system itself, as the squashfs holds it
  initrd    the initial RAM file system
  bios, efi what is built into the boot loader
  esp       the EFI system partition
  medium    the files of the ISO

Without a PATH or another question it prints the shares of the origins.`,
		Example: `  isotrace trace out /usr/bin/ls
  isotrace trace out initrd:/init medium:/casper/vmlinuz
  isotrace trace out --package sudo          its .deb, why it is there, its files
  isotrace trace out --requirement RSC-2     what serves it
  isotrace trace out --why libnm0            the path to what the config asks for
  isotrace trace out --origin modified       what was changed, and by whom`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.trace(args[0], args[1:], f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.pkg, "package", "", "a `package`: its chain and files")
	fl.StringVar(&f.source, "source", "", "a `source` package: what was built from it")
	fl.StringVar(&f.sha256, "sha256", "", "files of that `digest`, or of a .deb")
	fl.StringVar(&f.requirement, "requirement", "", "what serves the requirement `ID`")
	fl.StringVar(&f.origin, "origin", "", "files of one `origin`: archive, base, generated, overlay, stage, modified or unexplained")
	fl.StringVar(&f.why, "why", "", "why a `package` is in the image")
	fl.StringVar(&f.part, "part", "", "look only into this `part`")
	fl.BoolVar(&f.unexplained, "unexplained", false, "files that nothing explains, accepted ones too")
	fl.BoolVar(&f.coverage, "coverage", false, "the shares of the origins, and the requirements that nothing serves")
	fl.BoolVar(&f.removed, "removed", false, "packages of the lock, and files of packages, that the image has not")
	fl.StringVar(&f.key, "key", "", "the builder's public key `file`, from a source that you trust")
	f.archiveKeyFlags.register(fl)
	fl.IntVar(&f.limit, "limit", 200, "print at most so many files; 0 for all")
	c.MarkFlagsMutuallyExclusive("package", "source", "sha256", "requirement", "origin", "why", "unexplained", "coverage", "removed")
	return c
}

func (a *app) trace(dir string, paths []string, f traceFlags) (err error) {
	var key *provenance.PublicKey
	if f.key != "" {
		text, err := regular.ReadNamed(f.key, 1<<16)
		if err != nil {
			return err
		}
		if key, err = provenance.ParsePublicKey(f.key, text); err != nil {
			return err
		}
	}
	believed, err := f.archiveKeyFlags.keys()
	if err != nil {
		return err
	}
	if f.part != "" && !slices.Contains(trace.Parts, f.part) {
		return fault.New(fault.Usage, "one of "+strings.Join(trace.Parts, ", "), "--part %s: is not known", f.part)
	}
	if f.origin != "" && !slices.Contains(trace.Kinds, trace.Kind(f.origin)) {
		return fault.New(fault.Usage, "archive, base, generated, overlay, stage, modified or unexplained", "--origin %s: is not known", f.origin)
	}
	t, err := provenance.OpenTracing(dir, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.CheckSigners(believed); err != nil {
		return err
	}
	q := &query{app: a, t: t, flags: f}
	switch {
	case len(paths) > 0:
		return q.paths(paths)
	case f.pkg != "":
		return q.packages(func(p *trace.Package) bool { return p.Name == f.pkg || p.ID() == f.pkg }, "package "+f.pkg)
	case f.source != "":
		return q.packages(func(p *trace.Package) bool { return p.Source == f.source }, "source package "+f.source)
	case f.why != "":
		return q.why(f.why)
	case f.sha256 != "":
		return q.digest(f.sha256)
	case f.requirement != "":
		return q.requirement(f.requirement)
	case f.origin != "":
		return q.list(fmt.Appendf(nil, `"origin":%q`, f.origin), func(o trace.Origin) bool { return o.Kind == trace.Kind(f.origin) })
	case f.unexplained:
		return q.list([]byte(`"origin":"unexplained"`), func(o trace.Origin) bool { return o.Kind == trace.Unexplained })
	case f.removed:
		return q.removed()
	}
	return q.coverage()
}

// query answers one question.
type query struct {
	*app
	t     *provenance.Tracing
	flags traceFlags
}

// parts are those to look into.
func (q *query) parts() []string {
	if q.flags.part != "" {
		return []string{q.flags.part}
	}
	return trace.Parts
}

// find looks a PATH of the command line up.
func (q *query) find(arg string) (part string, o trace.Origin, err error) {
	part, at := trace.PartRoot, arg
	if q.flags.part != "" {
		part = q.flags.part
	}
	if p, rest, ok := strings.Cut(arg, ":"); ok && slices.Contains(trace.Parts, p) {
		part, at = p, rest
	}
	at = strings.TrimPrefix(at, "/")
	if at = strings.TrimSuffix(at, "/"); at == "" {
		at = "."
	}
	o, ok, err := q.t.Resolve(part, at)
	if err == nil && !ok {
		err = fault.New(fault.Usage, "isotrace trace DIR --package NAME lists a package's files; other parts are named as in initrd:/init", "%s:/%s: is not in the image", part, at)
	}
	return part, o, err
}

func (q *query) paths(args []string) error {
	var chains []*provenance.Chain
	for _, arg := range args {
		part, o, err := q.find(arg)
		if err != nil {
			return err
		}
		c, err := q.t.Chain(part, o)
		if err != nil {
			return err
		}
		chains = append(chains, c)
	}
	return q.result(chains, func(w io.Writer) error {
		for i, c := range chains {
			if i > 0 {
				if _, err := fmt.Fprintln(w); err != nil {
					return err
				}
			}
			if err := chainTree(c).write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// fileHit is a file of an answer.
type fileHit struct {
	Part string `json:"part"`
	trace.Origin
	About string `json:"about"`
}

// collect gathers files whose line holds the bytes and that are asked for.
func (q *query) collect(has []byte, want func(trace.Origin) bool) (hits []fileHit, more int, err error) {
	for _, part := range q.parts() {
		err := q.t.Each(part, has, func(o trace.Origin) bool {
			switch {
			case !want(o):
			case q.flags.limit > 0 && len(hits) >= q.flags.limit && !q.json:
				more++
			default:
				hits = append(hits, fileHit{part, o, q.about(o)})
			}
			return true
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return hits, more, nil
}

// about is a file's origin in a few words.
func (q *query) about(o trace.Origin) string {
	words := []string{string(o.Kind)}
	if o.Package != nil {
		words = append(words, q.t.Packages[*o.Package].Name)
	}
	if o.By != nil {
		words = append(words, "by "+actorText(&q.t.Actors[*o.By]))
	}
	if o.Was != nil {
		words = append(words, "("+wasText(o.Was)+")")
	}
	if o.Allowed != "" {
		words = append(words, "accepted: "+o.Allowed)
	}
	return strings.Join(words, " ")
}

func (q *query) write(w io.Writer, hits []fileHit, more int) error {
	for _, h := range hits {
		if _, err := fmt.Fprintf(w, "%-44s  %s\n", line(partPath(h.Part, h.Path)), line(h.About)); err != nil {
			return err
		}
	}
	if more > 0 {
		_, err := fmt.Fprintf(w, "… and %d more: --limit 0 prints all\n", more)
		return err
	}
	return nil
}

func (q *query) list(has []byte, want func(trace.Origin) bool) error {
	hits, more, err := q.collect(has, want)
	if err != nil {
		return err
	}
	return q.result(orEmpty(hits), func(w io.Writer) error {
		if len(hits) == 0 {
			_, err := fmt.Fprintln(w, "none")
			return err
		}
		return q.write(w, hits, more)
	})
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// packageAnswer is a package with its files.
type packageAnswer struct {
	*provenance.PackageChain
	Serves []provenance.ServesChain `json:"serves,omitempty"`
	Files  []fileHit                `json:"files"`
}

func (q *query) packages(want func(*trace.Package) bool, what string) error {
	var answers []packageAnswer
	var more []int
	for i := range q.t.Packages {
		if !want(&q.t.Packages[i]) {
			continue
		}
		hits, left, err := q.collect([]byte(`"package":`), func(o trace.Origin) bool {
			return o.Type != "dir" && (o.Package != nil && *o.Package == i || slices.Contains(o.Others, i))
		})
		if err != nil {
			return err
		}
		generated, leftToo, err := q.collect([]byte(`"by":`), func(o trace.Origin) bool {
			return o.Package == nil && o.By != nil && q.t.Actors[*o.By].Package != nil && *q.t.Actors[*o.By].Package == i
		})
		if err != nil {
			return err
		}
		p := q.t.PackageChain(i)
		answers = append(answers, packageAnswer{p, q.t.Serves(p.Package), append(orEmpty(hits), generated...)})
		more = append(more, left+leftToo)
	}
	if len(answers) == 0 {
		return fault.New(fault.Usage, "the image's packages are in isotrace.lock and casper/filesystem.manifest", "%s: is not in the image", what)
	}
	return q.result(answers, func(w io.Writer) error {
		for i, a := range answers {
			n := packageTree(a.PackageChain)
			n.add(servesTrees(a.Serves)...)
			if err := n.write(w); err != nil {
				return err
			}
			if err := q.write(w, a.Files, more[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (q *query) digest(text string) error {
	d, err := artifact.ParseDigest(text)
	if err != nil {
		return fault.New(fault.Usage, "64 hexadecimal digits, all of them", "--sha256: %w", err)
	}
	for i := range q.t.Packages {
		if q.t.Packages[i].SHA256 == d {
			return q.packages(func(p *trace.Package) bool { return p.SHA256 == d }, "")
		}
	}
	return q.list([]byte(d), func(o trace.Origin) bool { return o.SHA256 == d || o.Was != nil && o.Was.SHA256 == d })
}

// whyAnswer is how a package came into the image.
type whyAnswer struct {
	Package string `json:"package"`
	// Gone says why the image does not have it, though the lock has.
	Gone  string   `json:"gone,omitempty"`
	Asked []string `json:"asked,omitempty"`
	Lock  string   `json:"lock"`
	// Path leads from a package that the config names.
	Path []string `json:"path,omitempty"`
	// NeededBy are all packages that need it.
	NeededBy []string `json:"needed-by,omitempty"`
}

func (q *query) why(name string) error {
	var answers []whyAnswer
	for i := range q.t.Packages {
		p := &q.t.Packages[i]
		if p.Set != "target" || p.Name != name && p.ID() != name {
			continue
		}
		a := whyAnswer{Package: p.ID(), Gone: p.Gone, Asked: p.Asked, Lock: p.Why}
		for _, k := range q.t.PathTo(i) {
			a.Path = append(a.Path, q.t.Packages[k].Name)
		}
		for k := range q.t.Packages {
			if slices.Contains(q.t.Packages[k].Needs, i) {
				a.NeededBy = append(a.NeededBy, q.t.Packages[k].Name)
			}
		}
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return fault.New(fault.Usage, "the image's packages are in isotrace.lock and casper/filesystem.manifest", "package %s: is not in the image", name)
	}
	return q.result(answers, func(w io.Writer) error {
		for _, a := range answers {
			n := &node{text: a.Package}
			if a.Gone != "" {
				n.add(&node{text: "not in the image: " + a.Gone})
			}
			for _, asked := range a.Asked {
				n.add(&node{text: "asked for: " + asked})
			}
			if len(a.Path) > 1 {
				n.add(&node{text: "needed:    " + strings.Join(a.Path, " → ")})
			}
			n.add(&node{text: "lock:      " + a.Lock})
			if len(a.NeededBy) > 0 {
				n.add(&node{text: "needed by: " + strings.Join(a.NeededBy, ", ")})
			}
			if err := n.write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// requirementAnswer is what serves a requirement.
type requirementAnswer struct {
	trace.Requirement
	Packages []servedBy `json:"packages"`
	Files    []fileHit  `json:"files"`
}

type servedBy struct {
	ID   string   `json:"id"`
	Path []string `json:"path"`
}

func (q *query) requirement(id string) error {
	i := slices.IndexFunc(q.t.Requirements, func(r trace.Requirement) bool { return r.ID == id })
	if i < 0 {
		return fault.New(fault.Usage, "isotrace trace DIR --coverage lists the requirements", "requirement %s: neither the config nor its requirements file names it", id)
	}
	a := requirementAnswer{Requirement: q.t.Requirements[i], Packages: []servedBy{}, Files: []fileHit{}}
	for i := range q.t.Packages {
		p := &q.t.Packages[i]
		for _, s := range q.t.Serves(p) {
			if s.ID == id {
				a.Packages = append(a.Packages, servedBy{p.ID(), s.Path})
			}
		}
	}
	more := 0
	if len(a.Requirement.Files) > 0 {
		hits, left, err := q.collect([]byte(`"by":`), func(o trace.Origin) bool {
			return o.By != nil && slices.ContainsFunc(a.Requirement.Files, func(f string) bool {
				name := q.t.Actors[*o.By].Name
				return name == f || strings.HasPrefix(name, f+"/")
			})
		})
		if err != nil {
			return err
		}
		a.Files, more = append(a.Files, hits...), left
	}
	return q.result(a, func(w io.Writer) error {
		n := &node{text: strings.TrimSpace(a.ID + "  " + a.Title)}
		if a.Text != "" {
			n.add(&node{text: a.Text})
		}
		for _, p := range a.Places {
			n.add(&node{text: "named at:  " + p})
		}
		if len(a.Places) == 0 {
			n.add(&node{text: "nothing in the config names it"})
		}
		for _, p := range a.Packages {
			text := "package:   " + p.ID
			if len(p.Path) > 1 {
				text += "  through " + strings.Join(p.Path, " → ")
			}
			n.add(&node{text: text})
		}
		if err := n.write(w); err != nil {
			return err
		}
		return q.write(w, a.Files, more)
	})
}

// removedAnswer is what the lock brought and the image has not.
type removedAnswer struct {
	Packages []removedPackage `json:"packages"`
	// Files are those of packages that the image has.
	Files []removedFile `json:"files"`
}

type removedPackage struct {
	Package string `json:"package"`
	Why     string `json:"why"`
}

type removedFile struct {
	Path    string `json:"path"`
	Package string `json:"package"`
	By      string `json:"by"`
}

func (q *query) removed() error {
	a := removedAnswer{Packages: []removedPackage{}, Files: []removedFile{}}
	for i := range q.t.Packages {
		if p := &q.t.Packages[i]; p.Gone != "" {
			a.Packages = append(a.Packages, removedPackage{p.ID(), p.Gone})
		}
	}
	for _, r := range q.t.Head.Removed {
		if q.t.Packages[r.Package].Gone != "" {
			continue
		}
		by := "nobody is known to have done it"
		if r.By != nil {
			by = actorText(&q.t.Actors[*r.By])
		}
		a.Files = append(a.Files, removedFile{"/" + r.Path, q.t.Packages[r.Package].ID(), by})
	}
	return q.result(a, func(w io.Writer) error {
		if len(a.Packages)+len(a.Files) == 0 {
			_, err := fmt.Fprintln(w, "none")
			return err
		}
		for _, p := range a.Packages {
			if _, err := fmt.Fprintf(w, "%-44s  package, removed: %s\n", line(p.Package), line(p.Why)); err != nil {
				return err
			}
		}
		for _, r := range a.Files {
			if _, err := fmt.Fprintf(w, "%-44s  of %s, removed by %s\n", line(r.Path), line(r.Package), line(r.By)); err != nil {
				return err
			}
		}
		return nil
	})
}

// coverageAnswer is what is explained, and what is served.
type coverageAnswer struct {
	Parts        []trace.Part    `json:"parts"`
	Findings     []trace.Finding `json:"findings"`
	Requirements int             `json:"requirements"`
	Unmet        []string        `json:"unmet"`
}

func (q *query) coverage() error {
	a := coverageAnswer{Findings: q.t.Findings, Requirements: len(q.t.Requirements), Unmet: []string{}}
	for _, p := range q.t.Head.Parts {
		p.Frames = nil
		a.Parts = append(a.Parts, p)
	}
	for _, r := range q.t.Requirements {
		if len(r.Places) == 0 {
			a.Unmet = append(a.Unmet, r.ID)
		}
	}
	return q.result(a, func(w io.Writer) error { return writeCoverage(w, a) })
}
