package stages

import (
	"fmt"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// proofs adds to the target set the .debs of the packages that the base image
// keeps, where the archives have exactly these: they prove the files that came
// with the image. Other archives than the target's are not asked, as they may
// have another build under the same version.
func (k *locking) proofs(all []archive.Package, origin map[artifact.Digest]string) {
	if k.lock.Image == nil {
		return
	}
	kept := map[string]bool{}
	for _, id := range k.lock.Installed() {
		kept[id] = true
	}
	for _, p := range k.lock.Target {
		delete(kept, p.ID())
	}
	for i := range all {
		p := lockPackage(&all[i], origin[all[i].SHA256], "in the base image", lockfile.UseProof)
		if kept[p.ID()] {
			delete(kept, p.ID())
			k.lock.Target = append(k.lock.Target, p)
		}
	}
	var without []string
	for _, id := range k.lock.Image.Packages {
		if kept[id] {
			without = append(without, id)
		}
	}
	if len(without) > 0 && k.Progress != nil {
		k.Progress.Line("solve", fmt.Sprintf("the archives do not have the .debs of %d of the base image's %d packages: %s", len(without), len(k.lock.Image.Packages), someOf(without)))
	}
}
