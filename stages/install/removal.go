package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/removal"
)

const statusFile = "var/lib/dpkg/status"

// Relations reads what dpkg's status, called name in errors, says of the packages that
// are installed.
func Relations(r io.Reader, name string) ([]removal.Package, error) {
	var all []removal.Package
	for d := deb822.NewReader(r, name); ; {
		s, err := d.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(s.Get("Status"), " ok installed") {
			all = append(all, removal.Package{
				Name: s.Get("Package"), Version: s.Get("Version"),
				PreDepends: s.Get("Pre-Depends"), Depends: s.Get("Depends"), Provides: s.Get("Provides"),
			})
		}
	}
}

// Contradiction refuses to remove what is asked for: the packages of which asked says,
// by name, where. All are the packages before the removal.
func Contradiction(all []removal.Package, remove []string, asked map[string]string) error {
	lost := removal.Losses(all, remove)
	for i, p := range all {
		l, gone := lost[i]
		if where := asked[p.Name]; gone && where != "" {
			return contradiction(l, remove, p.Name, where)
		}
	}
	return nil
}

func contradiction(l removal.Loss, remove []string, name, where string) error {
	takes, why := fmt.Sprintf("remove[%d] (%s) takes %s", l.Remove, remove[l.Remove], name), ""
	if l.Path[0] == l.Path[len(l.Path)-1] {
		takes = fmt.Sprintf("remove[%d] takes %s", l.Remove, name)
	}
	if s := l.String(); s != "" {
		why = ": it " + s
	}
	return fault.New(fault.Usage, "take one of the two out of isotrace.yaml", "%s, which %s%s", takes, where, why)
}

// asked says by name where the config asks for the packages.
func (p Params) asked() map[string]string {
	asked := map[string]string{}
	for i, pin := range p.Manual {
		name, _, _ := strings.Cut(pin, "=")
		where := "the config asks for"
		if i < len(p.Places) {
			where = p.Places[i] + " asks for"
		}
		asked[name] = where
	}
	return asked
}

// contradictions looks at the tree with all packages in it, before any is removed.
func (in *installation) contradictions(p Params) (err error) {
	if len(p.Remove) == 0 {
		return nil
	}
	f, err := regular.Open(in.root, statusFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := Relations(f, statusFile)
	if err != nil {
		return err
	}
	return Contradiction(all, p.Remove, p.asked())
}

// kept demands that what the config asks for is still there: apt may take more than
// what the packages' relations show.
func kept(root *os.Root, p Params) (err error) {
	if len(p.Remove) == 0 {
		return nil
	}
	f, err := regular.Open(root, statusFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := Relations(f, statusFile)
	if err != nil {
		return err
	}
	asked := p.asked()
	for _, pin := range p.Manual {
		name, _, _ := strings.Cut(pin, "=")
		if !slices.ContainsFunc(all, func(q removal.Package) bool { return q.Name == name || q.Offers(name) }) {
			return fault.New(fault.Usage, "take one of the two out of isotrace.yaml; the journal beside the image has apt's own words",
				"remove (%s) takes %s, which %s", strings.Join(p.Remove, ", "), name, asked[name])
		}
	}
	return nil
}
