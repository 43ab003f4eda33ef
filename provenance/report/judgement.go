package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/provenance"
)

// waivers are what was accepted though a rule objects to it.
func waivers(p *page) error {
	d := p.d
	p.section("policy", "Waived findings of policy", "Of the release's attested result.", "Rule", "Subject", "Finding", "Reason", "By", "Until")
	p.unreleased(6)
	if d.judgement != nil {
		for _, r := range d.judgement.Rules {
			for _, f := range r.Findings {
				if w := f.Waived; w != nil {
					p.row(from(policyOf), r.ID, f.Subject, f.Message, w.Reason, w.By, w.Until)
				}
			}
		}
	}
	p.section("unused", "Waivers that nothing needed", "", "Rule", "Subject", "Reason", "By", "Until")
	p.unreleased(5)
	if d.judgement != nil {
		for _, w := range d.judgement.Unused {
			p.row(from(policyOf), w.Rule, w.Subject, w.Reason, w.By, w.Until)
		}
	}
	p.section("unexplained", "Files of unknown origin that may stay", "", "Path", "Reason")
	for _, u := range d.Config.Unexplained {
		p.row(from(intent), u.Path, u.Reason)
	}
	return nil
}

// unreleased says that nobody has judged the image, where that is so.
func (p *page) unreleased(columns int) {
	if p.d.judgement == nil {
		p.row(nil, make([]string, columns)...)
	}
}

// deviations are checks that were made weaker, and those that could not be made.
func deviations(p *page) error {
	d := p.d
	p.section("weakened", "Checks that somebody made weaker", "", "What", "Where", "Reason")
	for _, a := range d.Lock.Archives {
		if a.ExpiredAccepted {
			p.row(from(lockCite, intent), "the Release file of "+a.ID+" had expired at "+a.ValidUntil, "archives, ignore-valid-until", "")
		}
	}
	for _, a := range d.Lock.Archives {
		if a.OlderAccepted != "" {
			p.row(from(lockCite), "the Release file of "+a.ID+" is of "+a.Date+"; the lock before had that of "+a.OlderAccepted, "isotrace lock, --allow-older", "")
		}
		if a.ChangedAccepted != "" {
			p.row(from(lockCite), a.ID+" was "+a.ChangedAccepted+" in the lock before, and is codename "+a.Codename+", origin "+a.Origin, "isotrace lock, --allow-changed", "")
		}
	}
	for _, k := range d.Config.Sanitise.Keep {
		p.row(from(intent), "the pass "+k+" is left out", "sanitise.keep", "")
	}
	for _, u := range d.Config.Unexplained {
		p.row(from(intent), "files of unknown origin may stay at "+u.Path, "unexplained", u.Reason)
	}
	if d.judgement != nil {
		for _, o := range d.judgement.Off {
			p.row(from(policyOf), "the rule "+o.Rule+" of policy is off", "policy.yaml", o.Reason)
		}
	}
	p.section("untold", "What the verification behind this document could not tell", "Nothing contradicts these, and nothing proves them: another verification with the keys or archives that they want may.", "Check", "Why")
	if d.Result.KeyFromBundle {
		p.row(from(provenance.BuilderKey), "builder's key", "nobody named it: it is the one that came with the evidence")
	}
	for _, c := range d.Result.Checks {
		if c.State == provenance.CannotTell || c.State == provenance.Expired {
			p.row(from(sumsCite), c.Rule, c.What)
		}
	}
	return nil
}

// problems are the reports that the config names.
func problems(p *page) error {
	d := p.d
	p.section("reports", "Problem reports", "Those that the config names. Whether there are others the evidence cannot know.", "Report", "About", "Package of the image", "Text")
	for _, r := range d.Config.Problems {
		for _, name := range r.Packages {
			in := "no"
			for i := range d.trace.Packages {
				if t := &d.trace.Packages[i]; t.Name == name && t.Gone == "" {
					in = t.ID()
				}
			}
			p.row(from(intent, traceCite), r.ID, name, in, r.Text)
		}
		if len(r.Packages) == 0 {
			p.row(from(intent), r.ID, "the image", "no", r.Text)
		}
	}
	return nil
}

// question is one of a conformity review.
type question struct {
	about, text string
	// answer says what the evidence has to say, and from which files; "" for nothing.
	answer func(*dossier) (string, []string)
}

// rule answers with a check of the verification.
func rule(name string, cites ...string) func(*dossier) (string, []string) {
	return func(d *dossier) (string, []string) {
		i := slices.IndexFunc(d.Result.Checks, func(c provenance.Check) bool { return c.Rule == name })
		if i < 0 {
			return "", nil
		}
		c := d.Result.Checks[i]
		return string(c.State) + ": " + c.What, append(cites, sumsCite)
	}
}

