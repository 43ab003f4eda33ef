// Package blockdev finds out what a disk is, and writes images to it.
package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
)

// Disk is a whole disk, as sysfs describes it; see Documentation/ABI/stable/sysfs-block in
// Linux.
type Disk struct {
	Path   string `json:"device"`
	Name   string `json:"-"`      // the kernel's, such as sdb
	Size   int64  `json:"size"`   // bytes
	Model  string `json:"model"`  // vendor and model, "" where none is told
	Serial string `json:"serial"` // "" where none is told
	// Removable tells that the medium can be taken out, or hangs on USB.
	Removable bool     `json:"removable"`
	ReadOnly  bool     `json:"-"`
	Used      []string `json:"-"` // what uses it, or a part of it: mounts, swap, volumes
	number    string   // MAJOR:MINOR
}

// Host is where a disk is looked for: /sys and /proc, or a test's own.
type Host struct{ Sys, Proc string }

// ThisHost is the running system.
var ThisHost = Host{"/sys", "/proc"}

// Find describes the disk that a device file names. A partition, a file and what is no
// block device are refused.
func (h Host) Find(path string) (*Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fault.New(fault.Usage, "name a whole disk such as /dev/sdb; lsblk lists them", "%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, fault.New(fault.Usage, "name a whole disk such as /dev/sdb; lsblk lists them", "%s: is no disk", path)
	}
	return h.find(path, fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
}

func (h Host) find(path, number string) (*Disk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(h.Sys, "dev", "block", number))
	if err != nil {
		return nil, fmt.Errorf("%s: the kernel does not tell what it is: %w", path, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return nil, fault.New(fault.Usage, "the image has a partition table of its own: it starts at the disk's first byte",
			"%s: is a partition, and not the disk %s", path, filepath.Base(filepath.Dir(dir)))
	}
	d := &Disk{Path: path, Name: filepath.Base(dir), number: number}
	sectors, err := strconv.ParseInt(text(dir, "size"), 10, 64)
	if err != nil || sectors < 0 || sectors > 1<<53 {
		return nil, fmt.Errorf("%s: its size is %q", path, text(dir, "size"))
	}
	d.Size = sectors * 512 // whatever the disk's own sectors are
	d.ReadOnly = text(dir, "ro") == "1"
	d.Removable = text(dir, "removable") == "1" || strings.Contains(dir, "/usb")
	d.Model = strings.TrimSpace(text(dir, "device/vendor") + " " + text(dir, "device/model"))
	if d.Model == "" && text(dir, "loop/backing_file") != "" {
		d.Model = "loop device of " + text(dir, "loop/backing_file")
	}
	d.Serial = h.serial(dir)
	d.Used, err = h.users(dir, number)
	return d, err
}

// text is a line of sysfs, "" where there is none.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// serial is the disk's own number, or that of the USB device that it is part of.
func (h Host) serial(dir string) string {
	if s := text(dir, "device/serial"); s != "" {
		return s
	}
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return ""
	}
	for range 12 { // no device is nested deeper
		if s := text(device, "serial"); s != "" {
			return s
		}
		device = filepath.Dir(device)
	}
	return ""
}

// users are what has the disk or a partition of it in use.
func (h Host) users(dir, number string) ([]string, error) {
	numbers := map[string]string{number: filepath.Base(dir)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var used []string
	for _, e := range entries {
		part := filepath.Join(dir, e.Name())
		if text(part, "partition") == "" {
			continue
		}
		numbers[text(part, "dev")] = e.Name()
		used = append(used, holders(part)...)
	}
	used = append(used, holders(dir)...)
	mounts, err := os.ReadFile(filepath.Join(h.Proc, "self", "mountinfo"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && numbers[f[2]] != "" {
			used = append(used, fmt.Sprintf("%s is mounted on %s", numbers[f[2]], f[4]))
		}
	}
	swaps, err := os.ReadFile(filepath.Join(h.Proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return used, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(swaps)) {
		f := strings.Fields(line)
		for _, name := range numbers {
			if len(f) > 0 && f[0] == "/dev/"+name {
				used = append(used, name+" is swap")
			}
		}
	}
	return used, nil
}

// holders are volumes, RAIDs and the like on top of a disk or partition.
func holders(dir string) []string {
	entries, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil {
		return nil // there are none
	}
	var list []string
	for _, e := range entries {
		list = append(list, filepath.Base(dir)+" is part of "+e.Name())
	}
	return list
}

// Check refuses a disk that an image of that size must not or cannot go to. What is not
// removable is refused unless any is true.
func (d *Disk) Check(size int64, any bool) error {
	switch {
	case len(d.Used) > 0:
		return fault.New(fault.Refused, "unmount it, or look again whether it is the right one", "%s: is in use: %s", d.Path, strings.Join(d.Used, ", "))
	case !d.Removable && !any:
		return fault.New(fault.Refused, "lsblk shows which disk is which; --any-disk writes to this one nevertheless", "%s: is not removable", d.Path)
	case d.ReadOnly:
		return fault.New(fault.Usage, "look for a switch on the stick or card", "%s: is read-only", d.Path)
	case d.Size == 0:
		return fault.New(fault.Usage, "put one in", "%s: holds no medium", d.Path)
	case d.Size < size:
		return fault.New(fault.Usage, "take a larger one", "%s: has %d bytes, the image %d", d.Path, d.Size, size)
	}
	return nil
}
