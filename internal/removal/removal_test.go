package removal

import (
	"fmt"
	"testing"
)

func TestLosses(t *testing.T) {
	all := []Package{
		{Name: "wget", Version: "1", Depends: "libc6, libpsl5t64 (>= 0.16)"},
		{Name: "libpsl5t64", Version: "0.21", Depends: "libc6"},
		{Name: "libc6", Version: "2.41"},
		{Name: "mutt", Version: "1", Depends: "libc6, mail-transport-agent | other"},
		{Name: "exim4", Version: "1", PreDepends: "libc6", Provides: "mail-transport-agent"},
		{Name: "postfix", Version: "1", Provides: "mail-transport-agent (= 2)"},
		{Name: "tool", Version: "1", Depends: "wget:any"},
		{Name: "broken", Version: "1", Depends: "not-there, libc6"},
		{Name: "old", Version: "1", Depends: "libpsl5t64 (<< 0.1) | postfix"},
	}
	for _, c := range []struct {
		remove []string
		want   string
	}{
		{nil, "[]"},
		{[]string{"nothing"}, "[]"},
		{[]string{"x", "libpsl5t64"}, "[wget=1 needs libpsl5t64 libpsl5t64=1  tool=1 needs wget, which needs libpsl5t64]"},
		{[]string{"exim4"}, "[exim4=0 ]"},
		{[]string{"exim4", "postfix"}, "[mutt=0 needs exim4 exim4=0  postfix=1  old=1 needs postfix]"},
	} {
		lost := Losses(all, c.remove)
		have := []string{}
		for i, p := range all {
			if l, ok := lost[i]; ok {
				have = append(have, fmt.Sprintf("%s=%d %s", p.Name, l.Remove, l))
			}
		}
		if fmt.Sprint(have) != c.want {
			t.Errorf("%v: %v, want %s", c.remove, have, c.want)
		}
	}
}
