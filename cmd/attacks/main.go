// Command attacks tampers with a released image in every way that testdata/attacks, or
// another folder, lists, one at a time, and prints a table of what isotrace verify says. It ends with an
// exit status other than 0 where anything was accepted, or refused for another reason
// than expected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/attack"
	"github.com/isotrace/isotrace/stages"
)

func main() {
	project := flag.String("project", ".", "the `folder` of the project: its release in out, its keys in keys")
	archive := flag.String("archive", "", "a copy of the archives, laid out as a mirror")
	list := flag.String("attacks", "testdata/attacks", "the `folder` of the attacks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *project, *archive, *list); err != nil {
		fmt.Fprintln(os.Stderr, "attacks: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, project, archive, list string) error {
	attacks, err := attack.Read(list)
	if err != nil {
		return err
	}
	o := attack.Options{
		Dir: filepath.Join(project, "out"), Archive: archive, Work: project, Keys: map[string]*provenance.Signer{},
		Verify: provenance.VerifyOptions{Fetched: stages.Fetched, Now: time.Now()},
	}
	for _, role := range []string{"owner", "builder", "release"} {
		file := filepath.Join(project, "keys", role+".key")
		text, err := os.ReadFile(file)
		if role != "builder" && errors.Is(err, os.ErrNotExist) {
			continue // nobody owns a layout, or has released the image
		}
		if err != nil {
			return err
		}
		if o.Keys[role], err = provenance.LoadSigner(file, text, []byte(os.Getenv("COSIGN_PASSWORD"))); err != nil {
			return err
		}
	}
	if k := o.Keys["owner"]; k != nil {
		o.Verify.OwnerKey = k.Public()
	}
	if k := o.Keys["release"]; k != nil {
		o.Verify.ReleaseKey = k.Public()
	}
	if root, err := os.ReadFile(filepath.Join(project, "trusted_root.json")); err == nil {
		o.Verify.TrustedRoot = root
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p, err := stages.OpenProjectConfig(project)
	if err != nil {
		return err
	}
	if o.Verify.ArchiveKeys, err = p.ArchiveKeys(); err != nil {
		return err
	}
	bad := 0
	err = attack.Run(ctx, o, attacks, func(r attack.Row) {
		if !r.As {
			bad++
		}
		if err := attack.WriteRow(os.Stdout, r); err != nil {
			bad++
		}
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d attacks, %d refused as expected\n", len(attacks), len(attacks)-bad)
	if bad > 0 {
		return fmt.Errorf("%d attacks were accepted, or refused for another reason", bad)
	}
	return nil
}
