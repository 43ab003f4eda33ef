// Command isotrace turns a base image or a bootstrap into a bootable Debian or
// Ubuntu live ISO, reproducible bit for bit, with a signed record of each step.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/stages"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is the whole program; it returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, func() {
		stop()                        // a second signal ends the process at once
		signal.Ignore(syscall.SIGHUP) // but for this: of a terminal that goes, several come
	})
	a := &app{}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if _, said := errors.AsType[exitCode](err); ctx.Err() != nil && err != nil && !said {
		err = fault.New(fault.Failed, "", "interrupted: nothing half-made was left")
	}
	return a.exit(err)
}

// exitCode is the exit of the process that does the work, inside its namespaces.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprint("exit status ", int(e)) }

// app is what all commands share.
type app struct {
	dir      string
	json     bool
	store    string
	progress string
	mirrors  []string
	proxy    string
}

func (a *app) command() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "isotrace",
		Short: "Reproducible, traceable live images of Debian and Ubuntu",
		Long: `isotrace turns a base image, or a bootstrap from signed archives, into a bootable
live ISO: the same inputs give the same bits, each step leaves a signed in-toto
link, and every claim can be checked without isotrace.

  isotrace init rescue      write a commented config to start from
  isotrace keys new         make the key that signs the records
  isotrace build            lock where there is no lock yet, build, verify
  isotrace verify out       check an image from its bytes up, offline
  isotrace trace out PATH   say where a file came from, up to who signed for it
  isotrace boot out         boot it in an emulator, up to the login prompt
  isotrace release out      sign the image, where everything holds

Exit codes: 0 done; 1 failed; 2 wrong use or config; 3 a verification did not hold.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if version {
				return a.version()
			}
			return c.Help()
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print the version")
	root.SuggestionsMinimumDistance = 2
	f := root.PersistentFlags()
	f.StringVarP(&a.dir, "directory", "C", ".", "the project's `folder`")
	f.BoolVar(&a.json, "json", false, "write results as JSON")
	f.StringVar(&a.store, "store", "", "`folder` of downloads and stage results (default $ISOTRACE_STORE or ~/.cache/isotrace)")
	f.StringVar(&a.progress, "progress", "auto", "how to show progress: auto, plain, json or none")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.New(fault.Usage, c.CommandPath()+" --help", "%w", err)
	})
	for _, add := range []func() *cobra.Command{a.initCommand, a.doctorCommand, a.keysCommand, a.layoutCommand, a.lockCommand, a.buildCommand, a.rebuildCommand, a.archiveCommand, a.verifyCommand, a.traceCommand, a.sbomCommand, a.reportCommand, a.serveCommand, a.diffCommand, a.baselineCommand, a.policyCommand, a.releaseCommand, a.signCommand, a.fetchReleaseCommand, a.bootCommand, a.writeCommand, a.storeCommand, a.selftestCommand, a.stagesCommand, a.versionCommand, a.manCommand} {
		root.AddCommand(add())
	}
	wrapUsage(root)
	return root
}

// wrapUsage gives wrong arguments the exit code of wrong use.
func wrapUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return wrongArguments(c, args)
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapUsage(sub)
	}
}

// wrongArguments says what a command takes, and what it was given.
func wrongArguments(c *cobra.Command, args []string) error {
	if c.HasAvailableSubCommands() && len(args) > 0 {
		hint := c.CommandPath() + " --help lists the commands"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "commands that are near: " + strings.Join(near, ", ") + "; " + hint
		}
		return fault.New(fault.Usage, hint, "unknown command %q for %q", args[0], c.CommandPath())
	}
	_, takes, ok := strings.Cut(c.Use, " ")
	if !ok {
		takes = "no arguments"
	}
	given := "and nothing was given"
	if len(args) > 0 {
		given = "not " + strings.Trim(fmt.Sprintf("%q", args), "[]")
	}
	return fault.New(fault.Usage, c.CommandPath()+" --help", "%s takes %s, %s", c.CommandPath(), takes, given)
}

// mirrorFlags are the flags of commands that fetch.
func (a *app) mirrorFlags(c *cobra.Command) {
	c.Flags().StringArrayVar(&a.mirrors, "mirror", nil, "base `[NAME=]URI` of an archive, http, https or file; may be given several times (also ISOTRACE_MIRROR, separated by spaces)")
	c.Flags().StringVar(&a.proxy, "proxy", "", "`URL` of an HTTP proxy, or direct (default: the usual environment)")
}

// inside runs do in namespaces of its own; see sandbox.Enter.
func inside(do func() error) error { return insideOf(sandbox.Enter, do) }

func insideOf(enter func() (bool, int, error), do func() error) error {
	in, code, err := enter()
	if err != nil {
		return err
	}
	if !in {
		return exitCode(code)
	}
	return do()
}

// openStore opens the store that the flags, the environment or the user's home
// name. The process must be inside.
func (a *app) openStore() (*artifact.Store, error) {
	dir, err := a.storeDir()
	if err != nil {
		return nil, err
	}
	return artifact.OpenStore(dir)
}

func (a *app) storeDir() (string, error) {
	if a.store != "" {
		return a.store, nil
	}
	if dir := os.Getenv("ISOTRACE_STORE"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fault.New(fault.Usage, "name a folder with --store or ISOTRACE_STORE", "no place for the store: neither HOME nor XDG_CACHE_HOME is set")
	}
	return filepath.Join(cache, "isotrace"), nil
}

// session opens the store and gathers the mirrors. The caller closes the store.
func (a *app) session(p *stages.Project) (*stages.Session, error) {
	store, err := a.openStore()
	if err != nil {
		return nil, err
	}
	host, err := archive.ReadSources("/")
	if err != nil {
		return nil, errors.Join(fault.WithHint(err, "repair the file, or name mirrors with --mirror"), store.Close())
	}
	given := append(slices.Clone(a.mirrors), strings.Fields(os.Getenv("ISOTRACE_MIRROR"))...)
	return &stages.Session{
		Project: p, Store: store, Proxy: a.proxy, Now: now(),
		Mirrors: stages.Mirrors{Config: p.Config.Mirrors, Given: given, Host: host},
	}, nil
}
