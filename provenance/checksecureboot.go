package provenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/secureboot"
)

// kernelPath is the kernel on the medium.
const kernelPath = "casper/vmlinuz"

// checkSecureBoot follows the signatures from shim to the kernel, where the
// config asks for them.
func (v *verification) checkSecureBoot(context.Context) (_ string, problems []Problem, err error) {
	if !v.Config.Boot.SecureBoot {
		return "the config asks for none: GRUB was made from its modules and bears no signature", nil, nil
	}
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	// What firmware starts lies in the EFI system partition; the same programs
	// stand among the image's files.
	inPartition := map[string]artifact.Digest{}
	files, err := iso.SystemFiles()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	for _, f := range files {
		inPartition[f.Path] = f.Digest
	}
	var programs [3][]byte
	for i, name := range []string{secureboot.FirstPath, secureboot.GRUBPath, kernelPath} {
		if programs[i], err = readISO(iso, name); err != nil {
			problems = append(problems, problemOf(name, err))
			continue
		}
		if have := artifact.HashBytes(programs[i]); name != kernelPath && inPartition[name] != have {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, in the EFI system partition it is %q", have, inPartition[name])})
		}
	}
	if len(problems) > 0 {
		return "", problems, nil
	}
	report, err := secureboot.Check(programs[0], programs[1], programs[2])
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	return fmt.Sprintf("shim, signed by %s, trusts %s, who vouches for GRUB (%s) and the kernel (%s)",
		strings.Join(report.Shim, " and "), report.Vendor, report.GRUB, report.Kernel), nil, nil
}

func readISO(iso *medium.ISO, name string) ([]byte, error) {
	r, err := iso.Open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxEvidenceFile {
		return nil, fmt.Errorf("has %d bytes, at most %d are allowed", r.Size(), maxEvidenceFile)
	}
	return io.ReadAll(r)
}

// secureBootState: without Secure Boot there is nothing to prove.
func (v *verification) secureBootState() State {
	if v.Config.Boot.SecureBoot {
		return Valid
	}
	return CannotTell
}
