package medium

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"
)

// storage is a part of an image as the file system library wants it.
type storage struct{ *io.SectionReader }

var _ backend.Storage = storage{}

func (storage) Stat() (fs.FileInfo, error)              { return nil, errors.ErrUnsupported }
func (storage) Close() error                            { return nil }
func (storage) Sys() (*os.File, error)                  { return nil, errors.ErrUnsupported }
func (storage) Writable() (backend.WritableFile, error) { return nil, backend.ErrIncorrectOpenMode }
func (storage) Path() string                            { return "" }
