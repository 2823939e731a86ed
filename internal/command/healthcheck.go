package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"twilio-error-sms/internal/config"
)

// Healthcheck asks the server on this machine whether it can record alerts: what
// a restart may fix. It fails if not, or if nothing answers within 5 s.
func Healthcheck(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	if done, err := parse(flags, args, 0, stdout); done || err != nil {
		return err
	}
	server, wrong := config.LoadServer(getenv)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.LocalURL()+"/livez", nil)
	if err != nil {
		return err
	}
	response, body, err := exchange(request)
	switch {
	case err != nil:
		err = fmt.Errorf("is the server running? %w", err)
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("not healthy: %s", body)
	default:
		_, err = fmt.Fprintln(stdout, body)
		return err
	}
	return errors.Join(err, wrong)
}
