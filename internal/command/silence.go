package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/outbox"
)

// Silence silences a code in the outbox, lists what is silenced, or ends a
// silence.
func Silence(ctx context.Context, args []string, getenv func(string) string, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("silence", flag.ContinueOnError)
	if done, err := parse(flags, args, 2, stdout); done || err != nil {
		return err
	}
	verb, object := flags.Arg(0), flags.Arg(1)
	silence := outbox.Silence{Code: object}
	if verb != "list" && verb != "end" {
		var err error
		if silence, err = outbox.ParseSilence(verb, object, time.Now()); err != nil {
			return fmt.Errorf("%w; see twilio-error-sms silence -h", err)
		}
	}
	settings, err := config.Load(getenv)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	settings.Outbox.Logger = slog.New(slog.DiscardHandler)
	box, err := outbox.Open(ctx, settings.DatabaseURL, settings.Outbox)
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		err = listSilences(ctx, box, stdout)
	case "end":
		err = endSilence(ctx, box, object, stdout)
	default:
		if err = box.Silence(ctx, silence); err == nil {
			_, err = fmt.Fprintln(stdout, silence)
		}
	}
	return errors.Join(err, box.Close())
}

func listSilences(ctx context.Context, box *outbox.Outbox, stdout io.Writer) error {
	silences, err := box.Silences(ctx, time.Now())
	if err == nil && len(silences) == 0 {
		_, err = fmt.Fprintln(stdout, "nothing is silenced")
	}
	for _, s := range silences {
		fmt.Fprintln(stdout, s)
	}
	return err
}

func endSilence(ctx context.Context, box *outbox.Outbox, code string, stdout io.Writer) error {
	ended, err := box.EndSilence(ctx, code)
	switch {
	case err != nil:
		return err
	case !ended:
		return fmt.Errorf("%q is not silenced; see twilio-error-sms silence list", code)
	}
	_, err = fmt.Fprintf(stdout, "%s may ring again\n", code)
	return err
}
