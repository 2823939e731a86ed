package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/outbox"
)

// Silence silences a code in the outbox, lists what is silenced, or ends a
// silence.
func Silence(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("silence", flag.ContinueOnError)
	if done, err := parse(flags, args, 2, stdout); done || err != nil {
		return err
	}
	verb, object := flags.Arg(0), flags.Arg(1)
	if verb == "end" && object == "" {
		return errors.New("name the code whose silence ends, such as 11200, or all")
	}
	silence, err := outbox.ParseSilence(verb, object, time.Now())
	if err != nil && verb != "list" && verb != "end" {
		return fmt.Errorf("%w; see twilio-error-sms silence -h", err)
	}
	server, err := config.LoadServer(getenv)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	box, err := visit(ctx, server.DatabaseURL)
	if err != nil {
		return err
	}
	answer := silence.String()
	switch verb {
	case "list":
		answer, err = listed(ctx, box)
	case "end":
		answer, err = ended(ctx, box, object)
	default:
		err = box.Silence(ctx, silence)
	}
	if err == nil {
		_, err = fmt.Fprintln(stdout, answer)
	}
	return errors.Join(err, box.Close())
}

// listed returns what is silenced, a line for each code.
func listed(ctx context.Context, box *outbox.Outbox) (string, error) {
	silences, err := box.Silences(ctx, time.Now())
	if len(silences) == 0 {
		return "nothing is silenced", err
	}
	var lines []string
	for _, s := range silences {
		lines = append(lines, s.String())
	}
	return strings.Join(lines, "\n"), nil
}

// ended ends the silence of a code, and returns what is so now.
func ended(ctx context.Context, box *outbox.Outbox, code string) (string, error) {
	found, err := box.EndSilence(ctx, code)
	if err == nil && !found {
		err = fmt.Errorf("%q is not silenced; see twilio-error-sms silence list", code)
	}
	if err != nil {
		return "", err
	}
	left, err := listed(ctx, box)
	return code + " may ring again; " + left, err
}
