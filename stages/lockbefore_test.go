package stages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// TestRelock: a lock is not made from an older state of an archive than the one that is there.
func TestRelock(t *testing.T) {
	day := time.Date(2024, 3, 4, 0, 0, 0, 0, time.UTC)
	older, newer := day.Add(-48*time.Hour).Format(time.RFC3339), day.Add(48*time.Hour).Format(time.RFC3339)
	text := func(date, more string) string {
		return "format: 1\narchives:\n  - id: debian/stable\n    codename: trixie\n    date: \"" + date + "\"\n" + more
	}
	for name, c := range map[string]struct {
		before         string // isotrace.lock; "" for none
		older, changed []string
		want           string // an error, or what the lock says of it
		class          fault.Class
	}{
		"the first lock":                   {},
		"a newer Release file":             {before: text(older, "")},
		"the same one":                     {before: text(day.Format(time.RFC3339), "")},
		"an older one":                     {before: text(newer, ""), want: "an older state of the archive", class: fault.Refused},
		"an older one, of another's name":  {before: text(newer, ""), older: []string{"debian/other"}, want: "is not among the archives", class: fault.Usage},
		"an older one, as asked for":       {before: text(newer, ""), older: []string{"debian/stable"}, want: newer},
		"asked for in vain":                {before: text(older, ""), older: []string{"debian/stable"}},
		"older than what was there once":   {before: text(older, "    older-accepted: \""+newer+"\"\n"), want: "an older state of the archive", class: fault.Refused},
		"another suite of an edited lock":  {before: strings.Replace(text(newer, "nonsense: [\"x\"]\n"), "debian/stable", "debian/other", 1)},
		"another codename":                 {before: strings.Replace(text(older, ""), "trixie", "bookworm", 1), want: "has it as codename bookworm", class: fault.Refused},
		"another codename, as asked for":   {before: strings.Replace(text(older, ""), "trixie", "bookworm", 1), changed: []string{"debian/stable"}, want: "codename bookworm"},
		"another origin":                   {before: text(older, "    origin: Debian\n"), want: "has it as origin Debian", class: fault.Refused},
		"older is not changed":             {before: text(newer, ""), changed: []string{"debian/stable"}, want: "an older state of the archive", class: fault.Refused},
		"a lock with the marks of a merge": {before: "<<<<<<< HEAD\n" + text(newer, "") + ">>>>>>> x\n", want: "cannot be read", class: fault.Usage},
		"a lock without a date":            {before: text("yesterday", ""), want: "archive debian/stable", class: fault.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			repo := archivetest.New(t)
			repo.AddPackage("Package: hello\nVersion: 1\nArchitecture: all\n")
			key := repo.Publish("stable", "main", day, time.Time{}, archivetest.Options{Codename: "trixie"})
			dir := t.TempDir()
			files := map[string]string{"key.asc": string(key)}
			if c.before != "" {
				files[lockfile.FileName] = c.before
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := config.Parse(config.FileName, []byte("name: x\nrelease: \"1\"\nbase: {bootstrap: stable}\narchives: [{suite: stable, components: [main], signed-by: key.asc}]\n"))
			if err != nil {
				t.Fatal(err)
			}
			k := &locking{
				Session: &Session{
					Project: &Project{Dir: dir, Config: cfg}, Store: openStore(t), Mirrors: Mirrors{Given: []string{"debian=" + repo.URI()}}, Now: day.Add(time.Hour),
					AllowOlder: c.older, AllowChanged: c.changed,
				},
				config: cfg, suites: map[string]*suite{}, lock: &lockfile.Lock{Format: lockfile.Format, Architecture: cfg.Architecture},
			}
			err = k.archives(t.Context())
			if c.class != 0 {
				if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a := k.lock.Archives[0]; a.OlderAccepted+a.ChangedAccepted != c.want || a.Origin != "Test" {
				t.Errorf("the lock says %+v", a)
			}
		})
	}
}
