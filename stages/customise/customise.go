// Package customise brings the project's own part into the root tree: files,
// scripts, names, users.
package customise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sanitise"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// File is an overlay file and where it goes.
type File struct {
	Material string `json:"material"` // record path
	To       string `json:"to"`       // absolute path in the tree
	Mode     uint32 `json:"mode"`     // permission bits, set-id bits included
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	// Link is the target of a symbolic link, and LinkOf the record path of the
	// project's own; Material is empty then.
	Link   string `json:"link,omitempty"`
	LinkOf string `json:"link-of,omitempty"`
}

// User is an account that the image has besides its packages' own.
type User struct {
	Name   string   `json:"name"`
	UID    int      `json:"uid,omitempty"`
	Gecos  string   `json:"gecos,omitempty"`
	Shell  string   `json:"shell,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// PasswordHash is a crypt(5) hash; the account is locked when empty.
	PasswordHash string   `json:"password-hash,omitempty"`
	SSHKeys      []string `json:"ssh-keys,omitempty"`
}

// Params are the project's wishes.
type Params struct {
	Files    []File   `json:"files,omitempty"`
	Scripts  []string `json:"scripts,omitempty"` // record paths, in order
	Hostname string   `json:"hostname,omitempty"`
	Locale   string   `json:"locale,omitempty"` // such as en_GB.UTF-8
	Locales  []string `json:"locales,omitempty"`
	Timezone string   `json:"timezone,omitempty"` // such as Europe/Paris
	Keyboard string   `json:"keyboard,omitempty"` // XKB layout
	Users    []User   `json:"users,omitempty"`
	// RootPasswordHash is a crypt(5) hash; root stays locked when empty.
	RootPasswordHash string `json:"root-password-hash,omitempty"`
	// LiveSession are variables for casper.
	LiveSession []Variable `json:"live-session,omitempty"`
}

// Changes is the output that says who changed what in the tree.
const Changes = "changes"

// maxEdited bounds a file of the tree that is read as a whole, in bytes.
const maxEdited = 16 << 20

// Stage takes the installed tree and the project's files and gives the tree
// with them in place.
func Stage(root stage.Tree, materials []stage.Material, p Params) stage.Stage {
	return stage.Stage{
		Name: "customise", Version: 7, Params: p,
		Takes: "root tree, overlay, scripts, settings", Gives: "root tree",
		Inputs:    []stage.Input{{Name: "root", From: root}},
		Materials: materials,
		Outputs:   []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: Changes, Kind: stage.KindFile}},
		Run:       func(ctx context.Context, w *stage.Work) error { return run(ctx, w, p) },
	}
}

func run(ctx context.Context, w *stage.Work, p Params) (err error) {
	dir, err := w.CopyTree("root", "root")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	c := &customisation{work: w, root: root}
	for _, step := range []struct {
		setting string // of the config
		do      func(context.Context, Params) error
	}{
		{"hostname", c.names}, {"locale", c.locale}, {"keyboard", c.keyboard}, {"timezone", c.timezone}, {"users", c.users}, {"live-session", c.casper}, {"overlay", c.files}, {"scripts", c.scripts},
	} {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := w.By(stage.Actor{Kind: stage.BySetting, Name: step.setting}, func() error { return step.do(ctx, p) })
		if err != nil {
			return err
		}
	}
	var own []string
	for _, f := range p.Files {
		own = append(own, f.To)
	}
	if err := sanitise.Apply(ctx, dir, sanitise.Options{Epoch: w.Epoch, VaryingOnly: true, Protect: own, Changed: w.ByPass("root"), Log: w.Log}); err != nil {
		return err
	}
	return w.WriteChanges(ctx, "root", Changes)
}

// customisation is a tree while it is changed. Reading and writing goes
// through an os.Root, so that no link in the tree leads out of it.
type customisation struct {
	work *stage.Work
	root *os.Root
}

// write makes or replaces a file, as root's, and keeps a link's target as it is.
func (c *customisation) write(name, text string, mode fs.FileMode) error {
	if err := c.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return regular.Replace(c.root, name, mode, []byte(text))
}

func (c *customisation) names(_ context.Context, p Params) error {
	if p.Hostname == "" {
		return nil
	}
	if err := c.write("etc/hostname", p.Hostname+"\n", 0o644); err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n", p.Hostname)
	return c.write("etc/hosts", hosts, 0o644)
}

func (c *customisation) locale(ctx context.Context, p Params) error {
	wanted := slices.Clone(p.Locales)
	if p.Locale != "" && !slices.Contains(wanted, p.Locale) {
		wanted = append(wanted, p.Locale)
	}
	// C.UTF-8 and POSIX need no data.
	wanted = slices.DeleteFunc(wanted, func(l string) bool { return l == "C" || l == "POSIX" || strings.HasPrefix(l, "C.") })
	slices.Sort(wanted)
	if len(wanted) > 0 {
		if _, err := c.root.Stat("usr/sbin/locale-gen"); err != nil {
			return fault.New(fault.Usage, "add the package locales", "locale %s: the tree has no locale-gen", wanted[0])
		}
		known, err := c.locales()
		if err != nil {
			return err
		}
		var gen strings.Builder
		for _, l := range wanted {
			found, err := findLocale(known, l)
			if err != nil {
				return err
			}
			fmt.Fprintf(&gen, "%s %s\n", found.name, found.charset)
		}
		if err := c.write("etc/locale.gen", gen.String(), 0o644); err != nil {
			return err
		}
		if err := c.work.RunIn(ctx, "root", tool.New("locale-gen")); err != nil {
			return err
		}
		if err := c.checkLocales(ctx, wanted); err != nil {
			return err
		}
	}
	if p.Locale == "" {
		return nil
	}
	text := "LANG=" + p.Locale + "\n"
	if err := c.write("etc/default/locale", text, 0o644); err != nil {
		return err
	}
	// Debian 13 and later make the former a link to this one at boot; before, this is a link.
	switch st, err := c.root.Lstat("etc/locale.conf"); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || !st.Mode().IsRegular():
		return err
	}
	return c.write("etc/locale.conf", text, 0o644)
}

func (c *customisation) timezone(_ context.Context, p Params) error {
	if p.Timezone == "" {
		return nil
	}
	zone, err := c.zone(p.Timezone)
	if err != nil {
		return err
	}
	if err := c.root.Remove("etc/localtime"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.root.Symlink("/"+zone, "etc/localtime"); err != nil {
		return err
	}
	return c.write("etc/timezone", p.Timezone+"\n", 0o644)
}

// users makes accounts. Password hashes go through standard input: what stands
// on a command line ends up in the record.
func (c *customisation) users(ctx context.Context, p Params) error {
	var hashes strings.Builder
	for _, u := range p.Users {
		shell := cmp.Or(u.Shell, "/bin/bash")
		if err := c.checkUser(u, shell); err != nil {
			return err
		}
		add := []string{"useradd", "--create-home"}
		if there, err := c.account("etc/group", 0, u.Name); err != nil {
			return err
		} else if there { // as Debian's own group operator is
			add = append(add, "--no-user-group", "--gid", u.Name)
		} else {
			add = append(add, "--user-group")
		}
		if u.UID != 0 {
			add = append(add, "--uid", fmt.Sprint(u.UID))
		}
		if u.Gecos != "" {
			add = append(add, "--comment", u.Gecos)
		}
		if len(u.Groups) > 0 {
			add = append(add, "--groups", strings.Join(u.Groups, ","))
		}
		add = append(add, "--shell", shell, u.Name)
		if err := c.work.RunIn(ctx, "root", tool.New(add...)); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
		if u.PasswordHash != "" {
			fmt.Fprintf(&hashes, "%s:%s\n", u.Name, u.PasswordHash)
		}
		if len(u.SSHKeys) > 0 {
			if err := c.authorise(u); err != nil {
				return fmt.Errorf("user %s: %w", u.Name, err)
			}
		}
	}
	if p.RootPasswordHash != "" {
		fmt.Fprintf(&hashes, "root:%s\n", p.RootPasswordHash)
	}
	if hashes.Len() == 0 {
		return nil
	}
	set := tool.New("chpasswd", "--encrypted")
	set.Stdin = []byte(hashes.String())
	return c.work.RunIn(ctx, "root", set)
}

func (c *customisation) authorise(u User) error {
	home := "home/" + u.Name
	st, err := c.root.Stat(home)
	if err != nil {
		return err
	}
	uid, gid := owner(st)
	if err := c.root.Mkdir(home+"/.ssh", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file := home + "/.ssh/authorized_keys"
	if err := c.write(file, strings.Join(u.SSHKeys, "\n")+"\n", 0o600); err != nil {
		return err
	}
	return errors.Join(c.root.Lchown(home+"/.ssh", uid, gid), c.root.Lchown(file, uid, gid))
}

func (c *customisation) files(ctx context.Context, p Params) error {
	for _, f := range p.Files {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := c.file(f); err != nil {
			return fmt.Errorf("overlay %s: %w", f.To, err)
		}
	}
	return nil
}

func (c *customisation) file(f File) (err error) {
	to := strings.TrimPrefix(path.Clean("/"+f.To), "/")
	if err := c.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	if st, err := c.root.Lstat(to); err == nil && st.IsDir() {
		return errors.New("a folder stands in its place")
	} else if err == nil {
		if err := c.root.Remove(to); err != nil {
			return err
		}
	}
	// The path as it is, not as the config names it: a folder above it may be a link.
	at, err := roottree.Resolve(to, func(p string) (string, bool) {
		target, err := c.root.Readlink(p)
		return target, err == nil
	})
	if err != nil {
		return err
	}
	c.work.Did(at, stage.Actor{Kind: stage.ByOverlay, Name: cmp.Or(f.Material, f.LinkOf)})
	if f.Link != "" {
		if err := c.root.Symlink(f.Link, to); err != nil {
			return err
		}
		return c.root.Lchown(to, f.UID, f.GID)
	}
	in, err := regular.OpenFile(c.work.Material(f.Material))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := c.root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := c.root.Lchown(to, f.UID, f.GID); err != nil { // takes set-id bits away, hence before the mode
		return err
	}
	return c.root.Chmod(to, modeOf(f.Mode))
}

// scripts run inside the tree, as root, with no network. They are given as copies
// because stored content is not executable; no script can write to another.
func (c *customisation) scripts(ctx context.Context, p Params) (err error) {
	if len(p.Scripts) == 0 {
		return nil
	}
	lists, err := sanitise.AccessLists(c.root.Name())
	if err != nil {
		return err
	}
	for i, material := range p.Scripts {
		b, err := os.ReadFile(c.work.Material(material))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("script-%d", i)
		if err := artifact.WriteBytes(filepath.Join(c.work.Given(), name), 0o755, b); err != nil {
			return err
		}
		run := tool.New("/run/isotrace/in/given/"+name).With("ISOTRACE_SCRIPT="+material, c.work.Epoch.Env())
		if err := c.work.RunFollowed(ctx, "root", run, stage.Actor{Kind: stage.ByScript, Name: material}); err != nil {
			return fmt.Errorf("script %s: %w", material, err)
		}
		if lists, err = c.noNewAccessLists(material, lists); err != nil {
			return err
		}
	}
	return nil
}

// noNewAccessLists refuses what a script cannot have in the image: a POSIX ACL. A squashfs
// cannot hold one, and what the project asks for must not get lost on the way. It returns
// the lists that the tree has now.
func (c *customisation) noNewAccessLists(script string, before map[string]string) (map[string]string, error) {
	now, err := sanitise.AccessLists(c.root.Name())
	if err != nil {
		return nil, err
	}
	for _, at := range slices.Sorted(maps.Keys(now)) {
		if old, ok := before[at]; ok && old == now[at] {
			continue
		}
		file, list, _ := strings.Cut(at, " system.")
		return nil, fault.New(fault.Failed, "use owner, group and mode, or set the list when the system starts, with tmpfiles.d(5)",
			"script %s: /%s: has a POSIX access control list (%s), which a squashfs cannot hold", script, file, list)
	}
	return now, nil
}
