package provenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/policy"
)

// PolicyInput is what a policy is told of the build in dir. It takes the evidence's word,
// as far as the links' signatures hold: Verify proves the rest.
func PolicyInput(ctx context.Context, dir string, o VerifyOptions, settings policy.Settings) (policy.Input, error) {
	v, err := newVerification(ctx, dir, o)
	if err != nil {
		return policy.Input{}, err
	}
	_, problems, err := v.checkLinks(ctx)
	if err != nil {
		return policy.Input{}, err
	}
	if len(problems) > 0 {
		return policy.Input{}, refused(errors.New(problems[0].String()))
	}
	if _, problems := v.archiveSigners(); len(problems) > 0 {
		return policy.Input{}, refused(errors.New(problems[0].String()))
	}
	return v.policyInput(ctx, settings)
}

// policyInput gathers the input of a policy whose settings name the lowest versions.
func (v *verification) policyInput(ctx context.Context, settings policy.Settings) (in policy.Input, err error) {
	in = policy.Input{Now: v.opts.Now.UTC().Format(time.RFC3339), Name: v.Config.Name, Release: v.Config.Release, Links: []policy.Link{}}
	if err := yaml.Unmarshal(v.configText, &in.Config); err != nil {
		return in, refused(err)
	}
	in.Keys = policy.Keys{Builder: v.key.KeyID(), Functionaries: []string{}}
	if v.layout != nil {
		in.Keys.Owner, in.Keys.Functionaries = v.ownerID(), sortedKeys(v.layout.keys)
	}
	for _, name := range sortedKeys(v.done) {
		for _, d := range v.done[name] {
			signer, err := v.signerOf(path.Base(d.file))
			if err != nil {
				return in, refused(err)
			}
			in.Links = append(in.Links, policy.Link{Stage: name, Signer: signer.KeyID()})
		}
	}
	if in.Lock, err = v.policyLock(settings); err != nil {
		return in, refused(err)
	}
	if in.Base, err = v.policyBase(); err != nil {
		return in, refused(err)
	}
	iso, err := v.openISO()
	if err != nil {
		return in, refused(err)
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	in.Image = policy.Image{File: v.ImageName(), Size: v.images[v.ImageName()].size, SHA256: string(v.iso), Files: map[string]int64{}}
	in.Image.MemoryTests = []policy.MemoryTest{}
	for _, t := range v.Config.Boot.MemoryTests {
		in.Image.MemoryTests = append(in.Image.MemoryTests, policy.MemoryTest{File: t.File, LicenceIDs: licenceIDs(t.Licence)})
	}
	for name, e := range iso.Files {
		in.Image.Files[name] = e.Size
	}
	_, unsigned, err := v.checkSecureBoot(ctx)
	if err != nil {
		return in, err
	}
	in.Image.SecureBoot = v.Config.Boot.SecureBoot && len(unsigned) == 0
	in.Tree, err = v.policyTree(ctx, iso)
	return in, err
}

// policyLock is the lock, with the licences that the SBOM gives.
func (v *verification) policyLock(settings policy.Settings) (policy.Lock, error) {
	l := policy.Lock{Architecture: v.Lock.Architecture, Archives: []policy.Archive{}, Packages: []policy.Package{}}
	if v.Lock.Image != nil {
		l.BaseImage = string(v.Lock.Image.Manifest.Digest)
	}
	newest := time.Time{}
	for _, a := range v.Lock.Archives {
		date, err := time.Parse(time.RFC3339, a.Date)
		if err != nil {
			return l, err
		}
		if date.After(newest) {
			newest = date
		}
		signed, err := v.suite(a) // a policy is about who signed, not about who the lock says did
		if err != nil {
			return l, fmt.Errorf("%s: %w", a.ID, err)
		}
		signers := []string{}
		for _, s := range signed.signers {
			signers = append(signers, s.Primary)
		}
		l.Archives = append(l.Archives, policy.Archive{ID: a.ID, Signers: signers, ExpiredAccepted: a.ExpiredAccepted, OlderAccepted: a.OlderAccepted, ChangedAccepted: a.ChangedAccepted})
	}
	if !newest.IsZero() && v.opts.Now.After(newest) {
		l.AgeDays = int(v.opts.Now.Sub(newest) / (24 * time.Hour))
	}
	licences, err := v.billLicences()
	if err != nil {
		return l, err
	}
	for _, set := range []struct {
		name string
		list []lockfile.Package
	}{{"target", v.Lock.Target}, {"boot", v.Lock.Boot}, {"tools", v.Lock.Tools}} {
		for _, p := range set.list {
			q := policy.Package{
				Set: set.name, Name: p.Name, Version: p.Version, Architecture: p.Architecture, Source: p.Source, Archive: p.Archive, Path: p.Path,
				Component: component(p.Path), Licences: licences[string(p.SHA256)],
			}
			q.LicenceIDs = licenceIDs(q.Licences)
			if low, ok := settings.Packages.Minimum[p.Name]; ok && archive.CompareVersions(p.Version, low) < 0 {
				q.Below = low
			}
			l.Packages = append(l.Packages, q)
		}
	}
	return l, nil
}

// component is the part of an archive that a path is in, as pools are laid out; that of
// Debian's security updates has a folder more.
func component(p string) string {
	parts := strings.Split(strings.TrimPrefix(p, "pool/updates/"), "/")
	if strings.HasPrefix(p, "pool/updates/") && len(parts) > 1 {
		return parts[0]
	}
	if len(parts) > 2 && parts[0] == "pool" {
		return parts[1]
	}
	return ""
}

// billComponent is a component of the CycloneDX document, as far as its licence goes.
type billComponent struct {
	Hashes []struct {
		Alg, Content string
	}
	Licenses []struct {
		Expression string
		License    struct{ ID, Name string }
	}
}

// billLicences are the licence expressions of the CycloneDX document by the SHA-256 of
// the .deb, those that were concluded before those that are declared. The document is
// read a component at a time: it has one for each file that no package has.
func (v *verification) billLicences() (map[string]string, error) {
	licences := map[string]string{}
	note := func(c billComponent) {
		for _, h := range c.Hashes {
			if h.Alg != "SHA-256" || len(c.Licenses) == 0 {
				continue
			}
			l := c.Licenses[0]
			for _, text := range []string{l.Expression, l.License.ID, l.License.Name} {
				if text != "" {
					licences[h.Content] = text
					break
				}
			}
		}
	}
	err := v.stream(path.Join(SbomDir, v.Config.Name+".cdx.json"), func(r io.Reader, _ int64) error {
		dec := json.NewDecoder(r)
		return eachMember(dec, func(key string) error {
			switch key {
			case "components":
				return eachItem(dec, note)
			case "formulation":
				return eachItem(dec, func(f struct{ Components []billComponent }) {
					for _, c := range f.Components {
						note(c)
					}
				})
			}
			var other json.RawMessage
			return dec.Decode(&other)
		})
	})
	return licences, err
}

// eachMember calls do after each key of the object that comes next; do reads the value.
func eachMember(dec *json.Decoder, do func(key string) error) error {
	if err := delimiter(dec, '{'); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		if err := do(fmt.Sprint(key)); err != nil {
			return err
		}
	}
	return delimiter(dec, '}')
}

