// Twilio-error-sms is a webhook server that turns what Twilio says of errors
// in an application into SMS: POST /error_trigger takes App Monitor triggers,
// Alarms, Debugger webhooks and Event Streams, and each alert goes to the
// phones of ALERT_TO once, with the link to the error's documentation.
//
// Usage:
//
//	twilio-error-sms              serve; settings come from the environment and .env
//	twilio-error-sms healthcheck  exit 0 if the server on this machine is well
//	twilio-error-sms check        say what is wrong with the settings, and how to mend it
//	twilio-error-sms mock         post a mock notification to a server, as Twilio would
//
// README.md tells how to set it up.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/sms"
)

// stopTimeout bounds the end, with what closing takes after it, to 10 s:
// requests and SMS in flight by then are settled at the next start.
const stopTimeout = 8 * time.Second

func main() {
	// A webhook leaves much short-lived garbage beside a heap of a few MB:
	// collecting it a third as often costs 8 MB and saves processor time.
	debug.SetGCPercent(300)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	getenv, err := environment(".env")
	if err == nil {
		err = run(ctx, os.Args[1:], getenv, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "twilio-error-sms: %v\n", err)
		os.Exit(1)
	}
}

// run is the program: it serves, or runs the subcommand of args, until ctx
// ends. SMS of a dry run and answers of subcommands go to stdout, the log to
// stderr.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return serve(ctx, getenv, stdout, stderr)
	}
	switch args[0] {
	case "healthcheck":
		return healthcheck(ctx, args[1:], getenv, stdout)
	case "check":
		return check(ctx, args[1:], getenv, stdout)
	case "mock":
		return mock(ctx, args[1:], getenv, stdout, stderr)
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("unknown subcommand %q\n%s", args[0], usage)
}

const usage = `usage: twilio-error-sms [subcommand]

Without a subcommand it serves webhooks of Twilio and texts alerts; settings
come from the environment and from .env, see README.md and .env.example.

  healthcheck   ask the server on this machine whether it is well
  check         say what is wrong with the settings, and how to mend it
  mock          post a mock notification to a server, as Twilio would
  help          print this

Each of them has a manual: twilio-error-sms check -h
`

// serve runs the server until ctx ends.
func serve(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	config, err := LoadConfig(getenv)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: config.LogLevel}))
	metrics := NewMetrics()
	options := outboxOptions(config, logger)
	options.Observer = metrics
	box, err := outbox.Open(ctx, config.DatabaseURL, options)
	if err != nil {
		return err
	}
	listener, adminListener, err := listen(config)
	if err != nil {
		return errors.Join(err, box.Close())
	}
	logger.Info("listening", "addr", listener.Addr().String(), "settings", config)
	reader := newReader(config, box, logger)
	server := newServer(NewHandler(config, watched{box, reader}, metrics, logger), logger)
	admin := newServer(NewAdmin(config, watched{box, reader}, metrics, logger), logger)
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	if adminListener != nil {
		logger.Info("operator's page", "addr", adminListener.Addr().String())
		go func() { failed <- admin.Serve(adminListener) }()
	}

	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var tasks sync.WaitGroup
	worker := outbox.NewWorker(box, newSender(config, stdout))
	tasks.Go(func() { worker.Run(background) })
	tasks.Go(func() { reader.Run(background) })
	tasks.Go(func() { purge(background, box, logger) })

	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	logger.Info("stopping")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if slow := server.Shutdown(deadline); slow != nil {
		server.Close()
	}
	stopBackground()
	admin.Close() // its readers come again
	if !waitFor(deadline, &tasks) {
		logger.Warn("SMS in flight left for the next start")
	}
	return errors.Join(err, box.Close())
}

// listen opens the public listener and, where ADMIN_ADDR is set, the
// operator's, which is nil otherwise.
func listen(config Config) (public, admin net.Listener, err error) {
	public, err = net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listening (choose another ADDR or PORT): %w", err)
	}
	if config.AdminAddr == "" {
		return public, nil, nil
	}
	admin, err = net.Listen("tcp", config.AdminAddr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listening (choose another ADMIN_ADDR): %w", err), public.Close())
	}
	return public, admin, nil
}

func outboxOptions(config Config, logger *slog.Logger) outbox.Options {
	return outbox.Options{
		Triggers:    config.Triggers,
		Text:        config.Text,
		Recipients:  config.To,
		PerHour:     config.PerHour,
		GiveUpAfter: config.GiveUpAfter,
		KeepFor:     config.KeepFor,
		Logger:      logger,
	}
}

// newSender returns what takes SMS to phones.
func newSender(config Config, stdout io.Writer) outbox.Sender {
	if config.DryRun {
		return sms.NewConsole(stdout)
	}
	callback := ""
	if config.PublicURL != "" {
		callback = config.PublicURL + "/message_status"
	}
	return sms.NewTwilio(config.Account, config.From, callback)
}

// newReader returns what reads Twilio's own log into the outbox, where
// POLL_EVERY asks for it. Each account has a mark of its own.
func newReader(config Config, box *outbox.Outbox, logger *slog.Logger) *catchup.Reader {
	log := sms.NewTwilio(config.Account, config.From, "")
	return catchup.New(log, box, box.Mark("catch-up "+config.Account.SID), catchup.Options{
		Every:  config.PollEvery,
		Reach:  config.KeepFor,
		Logger: logger,
	})
}

// watched is an outbox that is not well when the reader that feeds it is not.
type watched struct {
	*outbox.Outbox
	reader *catchup.Reader
}

// Health says how the outbox is, and then the reader.
func (w watched) Health(ctx context.Context) outbox.Health {
	health := w.Outbox.Health(ctx)
	health.Problem = cmp.Or(health.Problem, w.reader.Problem())
	return health
}

// newServer returns a server that slow clients and endless headers do not hold
// up.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	const slack = 4096 // that net/http adds to MaxHeaderBytes
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64<<10 - slack,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// purge deletes old history every hour until ctx ends.
func purge(ctx context.Context, box *outbox.Outbox, logger *slog.Logger) {
	for {
		if err := box.Purge(ctx); err != nil && ctx.Err() == nil {
			logger.Error("old history stays", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}

// waitFor waits for tasks until ctx ends, and reports whether they did first.
func waitFor(ctx context.Context, tasks *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() {
		tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

const healthcheckManual = `NAME
  twilio-error-sms healthcheck - ask the server on this machine whether it is well

SYNOPSIS
  twilio-error-sms healthcheck

DESCRIPTION
  Asks GET /healthz at ADDR and prints the answer: ok, and a line for each
  kind of SMS that did not reach its phone in the last day. It is the
  container's health check.

EXIT STATUS
  0 when alerts can be stored and sent; 1 when not, or when nothing answers.

EXAMPLE
  twilio-error-sms healthcheck
`

// healthcheck asks the server on this machine whether it is well.
func healthcheck(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	if done, err := parseFlags(flags, args, 0, healthcheckManual, stdout); done || err != nil {
		return err
	}
	s := &settings{getenv: getenv}
	var config Config
	s.addresses(&config)
	if err := errors.Join(s.problems...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, localURL(config.Addr)+"/healthz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is the server running? %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		return fmt.Errorf("reading the answer of /healthz: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not well: %s", body)
	}
	_, err = stdout.Write(body)
	return err
}

// localURL returns where this machine reaches the listener at addr.
func localURL(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
