package iso

import (
	"slices"
	"strings"
	"testing"
)

func TestVolume(t *testing.T) {
	for _, c := range [][3]string{
		{"rescue", "1.0.0", "RESCUE_1_0_0"}, {"a+b", "~1", "A_B__1"},
		{"a-very-long-name-for-a-product", "2026.11.23", "A_VERY_LONG_NAME_FOR_A_PRODUCT_2"},
	} {
		if have := Volume(c[0], c[1]); have != c[2] || len(have) > 32 {
			t.Errorf("Volume(%q, %q) = %q, want %q", c[0], c[1], have, c[2])
		}
	}
}

func TestCommandIsFixed(t *testing.T) {
	c := Command(Params{File: "x.iso", Volume: "X"}, "boot/grub/bios.img", 1700000000)
	if !slices.Contains(c.Env, "SOURCE_DATE_EPOCH=1700000000") || !slices.Contains(c.Env, "TZ=UTC") {
		t.Errorf("environment %v: an appended partition would get a random GUID", c.Env)
	}
	if !strings.Contains(strings.Join(c.Argv, " "), "--set_all_file_dates =1700000000") {
		t.Errorf("%v: files would keep their times", c.Argv)
	}
}
