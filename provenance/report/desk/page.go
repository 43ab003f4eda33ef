package desk

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the program of the page
	"encoding/base64"
	"fmt"
	"html"
	"io"

	"github.com/isotrace/isotrace/internal/printable"
	"github.com/isotrace/isotrace/provenance"
)

// Made by make desk from web/.
var (
	//go:embed dist/desk.js
	script []byte
	//go:embed dist/desk.css
	style []byte
)

// Policy is the page's content security policy: what is in the page may run, and
// nothing may be fetched, sent or framed.
func Policy() string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; font-src data:; img-src data:; base-uri 'none'; form-action 'none'", source(script), source(style))
}

func source(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func writePage(w io.Writer, in Input, packed []byte) error {
	for _, part := range [][]byte{script, style} {
		if lower := bytes.ToLower(part); bytes.Contains(lower, []byte("</script")) || bytes.Contains(lower, []byte("</style")) || bytes.Contains(lower, []byte("<!--")) {
			return fmt.Errorf("the page's program would end before its end")
		}
	}
	title := html.EscapeString(printable.Line(in.Tracing.Name + " " + in.Tracing.Release + ": the auditor's desk"))
	_, err := fmt.Fprintf(w, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>%s</title>
<style>%s</style>
</head>
<body>
<div id="app">
<noscript>
<main>
<h1>%s</h1>
<p>%s</p>
<p>Everything else on this page needs JavaScript. The same documents are in the files beside it.</p>
</main>
</noscript>
</div>
<script type="application/octet-stream" id="data">%s</script>
<script>%s</script>
</body>
</html>
`, Policy(), title, style, title, html.EscapeString(printable.Line(sentence(in.Verdict))), base64.StdEncoding.EncodeToString(packed), script)
	return err
}

// sentence is the verdict in a sentence.
func sentence(r provenance.Result) string {
	open := 0
	for _, c := range r.Checks {
		if c.State == provenance.CannotTell {
			open++
		}
	}
	return fmt.Sprintf("%s, SHA-256 %s: of %d checks %d hold, %d do not, and of %d nothing can be told.", r.Image, r.Digest, len(r.Checks), r.Proved(), len(r.Failed()), open)
}
