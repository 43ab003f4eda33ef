package customise

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// casperConf is what casper reads before it makes the user of the live system.
const casperConf = "etc/casper.conf"

// Variable is one of casper.conf.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"` // without quotes, $ and backslashes
}

func (c *customisation) casper(_ context.Context, p Params) error {
	if len(p.LiveSession) == 0 {
		return nil
	}
	text, err := regular.Read(c.root, casperConf, maxEdited)
	if err != nil {
		return fault.New(fault.Usage, "add casper to packages", "live-session: the tree has no casper: %w", err)
	}
	st, err := c.root.Stat(casperConf)
	if err != nil {
		return err
	}
	return c.write(casperConf, setVariables(string(text), p.LiveSession), st.Mode().Perm())
}

// setVariables gives variables of a shell's file their values: in the first line that
// sets one, or would if it were no comment, and at the end where there is none.
func setVariables(text string, list []Variable) string {
	for _, v := range list {
		set := fmt.Sprintf("export %s=\"%s\"", v.Name, v.Value)
		line := regexp.MustCompile(`(?m)^[ \t]*(export[ \t]+)?` + v.Name + `=.*$`)
		if !line.MatchString(text) {
			line = regexp.MustCompile(`(?m)^#[ \t]*(export[ \t]+)?` + v.Name + `=.*$`)
		}
		if at := line.FindStringIndex(text); at != nil {
			text = text[:at[0]] + set + text[at[1]:]
			continue
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += set + "\n"
	}
	return text
}
