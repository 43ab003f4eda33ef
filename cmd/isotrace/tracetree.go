package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// node is a line of a tree.
type node struct {
	text  string
	below []*node
}

func (n *node) add(below ...*node) *node {
	n.below = append(n.below, below...)
	return n
}

func (n *node) write(w io.Writer) error {
	if _, err := fmt.Fprintln(w, line(n.text)); err != nil {
		return err
	}
	return n.writeBelow(w, "")
}

func (n *node) writeBelow(w io.Writer, indent string) error {
	for i, b := range n.below {
		branch, next := "├─ ", "│  "
		if i == len(n.below)-1 {
			branch, next = "└─ ", "   "
		}
		if _, err := fmt.Fprintf(w, "%s%s%s\n", indent, branch, line(b.text)); err != nil {
			return err
		}
		if err := b.writeBelow(w, indent+next); err != nil {
			return err
		}
	}
	return nil
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

// chainTree draws a file from the image that holds it to the keys that signed
// for it.
func chainTree(c *provenance.Chain) *node {
	top := &node{text: fmt.Sprintf("%s  sha256:%s  in SHA256SUMS, signed by %.8s", c.Image, c.ISO, c.KeyID)}
	at := top
	for _, in := range c.Within {
		n := &node{text: fmt.Sprintf("%s  sha256:%s  made by stage %s (%s)", strings.TrimPrefix(partPath(trace.PartMedium, in.Path), "medium:"), in.SHA256, in.Stage, in.Link)}
		at.add(n)
		at = n
	}
	n := &node{text: fileText(c)}
	at.add(n)
	if c.Of != "" {
		n.add(&node{text: "is the file " + strings.Replace(c.Of, ":", ":/", 1)})
	}
	if c.Actor != nil {
		n.add(&node{text: fmt.Sprintf("%s by %s, in stage %s (%s)", doneText(c.Kind), actorText(c.Actor), c.Actor.Stage, c.Link)})
	}
	if c.Was != nil {
		n.add(&node{text: "before: " + wasText(c.Was)})
	}
	if c.Before != nil {
		n.add(&node{text: fmt.Sprintf("written before by %s, in stage %s", actorText(c.Before), c.Before.Stage)})
	}
	if c.Allowed != "" {
		n.add(&node{text: "accepted by the config: " + c.Allowed})
	}
	if c.Package != nil {
		n.add(packageTree(c.Package))
	}
	if len(c.Others) > 0 {
		n.add(&node{text: "the same in " + strings.Join(c.Others, ", ")})
	}
	n.add(servesTrees(c.Serves)...)
	return top
}

func fileText(c *provenance.Chain) string {
	s := partPath(c.Part, c.Path) + "  " + string(c.Type)
	switch {
	case c.Target != "":
		s += " to " + c.Target
	case c.SHA256 != "":
		s += fmt.Sprintf(", %d bytes, sha256:%s", c.Size, c.SHA256)
	}
	return s + "  origin: " + string(c.Kind)
}

func doneText(k trace.Kind) string {
	switch k {
	case trace.Generated:
		return "written"
	case trace.Modified:
		return "changed"
	case trace.Overlay:
		return "put there"
	}
	return "made"
}

func actorText(a *trace.Actor) string { return a.String() }

// wasText says what a package had in a file's place.
func wasText(w *trace.Was) string {
	var words []string
	if w.SHA256 != "" {
		words = append(words, "sha256:"+string(w.SHA256))
	}
	if w.Target != "" {
		words = append(words, "link to "+w.Target)
	}
	if w.Mode != "" {
		words = append(words, "mode "+w.Mode)
	}
	if w.UID != nil {
		words = append(words, fmt.Sprintf("uid %d", *w.UID))
	}
	if w.GID != nil {
		words = append(words, fmt.Sprintf("gid %d", *w.GID))
	}
	if len(words) == 0 {
		if w.By != nil {
			return "as it was written"
		}
		return "with other attributes"
	}
	return strings.Join(words, ", ")
}

// packageTree draws a package up to its archive's keys.
func packageTree(c *provenance.PackageChain) *node {
	n := &node{text: fmt.Sprintf("package %s  source %s %s", c.ID, c.Source, c.SourceVersion)}
	if c.Gone != "" {
		n.add(&node{text: "not in the image: " + c.Gone})
	}
	if c.Why != "" {
		n.add(&node{text: "why: " + c.Why})
	}
	if c.Licence != "" {
		n.add(&node{text: "licence: " + c.Licence + ", by its copyright file"})
	}
	switch {
	case len(c.SourceFiles) > 0:
		source := &node{text: fmt.Sprintf("source %s %s, %d files", c.Source, c.SourceVersion, len(c.SourceFiles))}
		for _, f := range c.SourceFiles {
			source.add(&node{text: fmt.Sprintf("%s  sha256:%s", f.Path, f.Digest)})
		}
		n.add(signed(source, c.SourceArchive, c.SourceIndex))
	case c.SourceMissing:
		n.add(&node{text: fmt.Sprintf("source %s %s: no archive of the lock has it", c.Source, c.SourceVersion)})
	}
	if c.Package.Origin == trace.Base {
		return n.add(&node{text: "came with the base image; its .deb is not at hand"})
	}
	if c.Package.Origin == trace.Overlay {
		return n.add(&node{text: fmt.Sprintf("%s of the project  sha256:%s, which its config pins; no archive's key has signed it", c.Path, c.SHA256)})
	}
	return n.add(signed(&node{text: fmt.Sprintf("%s  sha256:%s", c.Path, c.SHA256)}, c.Archive, c.Index))
}

// signed draws what names a file in an archive, up to the keys that sign for it.
func signed(file *node, archive *trace.Suite, index *artifact.Ref) *node {
	if archive == nil {
		return file
	}
	at := file
	if index != nil {
		by := &node{text: fmt.Sprintf("named by %s of %s  sha256:%s", index.Path, archive.ID, index.Digest)}
		at.add(by)
		at = by
	}
	release := &node{text: fmt.Sprintf("named by %s of %s  sha256:%s", archive.Release.Path, archive.Date, archive.Release.Digest)}
	at.add(release)
	for _, key := range archive.Signers {
		release.add(&node{text: "signed by " + key})
	}
	return file
}

func servesTrees(list []provenance.ServesChain) []*node {
	var nodes []*node
	for _, s := range list {
		text := strings.TrimSpace("requirement " + s.ID + "  " + s.Title)
		if len(s.Path) > 1 {
			text += "  through " + strings.Join(s.Path, " → ")
		}
		nodes = append(nodes, &node{text: text})
	}
	return nodes
}

func writeCoverage(w io.Writer, a coverageAnswer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "part\tfiles\t")
	for _, k := range trace.Kinds {
		fmt.Fprintf(t, "%s\t", k)
	}
	fmt.Fprintln(t)
	for _, p := range a.Parts {
		fmt.Fprintf(t, "%s\t%d\t", p.Name, p.Files)
		for _, k := range trace.Kinds {
			n := 0
			for _, c := range p.Counts {
				if c.Kind == k {
					n = c.Files
				}
			}
			share := ""
			if n > 0 {
				share = fmt.Sprintf("%d (%.1f%%)", n, 100*float64(n)/float64(p.Files))
			}
			fmt.Fprintf(t, "%s\t", share)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if a.Requirements > 0 {
		if _, err := fmt.Fprintf(w, "requirements: %d, of which nothing serves %d\n", a.Requirements, len(a.Unmet)); err != nil {
			return err
		}
	}
	for _, id := range a.Unmet {
		if _, err := fmt.Fprintf(w, "unmet   %s\n", line(id)); err != nil {
			return err
		}
	}
	for _, f := range a.Findings {
		if _, err := fmt.Fprintf(w, "finding %s %s: %s\n", f.Rule, line(f.Path), line(f.Text)); err != nil {
			return err
		}
	}
	return nil
}
