package archive

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isotrace/isotrace/internal/fault"
)

// Options are the settings of a Client.
type Options struct {
	// Mirrors are the base URIs of each repository, in the order they are
	// tried: http, https or file. A repository's name is the last element of
	// its bases' paths, such as debian or debian-security.
	Mirrors map[string][]string
	// Proxy is the URL of an HTTP proxy, or "direct" for none. Where it is
	// empty, net/http takes its settings from the environment.
	Proxy string
	// Workers is the number of downloads at once; 8 when 0.
	Workers int
	// Backoff are the waits between rounds over the mirrors; 1, 3 and 9 seconds
	// when nil. An empty list is one round.
	Backoff []time.Duration
	// Stall is how long a server may send nothing; a minute when 0.
	Stall time.Duration
	// Notice is told of a failure that another try may make good. It is never
	// called twice at once.
	Notice func(error)
}

// Client fetches from the mirrors of archives. What it fetches is checked by
// digest or signature, so that a mirror need not be trusted.
type Client struct {
	mirrors map[string][]*url.URL
	http    *http.Client
	workers int
	backoff []time.Duration
	stall   time.Duration

	mu     sync.Mutex
	notice func(error)
}

const userAgent = "isotrace"

// NewClient checks the settings.
func NewClient(o Options) (*Client, error) {
	c := &Client{
		mirrors: map[string][]*url.URL{},
		workers: o.Workers,
		backoff: o.Backoff,
		stall:   o.Stall,
		notice:  o.Notice,
	}
	if c.workers <= 0 {
		c.workers = 8
	}
	if c.backoff == nil {
		c.backoff = []time.Duration{time.Second, 3 * time.Second, 9 * time.Second}
	}
	if c.stall <= 0 {
		c.stall = time.Minute
	}
	for repository, bases := range o.Mirrors {
		for _, base := range bases {
			u, err := parseBase(base)
			if err != nil {
				return nil, err
			}
			c.mirrors[repository] = append(c.mirrors[repository], u)
		}
	}
	proxy, err := proxyFunc(o.Proxy)
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            (&net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    20 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    c.workers,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 1 << 20,
			// A digest is that of the bytes as they are on the mirror.
			DisableCompression: true,
		},
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func parseBase(base string) (*url.URL, error) {
	const hint = "a mirror is like http://HOST/debian, https://HOST/debian or file:///FOLDER/debian"
	u, err := url.Parse(base)
	if err != nil {
		// The error of net/url holds the text, and so perhaps a password.
		return nil, fault.New(fault.Usage, hint, "a mirror's address is not a valid URI")
	}
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, fault.New(fault.Usage, hint, "mirror %s: has a query or a fragment", u.Redacted())
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Host == "" || u.Opaque != "" {
			return nil, fault.New(fault.Usage, hint, "mirror %s: has no host", u.Redacted())
		}
	case u.Scheme == "file":
		if u.Host != "" && u.Host != "localhost" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, fault.New(fault.Usage, hint, "mirror %s: is no absolute path on this machine", u.Redacted())
		}
		u.Host = ""
	default:
		return nil, fault.New(fault.Usage, hint, "mirror %s: the scheme is not supported", u.Redacted())
	}
	return u, nil
}

func proxyFunc(proxy string) (func(*http.Request) (*url.URL, error), error) {
	const hint = "a proxy is like http://HOST:PORT; direct means none"
	switch proxy {
	case "":
		return http.ProxyFromEnvironment, nil
	case "direct":
		return nil, nil
	}
	u, err := url.Parse(proxy)
	if err != nil {
		return nil, fault.New(fault.Usage, hint, "the proxy's address is not a valid URI")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.Usage, hint, "proxy %s: is not an http or https address", u.Redacted())
	}
	return http.ProxyURL(u), nil
}

// checkRedirect keeps a server from sending the client to files of this
// machine or from TLS to plain text.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errRedirect("there are more than 10 in a row")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return errRedirect("the scheme " + quoteShort(req.URL.Scheme) + " is not allowed")
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errRedirect("it leaves https")
	}
	return nil
}

type errRedirect string

func (e errRedirect) Error() string { return "redirect refused: " + string(e) }

// Repositories returns the names for which there are mirrors, sorted.
func (c *Client) Repositories() []string {
	var names []string
	for name := range c.mirrors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *Client) bases(repository string) ([]*url.URL, error) {
	bases := c.mirrors[repository]
	if len(bases) == 0 {
		return nil, fault.New(fault.Usage, "name a mirror whose path ends in /"+repository+" with --mirror, ISOTRACE_MIRROR or in the config",
			"no mirror is known for repository %s", repository)
	}
	return bases, nil
}

func (c *Client) tell(err error) {
	if c.notice == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notice(err)
}

// locate returns the URI of a path below a base.
func locate(base *url.URL, path string) *url.URL {
	u := *base
	u.Path = strings.TrimRight(u.Path, "/") + "/" + path
	u.RawPath = ""
	return &u
}

// Failures of a mirror, in the chain of the errors of a fetch.
var (
	ErrNotFound  = errors.New("not found")
	ErrWrongHash = errors.New("wrong sha256")
	ErrWrongSize = errors.New("wrong size")
)

// mirrorErrors are the failures of one fetch, the last of each mirror, in one
// line.
type mirrorErrors []error

func (e mirrorErrors) Error() string {
	parts := make([]string, len(e))
	for i, err := range e {
		parts[i] = err.Error()
	}
	return strings.Join(parts, "; ")
}

func (e mirrorErrors) Unwrap() []error { return e }

// failed sums up that no mirror gave what was wanted.
func failed(repository, path string, errs mirrorErrors) error {
	what := fmt.Errorf("fetch %s of %s: %w", path, repository, errs)
	for _, err := range errs {
		if hint := fault.HintOf(err); fault.ClassOf(err) == fault.Refused && hint != "" {
			return fault.New(fault.Refused, hint, "%w", what)
		}
	}
	switch {
	case errors.Is(errs, ErrWrongHash), errors.Is(errs, ErrWrongSize):
		return fault.New(fault.Refused, "the mirror is damaged, tampered with or has moved on; lock again, or use another mirror", "%w", what)
	case errors.Is(errs, ErrNotFound):
		return fault.New(fault.Failed, "the mirror does not have it (any more); lock again, or use a mirror that keeps it", "%w", what)
	}
	if fault.ClassOf(errs) == fault.Refused {
		return what
	}
	return fault.New(fault.Failed, "check the network, the proxy and the mirror's address", "%w", what)
}
