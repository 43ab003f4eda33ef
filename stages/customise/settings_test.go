package customise

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
)

// made opens a tree of files; a text that begins with "→" is a link's target.
func made(t *testing.T, files map[string]string) *customisation {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		var err error
		if to, ok := strings.CutPrefix(text, "→"); ok {
			err = os.Symlink(to, at)
		} else {
			err = os.WriteFile(at, []byte(text), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return &customisation{root: root}
}

func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.Usage) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestFindLocale: the tree says which charset a locale has.
func TestFindLocale(t *testing.T) {
	c := made(t, map[string]string{
		"usr/share/i18n/SUPPORTED":       "# such\nru_RU ISO-8859-5\nru_RU.UTF-8 UTF-8\nde_DE@euro ISO-8859-15\nsr_RS@latin UTF-8\nda_DK.UTF-8 UTF-8\nen_GB.UTF-8 UTF-8\nodd\n",
		"usr/local/share/i18n/SUPPORTED": "xx_XX UTF-8\n",
	})
	list, err := c.locales()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]glibcLocale{
		"ru_RU": {"ru_RU", "ISO-8859-5"}, "de_DE@euro": {"de_DE@euro", "ISO-8859-15"}, "sr_RS@latin": {"sr_RS@latin", "UTF-8"},
		"ru_RU.UTF-8": {"ru_RU.UTF-8", "UTF-8"}, "en_GB.utf8": {"en_GB.UTF-8", "UTF-8"}, "xx_XX": {"xx_XX", "UTF-8"},
		"da.UTF-8": {}, "en_GB": {}, "de_DE.UTF-8@euro": {}, "odd": {},
	} {
		have, err := findLocale(list, name)
		wrong := ""
		if want.name == "" {
			wrong = "locale " + name + ": the tree has no such locale"
		}
		refused(t, name, err, wrong)
		if have != want {
			t.Errorf("%s: %v, want %v", name, have, want)
		}
	}
	if _, err := findLocale(list, "da.UTF-8"); fault.HintOf(err) != "one of that language is da_DK.UTF-8" {
		t.Errorf("the hint is %q", fault.HintOf(err))
	}
}

func TestZone(t *testing.T) {
	c := made(t, map[string]string{
		"usr/share/zoneinfo/Europe/Paris": "TZif2", "usr/share/zoneinfo/UTC": "→Etc/UTC", "usr/share/zoneinfo/Etc/UTC": "TZif2",
		"usr/share/zoneinfo/tzdata.zi": "# version", "usr/share/zoneinfo/empty": "", "usr/share/zoneinfo/away": "→/etc/passwd", "etc/passwd": "TZif",
	})
	if err := unix.Mkfifo(filepath.Join(c.root.Name(), "usr/share/zoneinfo/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Europe/Paris": "", "UTC": "", "Europe": "is a region, not a time zone", "tzdata.zi": "is not a time zone", "empty": "is not a time zone",
		"Mars": "not in the tree", "away": "not in the tree",
	} {
		_, err := c.zone(name)
		refused(t, name, err, want)
	}
	done := make(chan error, 1)
	go func() { _, err := c.zone("pipe"); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a FIFO is taken for a time zone")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a FIFO holds the stage up")
	}
}

func TestKeyboardLayouts(t *testing.T) {
	const list = "! model\n  pc105           Generic\n! layout\n  us              English (US)\n  gb              English (UK)\n\n! variant\n  dvorak          gb: Dvorak\n! option\n"
	if have, want := section(list, "layout"), []string{"us", "gb"}; !reflect.DeepEqual(have, want) {
		t.Errorf("layouts %q, want %q", have, want)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no layouts":   {map[string]string{"etc/x": ""}, "the tree has no keyboard layouts"},
		"a variant":    {map[string]string{layoutsFile: strings.ReplaceAll(list, "  gb ", "  fr ")}, "keyboard gb: the tree has no such layout"},
		"no console":   {map[string]string{layoutsFile: list}, "the tree has nothing that sets the console's keyboard"},
		"X by itself":  {map[string]string{layoutsFile: list, "usr/bin/Xorg": "#!"}, ""},
		"no programme": {map[string]string{layoutsFile: list, "usr/bin/setupcon": "text"}, "the tree has nothing that sets the console's keyboard"},
	} {
		refused(t, name, made(t, c.files).keyboard(t.Context(), Params{Keyboard: "gb"}), c.want)
	}
}

func TestCheckUser(t *testing.T) {
	c := made(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n", "etc/group": "root:x:0:\nsudo:x:27:\n",
		"bin": "→usr/bin", "usr/bin/dash": "#!", "usr/bin/sh": "→dash", "usr/bin/bash": "→/etc/alternatives/bash", "etc/alternatives/bash": "→/usr/bin/dash", "usr/bin/text": "text",
	})
	for _, u := range []struct {
		user  User
		shell string
		want  string
	}{
		{User{Name: "op", Groups: []string{"sudo"}}, "/bin/sh", ""},
		{User{Name: "op", UID: 1000}, "/bin/bash", ""},
		{User{Name: "sshd"}, "/bin/sh", "user sshd: the tree has that account already"},
		{User{Name: "op", UID: 100}, "/bin/sh", "another account has uid 100"},
		{User{Name: "op", Groups: []string{"sudo", "su"}}, "/bin/sh", "the tree has no group su"},
		{User{Name: "op"}, "/bin/zsh", "the tree has no program /bin/zsh"},
		{User{Name: "op"}, "/bin/text", "the tree has no program /bin/text"},
		{User{Name: "op"}, "/bin", "the tree has no program /bin"},
	} {
		refused(t, u.user.Name+" "+u.shell, c.checkUser(u.user, u.shell), u.want)
	}
}
