// Package strictjson reads JSON that is signed or believed, and refuses what two readers
// could take for two things: a member that stands twice, a name that differs from a known
// one in its case alone, text that is not UTF-8, and whatever follows the value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxDepth bounds objects and lists within each other.
	maxDepth = 100
	// maxInteger is the largest number that every reader keeps as it is: RFC 8259, section 6.
	maxInteger = 1<<53 - 1
)

// Unmarshal reads one value of a format of ours: numbers are whole and at most 2^53-1 either
// way, and a member that to does not know is an error.
func Unmarshal(text []byte, to any) error {
	if err := check(text, true); err != nil {
		return err
	}
	return explain(jsonv2.Unmarshal(text, to, jsonv2.RejectUnknownMembers(true)))
}

// UnmarshalOpen reads one value of a format of others, which may have more members than to
// knows. to is a pointer to a zero value.
func UnmarshalOpen(text []byte, to any) error {
	if err := check(text, false); err != nil {
		return err
	}
	if err := jsonv2.Unmarshal(text, to); err != nil {
		return explain(err)
	}
	// Most readers in Go take names in any case.
	folded := reflect.New(reflect.TypeOf(to).Elem())
	if err := json.Unmarshal(text, folded.Interface()); err != nil {
		return err
	}
	if !reflect.DeepEqual(folded.Interface(), to) {
		return errors.New("json: has a member whose name differs from a known one in its case alone")
	}
	return nil
}

// Check tells whether a text is one value that every reader takes for the same, whatever it
// is about. It is for what a library reads after it.
func Check(text []byte) error { return check(text, false) }

// check reads the tokens of a text; whole wants its numbers to be whole.
func check(text []byte, whole bool) error {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	for first := true; first || dec.StackDepth() > 0; first = false {
		t, err := dec.ReadToken()
		if err != nil {
			return explain(err)
		}
		if dec.StackDepth() > maxDepth {
			return fmt.Errorf("json: more than %d levels within each other", maxDepth)
		}
		if whole && t.Kind() == '0' {
			if n, err := strconv.ParseInt(t.String(), 10, 64); err != nil || n > maxInteger || n < -maxInteger || t.String() == "-0" {
				return fmt.Errorf("json: %s: the number %.40s is not whole, or too large", dec.StackPointer(), t)
			}
		}
	}
	if rest := bytes.TrimLeft(text[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return errors.New("json: something follows it")
	}
	return nil
}

// explain says in our words what a reader found.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("json: it ends too early: %w", io.ErrUnexpectedEOF)
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("json: %q stands twice", string(syntax.JSONPointer))
		}
		return fmt.Errorf("json: %q: %w", string(syntax.JSONPointer), syntax.Err)
	}
	var semantic *jsonv2.SemanticError
	if errors.As(err, &semantic) {
		if errors.Is(err, jsonv2.ErrUnknownName) {
			return fmt.Errorf("json: unknown field %q", semantic.JSONPointer.LastToken())
		}
		if semantic.Err == nil {
			return fmt.Errorf("json: %q cannot be %s", string(semantic.JSONPointer), semantic.JSONKind)
		}
		return fmt.Errorf("json: %q: %w", string(semantic.JSONPointer), semantic.Err)
	}
	return err
}
