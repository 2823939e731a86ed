// Package command is what a person types: check, connect, mock, silence and healthcheck. Each
// command takes its arguments and a lookup of settings, and writes what was
// asked for to stdout. Its error is one that the person can act on.
package command

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// manuals has a file for each command, by its name, and one for all of them.
//
//go:embed manuals
var manuals embed.FS

// Usage returns what there is to type, a line for each command.
func Usage() string { return manual("usage") }

// Unknown returns the error about a command that does not exist, with the one
// that was probably meant.
func Unknown(name string) error {
	files, err := manuals.ReadDir("manuals")
	if err != nil {
		panic(err) // the build embeds it
	}
	nearest, least := "", 3 // more changes make it another word
	for _, file := range files {
		known := strings.TrimSuffix(file.Name(), ".txt")
		if d := distance(name, known); d < least && known != "usage" {
			nearest, least = known, d
		}
	}
	if nearest != "" {
		nearest = fmt.Sprintf("; did you mean %s?", nearest)
	}
	return fmt.Errorf("unknown subcommand %q%s\n%s", name, nearest, Usage())
}

// distance returns how many bytes must be added, removed or replaced to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // the distances of a[:i] from each b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal, row[j+1] = row[j+1], min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func manual(name string) string {
	text, err := manuals.ReadFile("manuals/" + name + ".txt")
	if err != nil {
		panic(err) // the build embeds it
	}
	return string(text)
}

// parse reads a command's flags and allows at most rest arguments after them.
// After -h it prints the manual, with the flags in place of {flags}, and reports
// done.
func parse(flags *flag.FlagSet, args []string, rest int, stdout io.Writer) (done bool, err error) {
	flags.SetOutput(io.Discard) // main prints the error
	err = flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		before, after, _ := strings.Cut(manual(flags.Name()), "{flags}\n")
		io.WriteString(stdout, before)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		_, err = io.WriteString(stdout, after)
		return true, err
	}
	if err == nil && flags.NArg() > rest {
		err = fmt.Errorf("unexpected %q", flags.Arg(rest))
	}
	if err != nil {
		return false, fmt.Errorf("%w; see twilio-error-sms %s -h", err, flags.Name())
	}
	return false, nil
}
