package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/isotrace/isotrace/stages"
)

func (a *app) stagesCommand() *cobra.Command {
	var markdown bool
	c := &cobra.Command{
		Use: "stages", Short: "List the stages of the pipeline", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if markdown {
				_, err := io.WriteString(os.Stdout, stages.Markdown())
				return err
			}
			list := stages.List()
			return a.result(list, func(w io.Writer) error {
				for _, s := range list {
					if _, err := fmt.Fprintf(w, "%-10s %s → %s\n", s.Name, s.Takes, s.Gives); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "write the table of docs/pipeline.md")
	return c
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.version() },
	}
}

func (a *app) version() error {
	v := map[string]string{"version": "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		v["version"], v["go"] = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v["revision"] = s.Value
			}
		}
	}
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "isotrace %s %s\n", v["version"], v["revision"])
		return err
	})
}

// manDate stands in the manual pages: the day on which their text was last
// looked over, so that making them twice gives the same bytes.
var manDate = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a folder", Args: cobra.ExactArgs(1),
		Example: "  isotrace man /usr/local/share/man/man1",
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := c.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "ISOTRACE", Section: "1", Date: &manDate, Source: "isotrace"}, args[0])
		},
	}
}
