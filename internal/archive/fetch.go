package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// Sink takes verified content.
type Sink interface {
	// Has tells whether the content is there.
	Has(d artifact.Digest) bool
	// Partial returns the path at which a download of d is kept until it is
	// whole, the same for all processes.
	Partial(d artifact.Digest) string
	// Adopt takes the file at path over when its digest is want.
	Adopt(path string, want artifact.Digest) (artifact.Ref, error)
}

// verifier is a Sink that can tell whether content it has is sound, and lets
// go of content that is not.
type verifier interface {
	Verify(d artifact.Digest) (artifact.Ref, error)
}

// present tells whether nothing needs to be fetched. Content that is damaged
// is fetched again.
func present(sink Sink, d artifact.Digest) bool {
	if !sink.Has(d) {
		return false
	}
	if v, ok := sink.(verifier); ok {
		_, err := v.Verify(d)
		return err == nil
	}
	return true
}

// Want is content that a mirror is to give.
type Want struct {
	Repository string
	Path       string // below the mirror's base
	// Fallback is another path of the same content, for a mirror that has none
	// under Path.
	Fallback string
	SHA256   artifact.Digest
	Size     int64
}

// FetchAll brings what sink does not have yet, several downloads at once, and
// ends at the first that no mirror can give. What was whole by then stays in
// the sink; what was not is resumed by a later call. progress, which may be
// nil, is told the bytes that are there and those wanted; it is never called
// twice at once, and done may fall when a download starts over.
func (c *Client) FetchAll(ctx context.Context, wants []Want, sink Sink, progress func(done, total int64)) error {
	meter := &meter{report: progress}
	seen := map[artifact.Digest]bool{}
	var todo []Want
	for _, w := range wants {
		if err := w.validate(); err != nil {
			return err
		}
		if seen[w.SHA256] {
			continue
		}
		seen[w.SHA256] = true
		todo = append(todo, w)
		meter.total += w.Size
	}
	meter.add(0)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.workers)
	for _, w := range todo {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			return c.fetch(ctx, w, sink, meter.add)
		})
	}
	return g.Wait()
}

func (w Want) validate() error {
	if err := w.SHA256.Validate(); err != nil {
		return fmt.Errorf("fetch %s: %w", w.Path, err)
	}
	if err := ValidatePath(w.Path); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if w.Fallback != "" {
		if err := ValidatePath(w.Fallback); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
	}
	if w.Size < 0 {
		return fmt.Errorf("fetch %s: the size is negative", w.Path)
	}
	return nil
}

type meter struct {
	mu     sync.Mutex
	done   int64
	total  int64
	report func(done, total int64)
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.report != nil {
		m.report(m.done, m.total)
	}
}

func (c *Client) fetch(ctx context.Context, w Want, sink Sink, seen func(int64)) (err error) {
	if present(sink, w.SHA256) {
		seen(w.Size)
		return nil
	}
	bases, err := c.bases(w.Repository)
	if err != nil {
		return err
	}
	p, err := openPartial(ctx, sink, w.SHA256, seen)
	if err != nil {
		return err
	}
	if p == nil {
		seen(w.Size)
		return nil
	}
	defer func() { err = errors.Join(err, p.close()) }()
	err = c.rounds(ctx, bases, w.Repository, w.Path, func(base *url.URL) error {
		return c.complete(ctx, base, w, p)
	})
	if err != nil {
		return err
	}
	if _, err := sink.Adopt(p.path, w.SHA256); err != nil {
		return fmt.Errorf("keep %s: %w", w.Path, artifact.ExplainWrite(err))
	}
	return nil
}

// rounds tries each mirror in turn and, after a wait, those again whose
// failure may pass.
func (c *Client) rounds(ctx context.Context, bases []*url.URL, repository, path string, try func(*url.URL) error) error {
	last := make(mirrorErrors, len(bases))
	for round := 0; ; round++ {
		again := false
		for i, base := range bases {
			if last[i] != nil && permanent(last[i]) {
				continue
			}
			err := try(base)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("fetch %s of %s: %w", path, repository, context.Cause(ctx))
			}
			if local, ok := errors.AsType[localError](err); ok {
				return fmt.Errorf("fetch %s of %s: %w", path, repository, local.error)
			}
			last[i] = err
			again = again || !permanent(err)
			c.tell(err)
		}
		if !again || round >= len(c.backoff) {
			return failed(repository, path, last)
		}
		if err := sleep(ctx, c.backoff[round]); err != nil {
			return fmt.Errorf("fetch %s of %s: %w", path, repository, err)
		}
	}
}

