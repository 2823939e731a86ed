package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// parseFlags reads a subcommand's flags and allows at most rest arguments after
// them. It reports done after -h, which prints the manual, with the flags in
// place of {flags}.
func parseFlags(flags *flag.FlagSet, args []string, rest int, manual string, stdout io.Writer) (done bool, err error) {
	flags.SetOutput(io.Discard) // the error says it all, and comes from main
	err = flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		before, after, _ := strings.Cut(manual, "{flags}\n")
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
