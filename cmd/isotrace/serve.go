package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/report"
	"github.com/isotrace/isotrace/provenance/report/desk"
)

func (a *app) serveCommand() *cobra.Command {
	var f verifyFlags
	var port int
	c := &cobra.Command{
		Use:   "serve DIR",
		Short: "Show the evidence of an image in a browser of this machine",
		Long: `Verifies the image in DIR and serves the auditor's desk, one page with all that its
evidence says, at an address of this machine that no other can reach, until it is
interrupted. The page asks for nothing else: saved as a file it opens from a disk.`,
		Example: `  isotrace serve out --key builder.pub
  isotrace serve out --port 8080`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.serve(c.Context(), args[0], f, port) },
	}
	f.register(c, "key")
	c.Flags().IntVar(&port, "port", 0, "`number` of the port; 0 for a free one")
	return c
}

// served is where the page is.
type served struct {
	URL string `json:"url"`
}

func (a *app) serve(ctx context.Context, dir string, f verifyFlags, port int) (err error) {
	if port < 0 || port > 65535 {
		return fault.New(fault.Usage, "0 takes a free one", "--port %d: is no port", port)
	}
	page, err := deskPage(ctx, dir, f)
	if err != nil {
		return err
	}
	at, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fault.New(fault.Failed, "--port 0 takes a free one", "%w", err)
	}
	s := &http.Server{Handler: desk.Handler(page), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(at) }()
	defer func() { err = errors.Join(err, s.Close()) }()
	where := served{"http://" + at.Addr().String() + "/"}
	if err := a.result(where, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s  until you interrupt it\n", where.URL)
		return err
	}); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// deskPage makes the auditor's desk of the output folder dir. What does not hold is
// shown on it; the documents are there where all holds.
func deskPage(ctx context.Context, dir string, f verifyFlags) (_ []byte, err error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	v, r, err := provenance.TryVerified(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	var docs []report.Document
	if v != nil {
		if docs, err = report.Write(ctx, v, report.IDs()); err != nil {
			return nil, err
		}
	}
	return deskOf(dir, o.Key, r, docs)
}

// deskOf makes the auditor's desk of a verification and documents.
func deskOf(dir string, key *provenance.PublicKey, r provenance.Result, docs []report.Document) (_ []byte, err error) {
	t, err := provenance.OpenTracing(dir, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if r.Refused() != nil {
		t.KeepSigners(provenance.ArchiveKeys{})
	}
	in := desk.Input{Documents: docs, Tracing: t, Verdict: r}
	switch st, err := os.Stat(filepath.Join(dir, t.Image)); {
	case err == nil:
		in.Size = st.Size()
	case !errors.Is(err, os.ErrNotExist): // verify says that it is missing
		return nil, err
	}
	var b bytes.Buffer
	err = desk.Write(&b, in)
	return b.Bytes(), err
}
