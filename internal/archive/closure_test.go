package archive

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

// pool reads packages from lines "name version [field=value; …]".
func pool(t testing.TB, lines string) []Package {
	t.Helper()
	var all []Package
	for line := range strings.Lines(lines) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) < 2 {
			continue
		}
		p := Package{Name: words[0], Version: words[1], Architecture: "amd64"}
		if len(words) == 3 {
			for field := range strings.SplitSeq(words[2], ";") {
				key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
				switch key {
				case "dep":
					p.Depends = value
				case "pre":
					p.PreDepends = value
				case "rec":
					p.Recommends = value
				case "prov":
					p.Provides = value
				case "arch":
					p.Architecture = value
				case "ma":
					p.MultiArch = value
				default:
					t.Fatalf("field %q", field)
				}
			}
		}
		all = append(all, p)
	}
	return all
}

const archive1 = `
app 1 dep=libc (>= 2.30), mta | mail-transport-agent, python:any; pre=base; rec=unwanted
app 2 dep=libc (>= 2.30), mta | mail-transport-agent, python:any; pre=base; rec=unwanted
libc 2.28
libc 2.36 dep=base
libc 9.99 arch=arm64
base 1 arch=all
python 3 ma=allowed; dep=libc
perl 5 ma=same
zmail 1 prov=mail-transport-agent
amail 1 prov=mail-transport-agent
bmail 1 prov=mail-transport-agent (= 8)
loop1 1 dep=loop2
loop2 1 dep=loop1
unwanted 1
versioned 1 dep=mail-transport-agent (>= 7)
strict 1 dep=mail-transport-agent (>= 9)
old 1 dep=libc (<< 2.30)
alternative 1 dep=nothing | libc (>= 3) | base
anyperl 1 dep=perl:any
nativelibc 1 dep=libc:amd64, base:native
foreign 1 dep=libc:arm64
broken 1 dep=libc ((
`

func TestClosure(t *testing.T) {
	cases := map[string]struct {
		roots string
		want  string // name=version<needed by, or ! when asked for
		err   string
		hint  string
	}{
		"depends, pre-depends, no recommends": {roots: "app", want: "amail=1<app app=2! base=1<app libc=2.36<app python=3<app"},
		"a provider that is asked for":        {roots: "app zmail", want: "app=2! base=1<app libc=2.36<app python=3<app zmail=1!"},
		"provider with a version":             {roots: "versioned", want: "bmail=1<versioned versioned=1!"},
		"later alternative":                   {roots: "alternative", want: "alternative=1! base=1<alternative"},
		"alternative already in":              {roots: "app bmail", want: "app=2! base=1<app bmail=1! libc=2.36<app python=3<app"},
		"loop":                                {roots: "loop1", want: "loop1=1! loop2=1<loop1"},
		"asked for by what is provided":       {roots: "mail-transport-agent", want: "amail=1!"},
		"asked for with a version":            {roots: "libc", want: "base=1<libc libc=2.36!"},
		"architectures":                       {roots: "nativelibc", want: "base=1<nativelibc libc=2.36<nativelibc nativelibc=1!"},
		"twice":                               {roots: "base base", want: "base=1!"},
		"nothing":                             {roots: "", want: ""},
		"unknown":                             {roots: "pyton", err: "asked for pyton, which", hint: "names that are near: python"},
		"unknown, nothing near":               {roots: "xylophone-quartet", err: "asked for xylophone-quartet", hint: "component"},
		"version of a provider":               {roots: "strict", err: "package strict needs mail-transport-agent (>= 9)"},
		"only an older version would do":      {roots: "old", err: "package old needs libc (<< 2.30)", hint: "libc 2.36"},
		"any of what does not allow it":       {roots: "anyperl", err: "needs perl:any"},
		"other architecture":                  {roots: "foreign", err: "needs libc:arm64"},
		"broken field":                        {roots: "broken", err: "package broken:amd64 1: relation"},
		"broken root":                         {roots: "Δ", err: "asked for: relation"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pkgs := pool(t, archive1)
			for range 5 {
				got, err := Closure(pkgs, strings.Fields(c.roots), "amd64")
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(fault.HintOf(err), c.hint) {
						t.Fatalf("error %v, hint %q", err, fault.HintOf(err))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var parts []string
				for _, s := range got {
					why := "<" + s.NeededBy
					if s.Asked {
						why = "!"
					}
					if len(s.Relation) == 0 {
						t.Errorf("%s is in by no relation", s.Package)
					}
					parts = append(parts, fmt.Sprintf("%s=%s%s", s.Package.Name, s.Package.Version, why))
				}
				if text := strings.Join(parts, " "); text != c.want {
					t.Fatalf("have %s\nwant %s", text, c.want)
				}
				// The order of the index must not show.
				rand.Shuffle(len(pkgs), func(i, j int) { pkgs[i], pkgs[j] = pkgs[j], pkgs[i] })
			}
		})
	}
}
