package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// content is larger than the buffers on its way.
var content = bytes.Repeat([]byte("0123456789abcdef"), 40_000)

func want(path string) Want {
	return Want{Repository: "debian", Path: path, SHA256: artifact.HashBytes(content), Size: int64(len(content))}
}

func newTestClient(t testing.TB, o Options, mirrors ...string) *Client {
	t.Helper()
	o.Mirrors = map[string][]string{"debian": mirrors}
	if o.Proxy == "" {
		o.Proxy = "direct"
	}
	if o.Backoff == nil {
		o.Backoff = []time.Duration{0, 0}
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/debian"
}

func serveContent(w http.ResponseWriter, r *http.Request, b []byte) {
	w.Header().Set("ETag", `"`+string(artifact.HashBytes(b))+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func good(w http.ResponseWriter, r *http.Request) { serveContent(w, r, content) }

// breakOff sends some bytes of a body that claims to be whole.
func breakOff(w http.ResponseWriter, b []byte, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.Write(b[:n])
	panic(http.ErrAbortHandler)
}

func checkKept(t *testing.T, sink folder) {
	t.Helper()
	d := artifact.HashBytes(content)
	if have, _, err := artifact.HashFile(sink.Path(d)); err != nil || have != d {
		t.Fatalf("kept content: %s, %v", have, err)
	}
	if left := sink.names(t, "partial"); len(left) != 0 {
		t.Errorf("left below partial: %v", left)
	}
}

func TestFetchKeeps(t *testing.T) {
	const half = 300_000
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	wrong := slices.Clone(content)
	wrong[7] ^= 1
	cases := map[string]struct {
		mirrors  []http.HandlerFunc
		partial  []byte // from an earlier run
		notices  []error
		requests int
	}{
		"plain":                    {mirrors: []http.HandlerFunc{good}, requests: 1},
		"whole from earlier":       {mirrors: []http.HandlerFunc{good}, partial: content, requests: 0},
		"too much from earlier":    {mirrors: []http.HandlerFunc{good}, partial: append(slices.Clone(content), 'x'), requests: 1},
		"damaged from earlier":     {mirrors: []http.HandlerFunc{good}, partial: wrong, requests: 1},
		"damaged half":             {mirrors: []http.HandlerFunc{good}, partial: wrong[:half], requests: 2},
		"next after 404":           {mirrors: []http.HandlerFunc{status(404), good}, notices: []error{ErrNotFound}, requests: 2},
		"next after wrong content": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { serveContent(w, r, wrong) }, good}, notices: []error{ErrWrongHash}, requests: 2},
		"next after wrong size": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { serveContent(w, r, content[:half]) }, good},
			notices: []error{ErrWrongSize}, requests: 2},
		"next after a body without end": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			for {
				if _, err := w.Write(content); err != nil {
					return
				}
			}
		}, good}, notices: []error{ErrWrongSize}, requests: 2},
		"range not satisfiable": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			good(w, r)
		}}, partial: content[:half], requests: 2},
		"range ignored": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			w.Write(content)
		}}, partial: content[:half], requests: 1},
		"another range": {mirrors: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-9/%d", len(content)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(content[:10])
				return
			}
			good(w, r)
		}}, partial: content[:half], requests: 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			var mirrors []string
			for _, h := range c.mirrors {
				mirrors = append(mirrors, serve(t, func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					if r.UserAgent() != "isotrace" {
						t.Errorf("user agent %q", r.UserAgent())
					}
					h(w, r)
				}))
			}
			var notices []error
			client := newTestClient(t, Options{Notice: func(err error) { notices = append(notices, err) }}, mirrors...)
			sink := newFolder(t)
			if c.partial != nil {
				if err := os.WriteFile(sink.Partial(artifact.HashBytes(content)), c.partial, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var done, total int64
			err := client.FetchAll(t.Context(), []Want{want("pool/x+c~1.deb")}, sink, func(d, all int64) { done, total = d, all })
			if err != nil {
				t.Fatal(err)
			}
			checkKept(t, sink)
			if done != int64(len(content)) || total != done {
				t.Errorf("progress ends at %d of %d", done, total)
			}
			if len(notices) != len(c.notices) {
				t.Fatalf("notices: %v", notices)
			}
			for i := range notices {
				if !errors.Is(notices[i], c.notices[i]) {
					t.Errorf("notice %v, want %v", notices[i], c.notices[i])
				}
			}
			if got := int(requests.Load()); got != c.requests {
				t.Errorf("%d requests, want %d", got, c.requests)
			}
		})
	}
}

