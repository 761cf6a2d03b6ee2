package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
)

var integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

var short = map[rune]string{
	'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`,
}

// canonical reads a JSON text and writes it by the rules of docs/history.md.
func canonical(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one value")
	}
	var written strings.Builder
	err := write(&written, value)
	return []byte(written.String()), err
}

func write(to *strings.Builder, value any) error {
	switch value := value.(type) {
	case nil:
		to.WriteString("null")
	case bool:
		fmt.Fprint(to, value)
	case json.Number:
		if !integer.MatchString(value.String()) {
			return fmt.Errorf("%s is not a whole number", value)
		}
		to.WriteString(value.String())
	case string:
		writeString(to, value)
	case []any:
		return writeList(to, value)
	case map[string]any:
		return writeObject(to, value)
	}
	return nil
}

func writeList(to *strings.Builder, list []any) error {
	to.WriteByte('[')
	for number, item := range list {
		if number > 0 {
			to.WriteByte(',')
		}
		if err := write(to, item); err != nil {
			return err
		}
	}
	to.WriteByte(']')
	return nil
}

// writeObject sorts names by the bytes of their UTF-8, which is the order of their code points.
func writeObject(to *strings.Builder, object map[string]any) error {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	sort.Strings(names)
	to.WriteByte('{')
	for number, name := range names {
		if number > 0 {
			to.WriteByte(',')
		}
		writeString(to, name)
		to.WriteByte(':')
		if err := write(to, object[name]); err != nil {
			return err
		}
	}
	to.WriteByte('}')
	return nil
}

func writeString(to *strings.Builder, text string) {
	to.WriteByte('"')
	for _, character := range text {
		if escaped, known := short[character]; known {
			to.WriteString(escaped)
		} else if character < 0x20 {
			fmt.Fprintf(to, `\u%04x`, character)
		} else {
			to.WriteRune(character)
		}
	}
	to.WriteByte('"')
}
