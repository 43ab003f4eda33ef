package roottree

import "testing"

func TestFollow(t *testing.T) {
	links := map[string]string{"sbin": "usr/sbin", "usr/sbin/init": "../lib/systemd/systemd", "abs": "/sbin/init", "round": "round", "up": "../../../usr"}
	readlink := func(p string) (string, bool) { target, ok := links[p]; return target, ok }
	for name, want := range map[string]string{
		"/sbin/init": "usr/lib/systemd/systemd", "abs": "usr/lib/systemd/systemd", "none": "none", "sbin": "usr/sbin", "up": "usr", "round": "",
	} {
		have, err := Follow(name, readlink)
		if have != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v, want %q", name, have, err, want)
		}
	}
}
