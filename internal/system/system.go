// Package system is what a root tree says of itself: the stage that looks at its kernel
// tells those that lay out what boots it.
package system

import (
	"encoding/json"
	"fmt"

	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Facts are what a root tree says of itself.
type Facts struct {
	Kernel   string `json:"kernel"`   // version
	Codename string `json:"codename"` // of the distribution, or empty
	// Installer tells that the tree has a program that installs it.
	Installer bool `json:"installer"`
	// Medium is the UUID by which the initrd knows its medium, where it looks for one.
	Medium string `json:"medium,omitempty"`
}

// The beginnings of the paths of a kernel and its initial RAM file system, before the
// kernel's version.
const (
	KernelPrefix = "boot/vmlinuz-"
	InitrdPrefix = "boot/initrd.img-"
)

// KernelPath is where the tree has its kernel.
func (f Facts) KernelPath() string { return KernelPrefix + f.Kernel }

// InitrdPath is where a tree has the initial RAM file system of its kernel.
func (f Facts) InitrdPath() string { return InitrdPrefix + f.Kernel }

// Write gives the facts as JSON.
func (f Facts) Write() ([]byte, error) {
	b, err := json.Marshal(f)
	return append(b, '\n'), err
}

// Read reads a file of facts.
func Read(file string) (f Facts, err error) {
	b, err := regular.ReadFile(file, 1<<20)
	if err != nil {
		return f, err
	}
	if err := strictjson.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("what the root tree says of itself: %w", err)
	}
	return f, nil
}
