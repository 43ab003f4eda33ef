package stages

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

// TestCheckPlace: what a build makes is not where the next one takes it from.
func TestCheckPlace(t *testing.T) {
	dir := t.TempDir()
	project := filepath.Join(dir, "project")
	store, err := artifact.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.MkdirAll(filepath.Join(project, "files", "etc"), 0o755), os.Mkdir(filepath.Join(dir, "filesystem"), 0o755),
		os.Symlink("project/files", filepath.Join(dir, "away")), os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{Store: store, Project: &Project{Dir: project, Config: &config.Config{Overlay: []config.Overlay{{From: "files/", To: "/"}}}}}
	for out, says := range map[string]string{
		"project/out": "", "project/files-out": "", "filesystem": "", "new/new/out": "", "project": "", "dangling": "",
		"project/files": "lies in the overlay files", "project/files/out": "lies in the overlay files", "project/files/new/out": "lies in the overlay files",
		"away/out": "lies in the overlay files", "project/out/../files/x": "lies in the overlay files",
		"store": "lies in the store", "store/work/out": "lies in the store",
	} {
		err := s.CheckPlace(filepath.Join(dir, out))
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || fault.ClassOf(err) != fault.Usage) {
			t.Errorf("%s: %v", out, err)
		}
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
