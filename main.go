// Twilio-error-sms is a webhook server that turns Twilio's error reports into
// SMS: POST /error_trigger takes App Monitor triggers, Alarms, Debugger webhooks
// and Event Streams, and each alert goes once to every phone of ALERT_TO, with
// the link to the error's documentation.
//
// Usage:
//
//	twilio-error-sms              serve; settings come from the environment and .env
//	twilio-error-sms healthcheck  exit 0 if the server on this machine is healthy
//	twilio-error-sms check        say what is wrong with the settings, and how to fix it
//	twilio-error-sms connect      make Twilio send every error to this server
//	twilio-error-sms mock         post a mock notification to a server, as Twilio would
//	twilio-error-sms silence      let a code make no phone ring for a time
//	twilio-error-sms version      print the version
//	twilio-error-sms help         print this list
//
// README.md tells how to set it up.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"twilio-error-sms/internal/admin"
	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/command"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/connections"
	"twilio-error-sms/internal/metrics"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/sms"
)

// stopTimeout is how long requests and SMS in flight get to end. With the closing
// of the outbox after it, the program stops within the 10 s that Docker waits.
const stopTimeout = 8 * time.Second

// memory is beyond what the program needs under load: above it garbage is
// collected at once.
const memory = 80 << 20

// version is the program's. Builds stamp it: -ldflags "-X main.version=…".
var version = "dev"

func main() {
	// A webhook leaves much short-lived garbage beside a heap of a few MB:
	// collecting it a third as often costs 8 MB and saves processor time. What
	// strangers leave is collected sooner.
	debug.SetGCPercent(300)
	debug.SetMemoryLimit(min(memory, debug.SetMemoryLimit(-1)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], config.Environment(".env"), os.Stdout, os.Stderr); err != nil {
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
		return command.Healthcheck(ctx, args[1:], getenv, stdout)
	case "check":
		return command.Check(ctx, args[1:], getenv, stdout)
	case "connect":
		return command.Connect(ctx, args[1:], getenv, stdout)
	case "mock":
		return command.Mock(ctx, args[1:], getenv, stdout)
	case "silence":
		return command.Silence(ctx, args[1:], getenv, stdout)
	case "version":
		_, err := fmt.Fprintf(stdout, "twilio-error-sms %s (%s)\n", version, runtime.Version())
		return err
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(stdout, command.Usage())
		return err
	}
	return command.Unknown(args[0])
}

// serve runs the server until ctx ends. It stops in the order of the data: no
// new webhooks, then no new SMS, then the outbox.
func serve(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	settings, err := config.Load(getenv)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	logger := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: settings.LogLevel}))
	measured := metrics.New()
	measured.Version = version
	settings.Outbox.Logger, settings.Outbox.Observer = logger, measured
	box, err := outbox.Open(ctx, settings.DatabaseURL, settings.Outbox)
	if err != nil {
		return err
	}
	publicListener, adminListener, err := listen(settings)
	if err != nil {
		return errors.Join(err, box.Close())
	}
	logStart(logger, settings, publicListener.Addr())
	worker := outbox.NewWorker(box, newSender(settings, logger, stdout))
	reader := newReader(settings, box, logger)
	var tokenRefused atomic.Value // why, in words
	health := newHealth(box, reader, &tokenRefused)
	public := newServer(NewHandler(settings, box, health, measured.Webhook, logger), logger)
	operator := newServer(admin.New(settings, box, health, measured, logger), logger)
	failed := make(chan error, 2)
	go func() { failed <- public.Serve(publicListener) }()
	if adminListener != nil {
		logger.Info("operator's page", "addr", adminListener.Addr().String())
		go func() { failed <- operator.Serve(adminListener) }()
	}

	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var tasks sync.WaitGroup
	tasks.Go(func() { worker.Run(background) })
	tasks.Go(func() { reader.Run(background) })
	tasks.Go(func() { purge(background, box, logger) })
	tasks.Go(func() { learnAccount(background, settings, box, &tokenRefused, logger) })

	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	logger.Info("stopping")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if slow := public.Shutdown(deadline); slow != nil {
		public.Close()
	}
	stopBackground()
	operator.Close() // at once: its readers can ask again
	if !waitFor(deadline, &tasks) {
		logger.Warn("SMS in flight left for the next start")
	}
	return errors.Join(err, box.Close())
}