func TestFetchResumes(t *testing.T) {
	const half = 200_000
	var ranges, validators []string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		validators = append(validators, r.Header.Get("If-Range"))
		if len(ranges) == 1 {
			w.Header().Set("ETag", `"one"`)
			breakOff(w, content, half)
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	sink := newFolder(t)
	if err := newTestClient(t, Options{}, base).FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] != fmt.Sprintf("bytes=%d-", half) || validators[1] != `"one"` {
		t.Errorf("ranges %q, validators %q", ranges, validators)
	}
}

func TestFetchResumesInALaterRun(t *testing.T) {
	const half = 200_000
	sink := newFolder(t)
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) { breakOff(w, content, half) })
	err := newTestClient(t, Options{Backoff: []time.Duration{}}, broken).FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil)
	if err == nil || fault.ClassOf(err) != fault.Failed {
		t.Fatalf("broken download: %v", err)
	}
	if names := sink.names(t, "files"); len(names) != 0 {
		t.Fatalf("kept %v", names)
	}
	var got string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Range")
		good(w, r)
	})
	if err := newTestClient(t, Options{}, base).FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	if got != fmt.Sprintf("bytes=%d-", half) {
		t.Errorf("range %q", got)
	}
}

// A file that changes on the server while it is read must not be put together
// from two versions.
func TestFetchChangedFile(t *testing.T) {
	other := bytes.ToUpper(content)
	n := 0
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.Header().Set("ETag", `"old"`)
			breakOff(w, other, 1000)
		}
		w.Header().Set("ETag", `"new"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	sink := newFolder(t)
	if err := newTestClient(t, Options{}, base).FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	if n != 2 {
		t.Errorf("%d requests, want 2: the server was to see that the rest is of another file", n)
	}
}

func TestFetchFails(t *testing.T) {
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	wrong := bytes.ToUpper(content)
	cases := map[string]struct {
		handler http.HandlerFunc
		err     error
		text    string
		class   fault.Class
		tries   int
	}{
		"not found":         {http.NotFound, ErrNotFound, "not found", fault.Failed, 1},
		"forbidden":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, nil, "403 forbidden", fault.Failed, 1},
		"server error":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, nil, "503 service unavailable", fault.Failed, 3},
		"wrong content":     {func(w http.ResponseWriter, r *http.Request) { serveContent(w, r, wrong) }, ErrWrongHash, "want " + string(artifact.HashBytes(content)), fault.Refused, 1},
		"too long":          {func(w http.ResponseWriter, r *http.Request) { serveContent(w, r, append(slices.Clone(content), 'x')) }, ErrWrongSize, "it has 640001 bytes, want 640000", fault.Refused, 1},
		"redirect to file":  {redirect("file:///etc/passwd"), nil, "redirect refused: the scheme \"file\" is not allowed", fault.Failed, 1},
		"redirect to ftp":   {redirect("ftp://example.org/x"), nil, "redirect refused", fault.Failed, 1},
		"redirect in loops": {redirect("/debian/pool/x.deb"), nil, "more than 10 in a row", fault.Failed, 10},
		"encoded": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(content)
		}, nil, "encoded the content", fault.Failed, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				c.handler(w, r)
			})
			sink := newFolder(t)
			err := newTestClient(t, Options{}, base).FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil)
			if err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %v with %q", err, c.err, c.text)
			}
			if fault.ClassOf(err) != c.class || fault.HintOf(err) == "" || strings.Contains(err.Error(), "\n") {
				t.Errorf("class %d, hint %q, text %q", fault.ClassOf(err), fault.HintOf(err), err)
			}
			if got := int(tries.Load()); got != c.tries {
				t.Errorf("%d requests, want %d", got, c.tries)
			}
			if names := append(sink.names(t, "files"), sink.names(t, "partial")...); len(names) != 0 {
				t.Errorf("left %v", names)
			}
		})
	}
}

func TestFetchStalledMirror(t *testing.T) {
	release := make(chan struct{})
	stalled := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:1000])
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	var notices []error
	client := newTestClient(t, Options{Stall: time.Second, Notice: func(err error) { notices = append(notices, err) }}, stalled, serve(t, good))
	sink := newFolder(t)
	if err := client.FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	if len(notices) == 0 || !errors.Is(notices[0], errStalled) { // a busy machine may stall the other one, too
		t.Errorf("notices %v", notices)
	}
}

func TestFetchCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	err := newTestClient(t, Options{}, base).FetchAll(ctx, []Want{want("pool/x.deb")}, newFolder(t), nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

func TestFetchProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		good(w, r)
	}))
	t.Cleanup(proxy.Close)
	client := newTestClient(t, Options{Proxy: proxy.URL}, "http://mirror.example.org/debian")
	sink := newFolder(t)
	if err := client.FetchAll(t.Context(), []Want{want("pool/x+y.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	if !slices.Equal(asked, []string{"http://mirror.example.org/debian/pool/x+y.deb"}) {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestFetchFileMirror(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "debian")
	if err := os.MkdirAll(filepath.Join(base, "pool", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "pool", "x.deb"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	client := newTestClient(t, Options{}, "file://"+filepath.Join(dir, "none"), "file://"+base)
	sink := newFolder(t)
	if err := os.WriteFile(sink.Partial(artifact.HashBytes(content)), content[:1234], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := client.FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, sink)
	for path, text := range map[string]string{"pool/folder": "not a regular file", "pool/none": "not found"} {
		err := client.FetchAll(t.Context(), []Want{want(path)}, newFolder(t), nil)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

// Several clients on one sink stand for several processes: each opens the
// partial file by itself.
func TestFetchAtOnce(t *testing.T) {
	var requests atomic.Int32
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		good(w, r)
	})
	sink := newFolder(t)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		client := newTestClient(t, Options{}, base)
		wg.Go(func() { errs[i] = client.FetchAll(t.Context(), []Want{want("pool/x.deb")}, sink, nil) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	checkKept(t, sink)
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestFetchMany(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, filepath.Base(r.URL.Path)) })
	var wants []Want
	var total int64
	for i := range 50 {
		name := fmt.Sprintf("file%d", i)
		wants = append(wants, Want{Repository: "debian", Path: "pool/" + name, SHA256: artifact.HashBytes([]byte(name)), Size: int64(len(name))})
		total += int64(len(name))
	}
	sink := newFolder(t)
	var last int64
	report := func(done, all int64) {
		if last = done; all != total {
			t.Errorf("total %d, want %d", all, total)
		}
	}
	if err := newTestClient(t, Options{}, base).FetchAll(t.Context(), append(wants, wants...), sink, report); err != nil {
		t.Fatal(err)
	}
	if n := len(sink.names(t, "files")); n != 50 || last != total {
		t.Errorf("%d files, %d bytes of %d", n, last, total)
	}
}

func TestFetchRefusesPaths(t *testing.T) {
	client := newTestClient(t, Options{}, "file:///nowhere/debian")
	for _, path := range []string{"", "/etc/passwd", "../x", "pool/../../x", "pool//x", "./x", "a\x00b", "a b", `a\b`} {
		w := want(path)
		if err := client.FetchAll(t.Context(), []Want{w}, newFolder(t), nil); err == nil || !strings.Contains(err.Error(), "path") {
			t.Errorf("path %q: error %v", path, err)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, base := range []string{"", "debian", "ftp://example.org/debian", "file://host/debian", "file:debian", "http:///debian", "http://example.org/debian?x", "http://example.org/debian#x", "http://[::1/debian"} {
		if _, err := NewClient(Options{Mirrors: map[string][]string{"debian": {base}}}); fault.ClassOf(err) != fault.Usage {
			t.Errorf("mirror %q: error %v", base, err)
		}
	}
	for _, proxy := range []string{"host:3128", "socks5://host:1", "http://"} {
		if _, err := NewClient(Options{Proxy: proxy}); fault.ClassOf(err) != fault.Usage {
			t.Errorf("proxy %q: error %v", proxy, err)
		}
	}
	_, err := newTestClient(t, Options{}).bases("debian")
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "/debian") {
		t.Errorf("no mirror: error %v", err)
	}
}

func TestErrorsHidePasswords(t *testing.T) {
	base := serve(t, http.NotFound)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("me", "hunter2")
	err = newTestClient(t, Options{}, u.String()).FetchAll(t.Context(), []Want{want("pool/x.deb")}, newFolder(t), nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestRedirectLeavesTLS(t *testing.T) {
	from, to := &http.Request{URL: &url.URL{Scheme: "https"}}, &http.Request{URL: &url.URL{Scheme: "http"}}
	if err := checkRedirect(to, []*http.Request{from}); err == nil {
		t.Error("a redirect from https to http passed")
	}
	if err := checkRedirect(from, []*http.Request{to}); err != nil {
		t.Error(err)
	}
}
