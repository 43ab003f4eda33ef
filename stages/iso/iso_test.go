package iso

import (
	"slices"
	"strings"
	"testing"
)

func TestCommandIsFixed(t *testing.T) {
	c := Command(Params{File: "x.iso", Volume: "X"}, "boot/grub/bios.img", 1700000000)
	if !slices.Contains(c.Env, "SOURCE_DATE_EPOCH=1700000000") || !slices.Contains(c.Env, "TZ=UTC") {
		t.Errorf("environment %v: an appended partition would get a random GUID", c.Env)
	}
	if !strings.Contains(strings.Join(c.Argv, " "), "--set_all_file_dates =1700000000") {
		t.Errorf("%v: files would keep their times", c.Argv)
	}
}
