package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// body is an open answer of a mirror.
type body struct {
	io.Reader
	io.Closer
	offset    int64  // where in the file it begins
	length    int64  // of the whole file; -1 where the mirror does not say
	validator string // names this version of the file, for If-Range
}

// permanentError is a failure that the same mirror would repeat.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func permanent(err error) bool {
	_, ok := errors.AsType[permanentError](err)
	return ok
}

// open asks for the file from offset on. Where the mirror cannot give a part,
// or has another version than the validator's, the body begins at 0.
func (c *Client) open(ctx context.Context, u *url.URL, offset int64, validator string) (*body, error) {
	var b *body
	var err error
	if u.Scheme == "file" {
		b, err = openFile(u.Path, offset)
	} else {
		b, err = c.openHTTP(ctx, u, offset, validator)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return b, nil
}

func openFile(path string, offset int64) (_ *body, err error) {
	// Without O_NONBLOCK a FIFO would hold the client up for good.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, permanentError{ErrNotFound}
	}
	if err != nil {
		return nil, permanentError{plain(err)}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, permanentError{errors.New("not a regular file")}
	}
	if offset > st.Size() {
		offset = 0
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return &body{Reader: f, Closer: f, offset: offset, length: st.Size()}, nil
}

// plain drops the path from an error of package os: the URI stands before it.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

var errStalled = errors.New("the server sent nothing for too long")

func (c *Client) openHTTP(ctx context.Context, u *url.URL, offset int64, validator string) (_ *body, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(c.stall, func() { cancel(errStalled) })
	stop := func() {
		watch.Stop()
		cancel(nil)
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, permanentError{err}
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if validator != "" {
			req.Header.Set("If-Range", validator)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explainHTTP(ctx, err)
	}
	b := &body{length: -1, validator: validatorOf(resp)}
	b.Reader = &watchedReader{ctx: ctx, r: resp.Body, watch: watch, stall: c.stall}
	b.Closer = closeFunc(func() error {
		stop()
		return resp.Body.Close()
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, resp.Body.Close())
		}
	}()
	switch code := resp.StatusCode; {
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return nil, permanentError{fmt.Errorf("the server encoded the content: %s", quoteShort(resp.Header.Get("Content-Encoding")))}
	case code == http.StatusOK:
		b.length = resp.ContentLength
		return b, nil
	case code == http.StatusPartialContent && offset > 0:
		b.offset = offset
		if b.length, err = contentRange(resp.Header.Get("Content-Range"), offset); err != nil {
			return nil, err
		}
		return b, nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return nil, permanentError{ErrNotFound}
	case code == http.StatusRequestedRangeNotSatisfiable:
		return nil, errRange
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return nil, fmt.Errorf("the server answered %s", statusText(code))
	default:
		return nil, permanentError{fmt.Errorf("the server answered %s", statusText(code))}
	}
}

// errRange means that the part asked for cannot be had, but the whole may.
var errRange = errors.New("the server does not give the rest of the file")

func contentRange(value string, offset int64) (length int64, err error) {
	span, total, ok := strings.Cut(strings.TrimPrefix(value, "bytes "), "/")
	first, _, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || first != strconv.FormatInt(offset, 10) {
		return 0, errRange
	}
	if total == "*" {
		return -1, nil
	}
	if length, err = strconv.ParseInt(total, 10, 64); err != nil || length < offset {
		return 0, errRange
	}
	return length, nil
}

// validatorOf returns what If-Range may hold: a weak ETag does not tell bytes
// apart.
func validatorOf(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, strings.ToLower(http.StatusText(code))))
}

func explainHTTP(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// The error of net/http repeats the URL, without hiding a password.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[errRedirect](err); ok {
		return permanentError{e}
	}
	return err
}

type watchedReader struct {
	ctx   context.Context
	r     io.Reader
	watch *time.Timer
	stall time.Duration
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.watch.Reset(w.stall)
	}
	if err != nil && err != io.EOF {
		err = explainHTTP(w.ctx, err)
	}
	return n, err
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// sleep waits, or returns early with the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
