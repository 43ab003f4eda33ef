package customise

import "testing"

func TestSetVariables(t *testing.T) {
	// The lines of casper's own file.
	const shipped = `# Supported variables are: USERNAME, USERFULLNAME, HOST, BUILD_SYSTEM, FLAVOUR

export USERNAME="casper"
export HOST="casper"

# USERNAME and HOST as given above are not used unless FLAVOUR is set.

# export FLAVOUR="Ubuntu"
`
	for _, c := range []struct {
		name, text string
		list       []Variable
		want       string
	}{
		{"set, commented and missing", shipped, []Variable{{"USERNAME", "demo"}, {"USERFULLNAME", "A Demo"}, {"FLAVOUR", "Rescue"}}, `# Supported variables are: USERNAME, USERFULLNAME, HOST, BUILD_SYSTEM, FLAVOUR

export USERNAME="demo"
export HOST="casper"

# USERNAME and HOST as given above are not used unless FLAVOUR is set.

export FLAVOUR="Rescue"
export USERFULLNAME="A Demo"
`},
		{"a value wins over a comment", "# HOST=a\nHOST=b\n", []Variable{{"HOST", "c"}}, "# HOST=a\nexport HOST=\"c\"\n"},
		{"empty", "", []Variable{{"HOST", "c"}}, "export HOST=\"c\"\n"},
		{"no end of line", "x=1", []Variable{{"HOST", "c"}}, "x=1\nexport HOST=\"c\"\n"},
		{"no other name", "export MYHOST=a\n", []Variable{{"HOST", "c"}}, "export MYHOST=a\nexport HOST=\"c\"\n"},
	} {
		if have := setVariables(c.text, c.list); have != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, have, c.want)
		}
	}
}
