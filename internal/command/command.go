// Package command is what a person types: check, connect, mock, silence and
// healthcheck. Each command takes its arguments and a lookup of settings, and
// writes what was asked for to stdout. Its error is one that the person can act on.
package command

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/outbox"
)

// files has manuals, one for each command by its name and one for all of them,
// and mocks, one for each kind of notification.
//
//go:embed manuals mocks
var files embed.FS

// Usage returns what there is to type, a line for each command.
func Usage() string { return manual("usage") }

// Unknown returns the error about a command that does not exist, with the one
// that was probably meant.
func Unknown(name string) error {
	meant := config.Nearest(name, []string{"check", "connect", "healthcheck", "help", "mock", "silence", "version"})
	if meant != "" {
		meant = fmt.Sprintf("; did you mean %s?", meant)
	}
	return fmt.Errorf("unknown subcommand %q%s\n%s", name, meant, Usage())
}

func manual(name string) string { return file("manuals/" + name + ".txt") }

func file(name string) string {
	text, err := files.ReadFile(name)
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

// visit opens the server's database, which must be there: another one, made here,
// would change nothing.
func visit(ctx context.Context, address string) (*outbox.Outbox, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("no database at %s; start the server first and run this in its folder, or set DATABASE_URL to the server's", file)
		}
	}
	return outbox.Visit(ctx, address)
}
