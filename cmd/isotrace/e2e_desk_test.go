package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A browser of this machine gets the page, whole, until the program is interrupted.
func TestServe(t *testing.T) { serves(t, rescue(t)) }

func serves(t *testing.T, p *project) {
	c := p.command("serve", p.out(), "--key", p.dir+"/keys/builder.pub")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, _, _ := strings.Cut(line, " ")
	if err != nil || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Errorf("it says %q, %v: %s", line, err, &said)
	}
	client := &http.Client{Timeout: 20 * time.Second}
	get := func(host string) (int, string) {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer func() { _ = resp.Body.Close() }() // it was only read
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(text)
	}
	if code, text := get(""); code != http.StatusOK || !strings.Contains(text, "default-src 'none'") || !strings.Contains(text, string(digestOf(t, p.iso()))) || !strings.HasSuffix(text, "</html>\n") {
		t.Errorf("the page: %d, %d bytes", code, len(text))
	}
	if code, _ := get("rebound.example"); code != http.StatusMisdirectedRequest {
		t.Errorf("a page of another name: %d", code)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("interrupted: %v: %s", err, &said)
	}
}