// complete brings the partial file to its end from one mirror.
func (c *Client) complete(ctx context.Context, base *url.URL, w Want, p *partial) error {
	if p.size > w.Size {
		if err := p.reset(); err != nil {
			return localError{err}
		}
	}
	paths := []string{w.Path}
	if w.Fallback != "" {
		paths = append(paths, w.Fallback)
	}
	for i, path := range paths {
		err := c.completeFrom(ctx, locate(base, path), w, p)
		if errors.Is(err, ErrNotFound) && i+1 < len(paths) {
			continue
		}
		return err
	}
	return nil
}

func (c *Client) completeFrom(ctx context.Context, u *url.URL, w Want, p *partial) error {
	for {
		if p.size < w.Size {
			if err := c.receive(ctx, u, w, p); err != nil {
				return err
			}
		}
		have := p.digest()
		if have == w.SHA256 {
			return nil
		}
		mixed := p.resumed
		if err := p.reset(); err != nil {
			return localError{err}
		}
		if !mixed {
			return permanentError{fault.New(fault.Refused, "", "%s: %w: it is %s, want %s", u.Redacted(), ErrWrongHash, have, w.SHA256)}
		}
		// Some of the bytes were of an earlier attempt, perhaps from another
		// mirror: this one deserves a fresh start.
	}
}

// receive appends what the mirror has to the partial file.
func (c *Client) receive(ctx context.Context, u *url.URL, w Want, p *partial) (err error) {
	validator := ""
	if p.from == u.String() {
		validator = p.validator
	}
	b, err := c.open(ctx, u, p.size, validator)
	if errors.Is(err, errRange) {
		if err := p.reset(); err != nil {
			return localError{err}
		}
		b, err = c.open(ctx, u, 0, "")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if b.length >= 0 && b.length != w.Size {
		return permanentError{fmt.Errorf("%s: %w: it has %d bytes, want %d", u.Redacted(), ErrWrongSize, b.length, w.Size)}
	}
	if b.offset != p.size {
		if err := p.reset(); err != nil {
			return localError{err}
		}
	}
	// A fresh start makes the whole file this answer's; any other leaves bytes
	// of an earlier one before it.
	p.resumed = p.size > 0
	p.from, p.validator = u.String(), b.validator
	// One byte more than wanted tells a body that does not end.
	_, err = io.CopyBuffer(p, io.LimitReader(b, w.Size-p.size+1), make([]byte, 1<<17))
	if err != nil {
		if _, ok := errors.AsType[localError](err); ok {
			return err
		}
		return fmt.Errorf("%s: after %d of %d bytes: %w", u.Redacted(), p.size, w.Size, err)
	}
	switch {
	case p.size > w.Size:
		if err := p.reset(); err != nil {
			return localError{err}
		}
		return permanentError{fmt.Errorf("%s: %w: it has more than the %d bytes wanted", u.Redacted(), ErrWrongSize, w.Size)}
	case p.size < w.Size:
		return fmt.Errorf("%s: after %d of %d bytes: %w", u.Redacted(), p.size, w.Size, io.ErrUnexpectedEOF)
	}
	return nil
}

// get reads a file whose digest nobody knows yet, of at most limit bytes.
func (c *Client) get(ctx context.Context, base *url.URL, path string, limit int64) (_ []byte, err error) {
	u := locate(base, path)
	b, err := c.open(ctx, u, 0, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	data, err := io.ReadAll(io.LimitReader(b, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	if int64(len(data)) > limit {
		return nil, permanentError{fmt.Errorf("%s: %w: it has more than %d bytes", u.Redacted(), ErrWrongSize, limit)}
	}
	if b.length >= 0 && int64(len(data)) != b.length {
		return nil, fmt.Errorf("%s: after %d of %d bytes: %w", u.Redacted(), len(data), b.length, io.ErrUnexpectedEOF)
	}
	return data, nil
}