// eachItem reads the array that comes next.
func eachItem[T any](dec *json.Decoder, do func(T)) error {
	if err := delimiter(dec, '['); err != nil {
		return err
	}
	for dec.More() {
		var item T
		if err := dec.Decode(&item); err != nil {
			return err
		}
		do(item)
	}
	return delimiter(dec, ']')
}

func delimiter(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%v where %v belongs", t, want)
	}
	return err
}

var licenceID = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9.+:-]*`)

// licenceIDs are the identifiers of an SPDX expression; exceptions go with their licence.
func licenceIDs(expression string) []string {
	ids := []string{}
	with := false
	for _, word := range licenceID.FindAllString(expression, -1) {
		switch {
		case word == "AND" || word == "OR":
		case word == "WITH":
			with = true
		case with:
			ids[len(ids)-1] += " WITH " + word
			with = false
		default:
			ids = append(ids, word)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// policyTree is the tree, as far as there can be a question about it.
func (v *verification) policyTree(ctx context.Context, iso *medium.ISO) (tree policy.Tree, err error) {
	tree = policy.Tree{Origins: map[string]int{}, Files: []policy.File{}, Removed: []string{}, Accounts: []policy.Account{}, Secrets: []policy.Secret{}}
	manifest, problems := v.rootManifest()
	if len(problems) > 0 {
		return tree, refused(errors.New(problems[0].String()))
	}
	t, err := openTracing(v.Bundle, v.key)
	if err != nil {
		return tree, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, r := range t.Removed {
		tree.Removed = append(tree.Removed, "/"+r.Path)
	}
	var looked []string // regular files whose bytes are not a public .deb's
	for _, part := range trace.Parts {
		if ctx.Err() != nil {
			return tree, context.Cause(ctx)
		}
		err := t.Each(part, nil, func(o trace.Origin) bool {
			tree.Origins[string(o.Kind)]++
			f := policy.File{Part: part, Path: "/" + o.Path, Type: string(o.Type), Origin: string(o.Kind), Special: []string{}, Accepted: o.Allowed}
			if part == trace.PartRoot {
				if e, ok := manifest.Lookup(o.Path); ok {
					f.Mode, f.UID, f.GID, f.Special = fmt.Sprintf("%04o", e.Mode), e.UID, e.GID, special(e)
				}
			}
			if o.Kind == trace.Archive && len(f.Special) == 0 {
				return true
			}
			if o.Package != nil && *o.Package < len(t.Packages) {
				f.Package = t.Packages[*o.Package].ID()
			}
			if o.By != nil && *o.By < len(t.Actors) {
				f.By = t.Actors[*o.By].String()
				f.Replaced = part == trace.PartRoot && replaced(&o, t.Actors[*o.By].Kind, f.Mode)
			}
			tree.Files = append(tree.Files, f)
			if part == trace.PartRoot && o.Kind != trace.Archive && o.Type == roottree.File {
				looked = append(looked, o.Path)
				if what := secretName(o.Path, o.Size); what != "" {
					tree.Secrets = append(tree.Secrets, policy.Secret{Path: f.Path, What: what})
				}
			}
			return true
		})
		if err != nil {
			return tree, refused(err)
		}
	}
	err = iso.SquashfsFiles(ctx, squashfsPath, looked, maxSecret, func(p string, content []byte) error {
		if p == "etc/shadow" {
			tree.Accounts = accounts(content)
			return nil
		}
		if what := secretContent(content); what != "" {
			tree.Secrets = append(tree.Secrets, policy.Secret{Path: "/" + p, What: what})
		}
		return ctx.Err()
	})
	return tree, err
}

// replaced tells whether a file of a package is a program, a library or a kernel module
// whose bytes a package, a program or a pass has changed.
func replaced(o *trace.Origin, by stage.ActorKind, mode string) bool {
	if o.Kind != trace.Modified || o.Type != roottree.File || o.Was == nil || o.Was.SHA256 == "" || by == stage.ByScript {
		return false
	}
	return strings.ContainsAny(mode[len(mode)-3:], "1357") || programName.MatchString(path.Base(o.Path))
}

var programName = regexp.MustCompile(`\.(so(\.[0-9.]+)?|ko(\.[a-z0-9]+)?)$`)

// maxSecret is how much of a file is searched for secrets, in bytes.
const maxSecret = 4 << 20

// special are the rights of a file that make it one to know of. A folder that all may
// write to is none where the sticky bit keeps what is in it apart.
func special(e roottree.Entry) []string {
	list := []string{}
	if e.Type == roottree.File && e.Mode&0o4000 != 0 {
		list = append(list, "setuid")
	}
	if e.Type == roottree.File && e.Mode&0o2000 != 0 {
		list = append(list, "setgid")
	}
	if e.Type != roottree.Link && e.Mode&0o002 != 0 && (e.Type != roottree.Dir || e.Mode&0o1000 == 0) {
		list = append(list, "world-writable")
	}
	if slices.ContainsFunc(e.Xattrs, func(x roottree.Xattr) bool { return x.Name == "security.capability" }) {
		list = append(list, "capabilities")
	}
	return list
}

// secretNames are files that are there to hold what nobody else may know, by their name
// or the end of their path.
var secretNames = map[string]string{
	".bash_history": "is a shell's history", ".zsh_history": "is a shell's history", ".sh_history": "is a shell's history", ".ash_history": "is a shell's history",
	".python_history": "is a program's history", ".mysql_history": "is a program's history", ".psql_history": "is a program's history", ".lesshst": "is a program's history",
	".netrc": "holds passwords", ".pgpass": "holds passwords", ".git-credentials": "holds passwords", ".my.cnf": "holds passwords",
	"id_rsa": "is an SSH key", "id_ed25519": "is an SSH key", "id_ecdsa": "is an SSH key", "id_dsa": "is an SSH key",
	".aws/credentials": "holds a cloud's credentials", ".azure/accessTokens.json": "holds a cloud's credentials", ".config/gcloud/credentials.db": "holds a cloud's credentials",
	".docker/config.json": "holds a registry's credentials", ".kube/config": "holds a cluster's credentials", ".vault-token": "holds a token",
	"var/lib/waagent/SharedConfig.xml": "was left by a cloud's agent", "etc/krb5.keytab": "is a Kerberos key",
}

func secretName(p string, size int64) string {
	if size == 0 {
		return ""
	}
	for _, name := range sortedKeys(secretNames) {
		if p == name || strings.HasSuffix(p, "/"+name) {
			return secretNames[name]
		}
	}
	if base := path.Base(p); strings.HasPrefix(base, "ssh_host_") && strings.HasSuffix(base, "_key") {
		return "is an SSH host key"
	}
	return ""
}

// secretTexts are how keys and tokens look.
var secretTexts = []struct {
	what string
	re   *regexp.Regexp
}{
	{"holds a private key", regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s+[A-Za-z0-9+/]`)},
	{"holds an AWS access key", regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)},
	{"holds a GitHub token", regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{36}\b`)},
	{"holds a GitLab token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20}\b`)},
	{"holds a Slack token", regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{20,}`)},
	{"holds a Google API key", regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}\b`)},
	{"holds a password in a URL", regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>]{1,64}:[^\s/:@"'<>]{3,128}@[A-Za-z0-9.-]+`)},
}

func secretContent(content []byte) string {
	for _, s := range secretTexts {
		if s.re.Match(content) {
			return s.what
		}
	}
	return ""
}
