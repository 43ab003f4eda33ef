package stage

import (
	"context"
	"errors"
	"io"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/tool"
)

var errTODO = errors.New("not there yet")

// Work is what a running stage has: its inputs, a place for its outputs, and
// ways to run programs on them. Nothing else may be read or left behind.
type Work struct {
	// Epoch is the only time a stage may use.
	Epoch epoch.Epoch
	// Log takes what programs print; it ends up in the unsigned journal.
	Log io.Writer
}

// File returns where the content of a file input can be read on the host.
func (w *Work) File(input string) string { panic(errTODO) }

// Set returns the files of a set input, sorted by path.
func (w *Work) Set(input string) []artifact.Ref { panic(errTODO) }

// Content returns where a file of a set input can be read on the host.
func (w *Work) Content(r artifact.Ref) string { panic(errTODO) }

// Material returns where a material can be read on the host, by its record path.
func (w *Work) Material(path string) string { panic(errTODO) }

// Temp returns a scratch folder on the store's file system, removed afterwards.
func (w *Work) Temp() string { panic(errTODO) }

// OutFile returns the path at which the stage must leave a declared file output.
// Inside Run's sandbox the same file is /out/NAME.
func (w *Work) OutFile(name string) string { panic(errTODO) }

// AddToSet adds content to a declared set output: the file at path is moved
// into the store under its digest.
func (w *Work) AddToSet(name string, r artifact.Ref) error { panic(errTODO) }

// View mounts a tree input read-only and returns its folder.
func (w *Work) View(input string) (string, error) { panic(errTODO) }

// NewTree returns an empty writable folder for a declared tree output.
func (w *Work) NewTree(name string) (string, error) { panic(errTODO) }

// CopyTree returns a writable folder for a declared tree output that starts
// as the tree of the input; only what changes takes room.
func (w *Work) CopyTree(name, input string) (string, error) { panic(errTODO) }

// Run runs a program of the toolbox (the stage's input named "toolbox"). Its
// root is the toolbox, read-only; inputs stand below /in by name (a file as
// /in/NAME, a set as a folder of its paths, a tree as a folder), materials
// below /in/material by path, /out and /tmp are writable.
func (w *Work) Run(ctx context.Context, c tool.Command) error { panic(errTODO) }

// RunIn runs a program of the tree output itself, as root inside it. Inputs
// stand below /run/isotrace/in and materials below /run/isotrace/in/material.
func (w *Work) RunIn(ctx context.Context, output string, c tool.Command) error { panic(errTODO) }

// Progress tells the person who waits how far the stage has come; total 0 means unknown.
func (w *Work) Progress(done, total int64) { panic(errTODO) }
