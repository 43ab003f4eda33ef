package archive

import "testing"

func TestCompareVersions(t *testing.T) {
	// Each is older than the next.
	ordered := []string{
		"0~~", "0~~a", "0~", "0", "0.1~rc1-1", "0.1-0", "0.1-1", "0.1-1+b1", "0.1-1.1", "0.1-2", "0.1-10",
		"0.2", "0.2a", "0.2a1", "0.2+dfsg", "0.2.1", "1.0~beta1~svn1245", "1.0~beta1", "1.0-1~bpo12+1", "1.0-1", "1.0-1ubuntu1",
		"1.0-1ubuntu1.1", "1.0.0", "10.0", "20240101", "99999999999999999999", "100000000000000000000",
		"1:0", "1:0-1", "2:0~", "10:0",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			got := CompareVersions(a, b)
			switch {
			case i < j && got >= 0, i > j && got <= 0, i == j && got != 0:
				t.Errorf("CompareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
	for _, same := range [][2]string{{"0:1", "1"}, {"1-0", "1"}, {"1.00", "1.0"}, {"1-", "1"}, {"01", "1"}, {"1.0-00", "1.0-0"}} {
		if got := CompareVersions(same[0], same[1]); got != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, want 0", same[0], same[1], got)
		}
	}
}

func TestValidateVersion(t *testing.T) {
	for _, v := range []string{"1", "1:2.3-4", "1.2~rc1+dfsg-3.1+b2", "2:1:2-3", "1-2-3", "0"} {
		if err := ValidateVersion(v); err != nil {
			t.Errorf("ValidateVersion(%q): %v", v, err)
		}
	}
	for _, v := range []string{"", "-1", "a:1", ":1", "1:", "1 2", "1_2", "1-2_3", "1\n2", "1/2", "99999999999:1"} {
		if ValidateVersion(v) == nil {
			t.Errorf("ValidateVersion(%q) = nil", v)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.0~rc1-1", "1.0-1", "1:0")
	f.Add("0~~", "", "0-0~")
	f.Add("1.2.a+b", "1.2.a-b", "1.2.a:b")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba := CompareVersions(a, b), CompareVersions(b, a)
		if (ab < 0) != (ba > 0) || (ab == 0) != (ba == 0) {
			t.Fatalf("%q and %q: %d one way, %d the other", a, b, ab, ba)
		}
		if CompareVersions(a, a) != 0 {
			t.Fatalf("%q is not equal to itself", a)
		}
		if ab <= 0 && CompareVersions(b, c) <= 0 && CompareVersions(a, c) > 0 {
			t.Fatalf("%q ≤ %q ≤ %q, but not the ends", a, b, c)
		}
	})
}