// newHealth returns the health of all parts together.
func newHealth(box *outbox.Outbox, reader *catchup.Reader, tokenRefused *atomic.Value) func(context.Context) outbox.Health {
	return func(ctx context.Context) outbox.Health {
		health := box.Health(ctx)
		refused, _ := tokenRefused.Load().(string)
		health.Problem = cmp.Or(health.Problem, refused, reader.Problem())
		return health
	}
}

// logStart logs what runs, and the settings that may not be meant so.
func logStart(logger *slog.Logger, settings config.Config, addr net.Addr) {
	for _, warning := range settings.Warnings {
		logger.Warn("a setting may be wrong", "setting", warning)
	}
	logger.Info("listening", "version", version, "addr", addr.String(), "settings", settings)
}

// listen opens the public listener and, if ADMIN_ADDR is set, the operator's,
// which is nil otherwise.
func listen(settings config.Config) (public, operator net.Listener, err error) {
	public, err = net.Listen("tcp", settings.Addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listening (choose another ADDR or PORT): %w", err)
	}
	if settings.AdminAddr == "" {
		return public, nil, nil
	}
	operator, err = net.Listen("tcp", settings.AdminAddr)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listening (choose another ADMIN_ADDR): %w", err), public.Close())
	}
	return public, operator, nil
}

// newSender returns what sends SMS, or prints them in a dry run.
func newSender(settings config.Config, logger *slog.Logger, stdout io.Writer) outbox.Sender {
	if settings.DryRun {
		return sms.NewConsole(stdout)
	}
	twilio := sms.NewTwilio(settings.Account, settings.From, settings.StatusCallback())
	twilio.Logger = logger
	return twilio
}

// newReader returns the reader of Twilio's error log, which does nothing unless
// POLL_EVERY is set. Each account has its own mark.
func newReader(settings config.Config, box *outbox.Outbox, logger *slog.Logger) *catchup.Reader {
	log := sms.NewTwilio(settings.Account, settings.From, "")
	return catchup.New(log, box, box.Mark("catch-up "+settings.Account.SID), catchup.Options{
		Every:  settings.PollEvery,
		Reach:  settings.Outbox.KeepFor,
		Logger: logger,
	})
}

// newServer returns a server that slow clients, many of them and endless headers
// do not hold up.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	const slack = 4096 // net/http adds it to MaxHeaderBytes
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    64<<10 - slack,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	connections.Limit(server, connections.Most())
	return server
}

// wrongToken is Twilio's error code for credentials that it does not know.
const wrongToken = "20003"

func refusesToken(err error) bool {
	failure, ok := errors.AsType[*alert.SendError](err)
	return ok && failure.Code == wrongToken
}

// learnAccount learns from Twilio whether the account is a trial: the texts of a
// trial's SMS must leave room for Twilio's words before them. While Twilio refuses
// the auth token it says so in tokenRefused, and asks again.
func learnAccount(ctx context.Context, settings config.Config, box *outbox.Outbox, tokenRefused *atomic.Value, logger *slog.Logger) {
	if settings.DryRun {
		return
	}
	twilio := sms.NewTwilio(settings.Account.WithToken(settings.AuthToken), "", "")
	trial, err := twilio.IsTrial(ctx)
	for settings.AuthToken != "" && refusesToken(err) {
		const problem = "Twilio refuses TWILIO_AUTH_TOKEN, so its webhooks are refused here"
		if told := problem + ": " + alert.Advice(wrongToken); tokenRefused.Swap(told) != told {
			logger.Error(problem, "err", alert.Advice(wrongToken))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
		trial, err = twilio.IsTrial(ctx)
	}
	tokenRefused.Store("")
	switch {
	case err != nil && ctx.Err() == nil:
		logger.Info("whether the account is a trial is not known: texts leave no room for Twilio's words before them", "err", err)
	case trial:
		box.UseText(settings.Outbox.Text.ForTrial())
		logger.Info("trial account: texts leave room for Twilio's words before them, and only verified phones get SMS")
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

// waitFor waits for tasks until ctx ends, and reports whether they ended first.
func waitFor(ctx context.Context, tasks *sync.WaitGroup) bool {
	ended, end := context.WithCancel(ctx)
	go func() {
		tasks.Wait()
		end()
	}()
	<-ended.Done()
	return ctx.Err() == nil
}
