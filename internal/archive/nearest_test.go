package archive

import (
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	all := []string{"iproute2", "iproute2-doc", "memtest86+", "network-manager", "network-manager-gnome", "nano", "vim", "vim-tiny", "xorriso"}
	for name, want := range map[string][]string{
		"iproute": {"iproute2", "iproute2-doc"}, "memtest86": {"memtest86+"}, "networkmanager": {"network-manager"},
		"network-manger": {"network-manager"}, "vi": {"vim"}, "xoriso": {"xorriso"}, "nothing-like-it": {}, "": {},
	} {
		if have := Nearest(name, slices.Values(all)); !slices.Equal(have, want) {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
}