func nothing(*dossier) (string, []string) { return "", nil }

// questions follow the objectives of tables of DO-178B.
var questions = []question{
	{"Configuration items are identified", "Is each input and output known by a digest?", rule("lock", lockCite)},
	{"", "Is each link's material the product of a stage or a file of the project?", rule("chain")},
	{"", "Is each file of the image known, with its origin?", rule("trace", traceCite)},
	{"Baselines and traceability", "Is the image the one of the evidence?", rule("image")},
	{"", "Which requirements does nothing meet?", unmet},
	{"", "Is there a baseline before this one?", nothing},
	{"Problem reporting and change control", "Which problem reports are known?", known},
	{"", "Which change requests led to this baseline?", nothing},
	{"Archive, retrieval and release", "Who released the image?", rule("release")},
	{"", "When was it signed, by whose clock?", rule("time")},
	{"", "What does policy say?", verdict},
	{"", "Where is it archived?", nothing},
	{"Software load control", "Who put it onto which medium?", nothing},
	{"Environment control", "Are all tools locked, and did nothing else run?", rule("links", lockCite)},
	{"", "Are the archives that tools and packages come from signed?", rule("archives", lockCite)},
	{"Independence", "Are builder, owner and release manager different?", independence},
	{"Conformity", "Does what is built agree with what was allowed?", rule("layout", provenance.LayoutFile)},
	{"", "Can it be built again with the same result?", rebuilt},
	{"", "Were the deviations accepted?", nothing},
}

// conformity is a list for those who review, who sign it themselves.
func conformity(p *page) error {
	p.section("checklist", "Conformity checklist", "It supports a review and replaces none. What stands under Evidence is what isotrace found; name, date and signature are for those who look.", "Objective", "Question", "Evidence", "Name", "Date", "Signature")
	about := ""
	for _, q := range questions {
		if q.about != "" {
			about = q.about
		}
		text, cites := q.answer(p.d)
		p.plain(cites, about, q.text, recorded(text), "", "", "")
	}
	return nil
}

func unmet(d *dossier) (string, []string) {
	var ids []string
	for _, r := range d.trace.Requirements {
		if len(r.Places) == 0 {
			ids = append(ids, r.ID)
		}
	}
	switch {
	case len(d.trace.Requirements) == 0:
		return "", nil
	case len(ids) == 0:
		return "none", from(traceCite, intent)
	}
	return joined(ids), from(traceCite, intent)
}

func known(d *dossier) (string, []string) {
	var ids []string
	for _, r := range d.Config.Problems {
		ids = append(ids, r.ID)
	}
	return joined(ids), cite(joined(ids), intent)
}

func verdict(d *dossier) (string, []string) {
	if d.judgement == nil {
		return "", nil
	}
	open, waived := 0, 0
	for _, r := range d.judgement.Rules {
		open += len(r.Open())
		waived += len(r.Findings) - len(r.Open())
	}
	text := "it holds"
	if !d.judgement.Holds {
		text = "it does not hold"
	}
	return text + ": " + count(len(d.judgement.Rules), "rule") + ", " + count(open, "open finding") + ", " + count(waived, "waived one"), from(policyOf)
}

func independence(d *dossier) (string, []string) {
	roles := []struct{ role, key string }{{"builder", d.Builder().KeyID()}, {"owner", d.Owner()}, {"release manager", d.releaseKey}}
	var text []string
	seen := map[string]string{}
	for _, r := range roles {
		switch {
		case r.key == "":
			text = append(text, r.role+" "+NotRecorded)
		case seen[r.key] != "":
			text = append(text, r.role+" has the key of the "+seen[r.key])
		default:
			seen[r.key] = r.role
			text = append(text, r.role+" "+r.key)
		}
	}
	return strings.Join(text, ", "), from(provenance.BuilderKey, provenance.LayoutFile, "../"+provenance.ReleaseKey)
}

func rebuilt(d *dossier) (string, []string) {
	others := d.Functionaries()
	var links []string
	for name := range d.cited {
		for _, k := range others {
			if k != d.Builder().KeyID() && strings.HasPrefix(name, provenance.LinksDir+"/") && strings.HasSuffix(name, "."+k[:8]+".link") {
				links = append(links, name)
			}
		}
	}
	if len(links) == 0 {
		return "", nil
	}
	slices.Sort(links)
	return "another functionary left " + count(len(links), "link") + ", of which each holds", links
}

// count is a number of things in words.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
