package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages"
)

type prog struct{ t0 time.Time }

func (p prog) Stage(n string, s stage.State) {
	fmt.Printf("%6.1f %s %s\n", time.Since(p.t0).Seconds(), n, s)
}
func (p prog) Bytes(n string, done, total int64) {}
func (p prog) Line(n, t string)                  { fmt.Println(n, t) }

func main() {
	sandbox.Main()
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("error:", err, "hint:", fault.HintOf(err))
		os.Exit(int(fault.ClassOf(err)))
	}
}

func run(ctx context.Context, cmd, dir, store string) error {
	p, err := stages.OpenProject(dir)
	if err != nil {
		return err
	}
	st, err := artifact.OpenStore(store)
	if err != nil {
		return err
	}
	host, err := archive.ReadSources("/")
	if err != nil {
		return err
	}
	s := &stages.Session{Project: p, Store: st, Mirrors: stages.Mirrors{Host: host}, Now: time.Now(), Progress: prog{time.Now()}}
	if cmd == "lock" {
		l, err := s.Lock(ctx)
		if err != nil {
			return err
		}
		b, err := l.Encode()
		if err != nil {
			return err
		}
		return os.WriteFile(dir+"/isotrace.lock", b, 0o644)
	}
	m, err := p.Collect(ctx, st)
	if err != nil {
		return err
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	g, prods := stages.Pipeline(p.Config, p.Lock, m, stages.Fetcher(c))
	log, _ := os.Create("/tmp/journal")
	r := &stage.Runner{Store: st, Epoch: p.Lock.Epoch, Progress: s.Progress, Journal: func(string) io.Writer { return log }}
	res, err := r.Run(ctx, g, prods.ISO)
	if err != nil {
		return err
	}
	fmt.Println(st.Path(res["iso"].Outputs["iso"].File.Digest))
	return nil
}
