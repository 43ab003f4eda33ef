package customise

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/tool"
)

// supported are the lists of locales and their charsets, of Debian's package and of the
// tree's own, as locale-gen(8) has it.
var supported = []string{"usr/share/i18n/SUPPORTED", "usr/local/share/i18n/SUPPORTED"}

// glibcLocale is a locale that can be made: its name and its charset.
type glibcLocale struct{ name, charset string }

// locales are those that the tree can make.
func (c *customisation) locales() ([]glibcLocale, error) {
	var list []glibcLocale
	for _, file := range supported {
		b, err := regular.Read(c.root, file, maxEdited)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && f[0][0] != '#' {
				list = append(list, glibcLocale{f[0], f[1]})
			}
		}
	}
	return list, nil
}

// findLocale is the one that a name stands for: itself, or with its charset written
// otherwise, as in en_GB.utf8.
func findLocale(list []glibcLocale, name string) (glibcLocale, error) {
	for _, same := range []func(string) string{func(s string) string { return s }, canonical} {
		if i := slices.IndexFunc(list, func(l glibcLocale) bool { return same(l.name) == same(name) }); i >= 0 {
			return list[i], nil
		}
	}
	hint := "/" + supported[0] + " in the tree lists those that there are"
	language, _, _ := strings.Cut(canonical(name), "_")
	language, _, _ = strings.Cut(language, ".")
	var near []string
	for _, l := range list {
		if strings.HasPrefix(l.name, language+"_") && len(near) < 5 {
			near = append(near, l.name)
		}
	}
	if len(near) > 0 {
		hint = "one of that language is " + strings.Join(near, ", ")
	}
	return glibcLocale{}, fault.New(fault.Usage, hint, "locale %s: the tree has no such locale", name)
}

// canonical is a locale's name as glibc looks for it: of the charset letters, in lower
// case, and digits alone.
func canonical(name string) string {
	rest, modifier, _ := strings.Cut(name, "@")
	base, charset, ok := strings.Cut(rest, ".")
	if ok {
		charset = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, charset)
		base += "." + charset
	}
	if modifier != "" {
		base += "@" + modifier
	}
	return base
}

// capped is what a program may print to be read.
type capped struct{ bytes.Buffer }

func (c *capped) Write(b []byte) (int, error) {
	if c.Len()+len(b) > 1<<20 {
		return 0, errors.New("prints more than 1 MiB")
	}
	return c.Buffer.Write(b)
}

// checkLocales demands that the locales are there: locale-gen takes what it cannot make
// for no reason to fail.
func (c *customisation) checkLocales(ctx context.Context, names []string) error {
	list := tool.New("locale", "-a")
	var out capped
	list.Stdout = &out
	if err := c.work.RunIn(ctx, "root", list); err != nil {
		return err
	}
	have := map[string]bool{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		have[canonical(lines.Text())] = true
	}
	for _, name := range names {
		if !have[canonical(name)] {
			return fault.New(fault.Failed, "the journal beside the image has locale-gen's own words", "locale %s: the tree's locale-gen has not made it", name)
		}
	}
	return nil
}

// zone is where the tree has a time zone, which must be one.
func (c *customisation) zone(name string) (string, error) {
	zone := "usr/share/zoneinfo/" + name
	const hint = "a zone is named as in Europe/Paris; tzdata has the time zones, and tzdata-legacy, since Debian 13, their old names"
	st, err := c.root.Stat(zone)
	if err != nil {
		return "", fault.New(fault.Usage, hint, "time zone %s: not in the tree: %w", name, err)
	}
	if st.IsDir() {
		return "", fault.New(fault.Usage, hint, "time zone %s: is a region, not a time zone", name)
	}
	b, err := regular.Read(c.root, zone, 1<<20)
	if err != nil {
		return "", fmt.Errorf("time zone %s: %w", name, err)
	}
	if !bytes.HasPrefix(b, []byte("TZif")) { // RFC 9636
		return "", fault.New(fault.Usage, hint, "time zone %s: /%s is not a time zone", name, zone)
	}
	return zone, nil
}

// Where a tree has its keyboard layouts, and what makes the console's keymap of one.
const (
	layoutsFile = "usr/share/X11/xkb/rules/base.lst"
	consoleDir  = "etc/console-setup"
)

