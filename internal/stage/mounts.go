package stage

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// mounts remembers what is mounted, to take it away in reverse order.
type mounts struct {
	store   *artifact.Store
	targets []string
	folders []string // made for mounting, removed afterwards
}

// view mounts layers of the store, topmost first, read-only in a new folder.
func (m *mounts) view(name string, layers []string) (string, error) {
	base, err := m.store.NewWork(name + "-view")
	if err != nil {
		return "", err
	}
	m.folders = append(m.folders, base)
	dir := filepath.Join(base, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, m.overlay(dir, layers, "", "")
}

func (m *mounts) overlay(target string, layers []string, upper, work string) error {
	lowers := make([]string, len(layers))
	for i, id := range layers {
		lowers[i] = m.store.Layer(id)
	}
	if err := sandbox.MountOverlay(target, lowers, upper, work); err != nil {
		return err
	}
	m.targets = append(m.targets, target)
	return nil
}

func (m *mounts) close() error {
	var errs []error
	for len(m.targets) > 0 {
		last := len(m.targets) - 1
		if err := sandbox.Unmount(m.targets[last]); err != nil {
			return errors.Join(append(errs, err)...)
		}
		m.targets = m.targets[:last]
	}
	for _, dir := range m.folders {
		errs = append(errs, os.RemoveAll(dir))
	}
	m.folders = nil
	return errors.Join(errs...)
}
