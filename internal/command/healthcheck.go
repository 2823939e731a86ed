package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"twilio-error-sms/internal/config"
)

// Healthcheck asks the server on this machine whether it can record alerts: what
// a restart may fix. It fails if not, or if nothing answers within 5 s.
func Healthcheck(ctx context.Context, args []string, getenv func(string) string, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	if done, err := parse(flags, args, 0, stdout); done || err != nil {
		return err
	}
	address, err := config.LocalURL(getenv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/livez", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is the server running? %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("reading the answer of /livez: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s", body)
	}
	_, err = stdout.Write(body)
	return err
}