// keyboard sets the layout, and has console-setup make the keymap again that it keeps
// for the console: it reads no setting when it boots.
func (c *customisation) keyboard(ctx context.Context, p Params) error {
	if p.Keyboard == "" {
		return nil
	}
	b, err := regular.Read(c.root, layoutsFile, maxEdited)
	if err != nil {
		return fault.New(fault.Usage, "add console-setup to packages", "keyboard %s: the tree has no keyboard layouts: %w", p.Keyboard, err)
	}
	if !slices.Contains(section(string(b), "layout"), p.Keyboard) {
		return fault.New(fault.Usage, "/"+layoutsFile+" in the tree lists those that there are", "keyboard %s: the tree has no such layout", p.Keyboard)
	}
	text := fmt.Sprintf("XKBMODEL=\"pc105\"\nXKBLAYOUT=\"%s\"\nXKBVARIANT=\"\"\nXKBOPTIONS=\"\"\nBACKSPACE=\"guess\"\n", p.Keyboard)
	if err := c.write("etc/default/keyboard", text, 0o644); err != nil {
		return err
	}
	if !c.program("usr/bin/setupcon") && !c.program("bin/setupcon") {
		if c.program("usr/bin/Xorg") || c.program("usr/bin/Xwayland") {
			return nil // it reads the file itself
		}
		return fault.New(fault.Usage, "add console-setup to packages", "keyboard %s: the tree has nothing that sets the console's keyboard", p.Keyboard)
	}
	if err := c.dropKeymaps(); err != nil {
		return err
	}
	if err := c.work.RunIn(ctx, "root", tool.New("setupcon", "--save-only")); err != nil {
		return fmt.Errorf("keyboard %s: %w", p.Keyboard, err)
	}
	if made, err := c.keymaps(); err != nil {
		return err
	} else if len(made) == 0 {
		return fault.New(fault.Failed, "the journal beside the image has setupcon's own words", "keyboard %s: the tree's setupcon has made no keymap", p.Keyboard)
	}
	return nil
}

// keymaps are the console's that were made before.
func (c *customisation) keymaps() ([]string, error) {
	return fs.Glob(c.root.FS(), consoleDir+"/cached_*.kmap.gz")
}

func (c *customisation) dropKeymaps() error {
	old, err := c.keymaps()
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := c.root.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// section lists the first words of the lines of one section of an XKB list.
func section(text, name string) []string {
	var list []string
	in := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "!":
			in = len(f) > 1 && f[1] == name
		case in:
			list = append(list, f[0])
		}
	}
	return list
}

// program tells whether the tree has a regular file that can be run, wherever links lead.
func (c *customisation) program(name string) bool {
	at, err := roottree.Follow(name, func(p string) (string, bool) {
		target, err := c.root.Readlink(p)
		return target, err == nil
	})
	if err != nil {
		return false
	}
	st, err := c.root.Lstat(at)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// account finds a line of passwd(5) or group(5) whose field has a value.
func (c *customisation) account(file string, field int, value string) (bool, error) {
	b, err := regular.Read(c.root, file, maxEdited)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); field < len(f) && f[field] == value {
			return true, nil
		}
	}
	return false, nil
}

// checkUser looks for what useradd(8) refuses in words of its own, or takes.
func (c *customisation) checkUser(u User, shell string) error {
	if there, err := c.account("etc/passwd", 0, u.Name); err != nil {
		return err
	} else if there {
		return fault.New(fault.Usage, "take another name, or change the account in a script", "user %s: the tree has that account already", u.Name)
	}
	if u.UID != 0 {
		if taken, err := c.account("etc/passwd", 2, fmt.Sprint(u.UID)); err != nil {
			return err
		} else if taken {
			return fault.New(fault.Usage, "take another, or leave it out", "user %s: another account has uid %d", u.Name, u.UID)
		}
	}
	for _, g := range u.Groups {
		if there, err := c.account("etc/group", 0, g); err != nil {
			return err
		} else if !there {
			return fault.New(fault.Usage, "check the name; packages bring their groups", "user %s: the tree has no group %s", u.Name, g)
		}
	}
	if !c.program(path.Clean(shell)) {
		return fault.New(fault.Usage, "add the shell's package to packages", "user %s: the tree has no program %s", u.Name, shell)
	}
	return nil
}
