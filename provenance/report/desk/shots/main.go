//go:build browser

// Command shots photographs the auditor's desk of examples/rescue for the documentation:
// make desk-images.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// shot is one picture: the view, how wide and high, and what is done there first.
type shot struct {
	name   string
	view   string
	scheme string
	height int64
	do     []chromedp.Action[chromedp.Void]
}

// find types into the search and takes the first result.
func find(text string) []chromedp.Action[chromedp.Void] {
	return []chromedp.Action[chromedp.Void]{
		chromedp.SendKeys(chromedp.CSS("#search"), text), chromedp.WaitVisible(chromedp.CSS("#hit-0")),
		chromedp.SendKeys(chromedp.CSS("#search"), "\r"), chromedp.WaitVisible(chromedp.CSS(".drawing")),
	}
}

var shots = []shot{
	{name: "desk-start", scheme: "light", height: 1000},
	{name: "desk-chain", scheme: "light", height: 1120, do: find("/usr/bin/nmcli")},
	{name: "desk-treemap", scheme: "dark", height: 960, view: "#/map"},
}

func main() {
	from := flag.String("page", "", "the desk: a file, or its address")
	to := flag.String("out", "docs/images", "folder for the pictures")
	view := flag.String("view", "", "one view alone, such as #/pipeline")
	scheme := flag.String("scheme", "light", "its colours, light or dark")
	height := flag.Int64("height", 1000, "its height")
	flag.Parse()
	list := shots
	if *view != "" {
		list = []shot{{name: "desk-view", view: *view, scheme: *scheme, height: *height}}
	}
	if err := run(*from, *to, list); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(from, to string, list []shot) error {
	if !strings.HasPrefix(from, "http://") {
		file, err := filepath.Abs(from)
		if err != nil {
			return err
		}
		from = "file://" + file
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), chromedp.Headless, chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-dev-shm-usage", true))
	defer stop()
	for _, s := range list {
		if err := take(ctx, from, filepath.Join(to, s.name+".png"), s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func take(ctx context.Context, url, to string, s shot) error {
	ctx, stop := chromedp.NewContext(ctx)
	defer stop()
	steps := []chromedp.Action[chromedp.Void]{
		chromedp.EmulateViewport(1440, s.height),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}})
			return err
		}),
		chromedp.Navigate(url + s.view), chromedp.WaitVisible(chromedp.CSS("main h1")),
	}
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as this context
		return err
	}
	ctx, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	steps = append(steps, s.do...)
	if err := chromedp.Do(ctx, append(steps, chromedp.Sleep(500*time.Millisecond))...); err != nil {
		return err
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	return os.WriteFile(to, picture, 0o644)
}
