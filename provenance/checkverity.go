package provenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"

	"github.com/isotrace/isotrace/internal/verity"
)

// hashTreePath and menuPath are the hash tree of the squashfs and the boot menu on
// the medium.
const (
	hashTreePath = squashfsPath + ".verity"
	menuPath     = "boot/grub/grub.cfg"
)

// checkVerity computes the root hash of the squashfs, where the config asks for
// dm-verity, and looks for it in the boot menu.
func (v *verification) checkVerity(context.Context) (_ string, problems []Problem, err error) {
	if !v.Config.Squashfs.Verity {
		return "the config asks for none: nothing checks the squashfs when it is read", nil, nil
	}
	remembered, known := v.known("verity", v.iso)
	const what = "the root hash of the squashfs is the one on the kernel's command line"
	if known {
		return what, nil, nil
	}
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	var readers [2]*io.SectionReader
	for i, name := range []string{squashfsPath, hashTreePath} {
		if readers[i], err = iso.Open(name); err != nil {
			return "", []Problem{problemOf(name, err)}, nil
		}
	}
	hash, err := verity.RootHash(readers[0], readers[0].Size(), readers[1])
	if err != nil {
		return "", []Problem{problemOf(hashTreePath, err)}, nil
	}
	menu, err := readISO(iso, menuPath)
	if err != nil {
		return "", []Problem{problemOf(menuPath, err)}, nil
	}
	for _, wrong := range menuRootHashes(string(menu), path.Base(squashfsPath)+":"+hash) {
		problems = append(problems, Problem{menuPath, wrong})
	}
	v.hold(remembered, problems)
	return what + ": " + hash, problems, nil
}

var rootHashOption = regexp.MustCompile(`dm-verity-root-hash=(\S*)`)

// menuRootHashes says what is wrong with the root hashes that a menu's kernels are given:
// some entry has to have one, and all have to have the right one.
func menuRootHashes(menu, want string) []string {
	found := rootHashOption.FindAllStringSubmatch(menu, -1)
	if len(found) == 0 {
		return []string{fmt.Sprintf("no entry has dm-verity-root-hash=%s, the root hash of the squashfs", want)}
	}
	var wrong []string
	for _, m := range found {
		if m[1] != want {
			wrong = append(wrong, fmt.Sprintf("an entry has %s, the root hash of the squashfs is %s", m[0], want))
		}
	}
	return wrong
}

// verityState: without dm-verity there is nothing to prove.
func (v *verification) verityState() State {
	if v.Config.Squashfs.Verity {
		return Valid
	}
	return CannotTell
}
