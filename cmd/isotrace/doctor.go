package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host lacks, and how to get it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.storeDir()
			if err != nil {
				return err
			}
			return a.doctor(sandbox.Doctor(dir))
		},
	}
}

func (a *app) doctor(findings []sandbox.Finding) error {
	missing := 0
	for _, f := range findings {
		if !f.OK {
			missing++
		}
	}
	err := a.result(findings, func(w io.Writer) error {
		for _, f := range findings {
			mark := "ok   "
			if !f.OK {
				mark = "lacks"
			}
			if _, err := fmt.Fprintf(w, "%s  %-22s %s\n", mark, f.What, f.Why); err != nil {
				return err
			}
			if f.Fix != "" && !f.OK {
				if _, err := fmt.Fprintf(w, "       %-22s → %s\n", "", f.Fix); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil && missing > 0 {
		return fault.New(fault.Failed, "the lines above say how to get it", "this host lacks %d of %d things", missing, len(findings))
	}
	return err
}
