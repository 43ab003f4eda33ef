package provenance

import (
	"testing"

	"github.com/isotrace/isotrace/policy"
)

// TestAccounts: the hashes are crypt(3)'s, of the password live but for the last.
func TestAccounts(t *testing.T) {
	const yescrypt = "$y$j9T$abcdefghijklmnop$MJE6Si4TFviH8AHyHn14AzEz818/cdnK4XtQUZ3gLK/"
	for _, c := range []struct {
		line string
		want policy.Account
	}{
		{"a:!:1::::::", policy.Account{Name: "a", Password: "none"}},
		{"a:*:1::::::", policy.Account{Name: "a", Password: "none"}},
		{"a:!" + yescrypt + ":1::::::", policy.Account{Name: "a", Password: "none"}},
		{"a::1::::::", policy.Account{Name: "a", Password: "empty"}},
		{"a:abQL7uWa/OWls:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "des"}},
		{"a:" + yescrypt + ":1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "y", WellKnown: true}},
		{"a:$6$abcdefgh$ewzLHba81PcH2UMPl/H.7hnbf0Dd9NGBeLz3i0WLa3UydY57P3M0l6X0qCz7PmZIdpzjUGogOUrc5JXmUHQ1..:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "6", WellKnown: true}},
		{"a:$5$abcdefgh$NiBnwJupPT7K0ESoz33r7GM79VBW1CVlx/XxPnts045:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "5", WellKnown: true}},
		{"a:$1$abcdefgh$uwyFhiiRpjewViybMKI6K0:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "1", WellKnown: true}},
		// Costs that nobody would wait for, and what is no hash at all.
		{"a:$6$rounds=999999999$abcdefgh$ewzLHba81PcH2UMPl:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "6"}},
		{"a:$y$jzT$abcdefghijklmnop$MJE6Si4TFviH8AHyHn14AzEz818/cdnK4XtQUZ3gLK/:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "y"}},
		{"a:$2b$31$abcdefghijklmnopqrstuuMJE6Si4TFviH8AHyHn14AzEz818/cdn:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "2b"}},
		{"a:$:1::::::", policy.Account{Name: "a", Password: "hash"}},
		// Nobody tries this one first.
		{"a:$6$abcdefgh$N3XGnZDdyjgHoAnvVBOsWEPBJ7gV5XEs3VAbLIjW8FaRrnHpOyCvfDH9MJd0mCmuuLhi1HLhPBmYbBDkuVR5Y/:1::::::", policy.Account{Name: "a", Password: "hash", Scheme: "6"}},
	} {
		list := accounts([]byte(c.line + "\n"))
		if len(list) != 1 || list[0] != c.want {
			t.Errorf("%s: %+v, want %+v", c.line, list, c.want)
		}
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte("root:$y$j1T$abcdefghijklmnop$MJE6Si4TFviH8AHyHn14AzEz818/cdnK4XtQUZ3gLK/:1::::::\n"))
	f.Add([]byte("a:$6$rounds=1000$x$y:1\nb::\nc\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _ = accounts(text) })
}
