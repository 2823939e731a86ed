package catchup_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/twiliotest"
)

// noon is when the tests begin.
var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// world is Twilio, a phone, and the file that the servers of a test share.
type world struct {
	*testing.T
	log   *memoryLog
	phone *phone
	lines *lines
	file  string
	every time.Duration
	text  string // ALERT_TEXT
	// wrapRecorder and wrapMark, where set, come between a reader and its outbox.
	wrapRecorder func(catchup.Recorder) catchup.Recorder
	wrapMark     func(catchup.Mark) catchup.Mark
}

// inWorld runs a test at noon, in time that passes by itself.
func inWorld(t *testing.T, test func(w *world)) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "alerts.db")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(noon))
		test(&world{T: t, log: &memoryLog{limit: twiliotest.MaxEntries}, phone: new(phone), lines: new(lines), file: file, every: 5 * time.Minute, text: "{code} {time}"})
	})
}

// server is a running process: an outbox, its worker and its reader.
type server struct {
	*outbox.Outbox
	recorder catchup.Recorder
	reader   *catchup.Reader
	stop     func()
}

// serve starts a server. It ends with the test, or by stop.
func (w *world) serve() *server { return w.serveWith(w.log) }

// serveWith starts a server that reads a log.
func (w *world) serveWith(log catchup.ErrorLog) *server {
	text, err := alert.ParseText(w.text)
	if err != nil {
		w.Fatal(err)
	}
	triggers, err := alert.ParseTriggers(alert.DefaultTriggers)
	if err != nil {
		w.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.lines, nil))
	box, err := outbox.Open(w.Context(), "sqlite:"+w.file, outbox.Options{
		Triggers: triggers, Text: text, Recipients: []string{"+15551234567"}, PerHour: 1000,
		GiveUpAfter: 24 * time.Hour, KeepFor: 720 * time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	s := &server{Outbox: box, recorder: box}
	var mark catchup.Mark = box.Mark("catch-up")
	if w.wrapRecorder != nil {
		s.recorder = w.wrapRecorder(box)
	}
	if w.wrapMark != nil {
		mark = w.wrapMark(mark)
	}
	s.reader = catchup.New(log, s.recorder, mark, catchup.Options{Every: w.every, Reach: 720 * time.Hour, Logger: logger})
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { s.reader.Run(ctx) })
	tasks.Go(func() { outbox.NewWorker(box, w.phone).Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		if err := box.Close(); err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(s.stop)
	return s
}

// query returns a number from the database.
func (w *world) query(query string, args ...any) (n int64) {
	db, err := sql.Open("sqlite", w.file)
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

// mark returns where the mark is.
func (w *world) mark() time.Time {
	return time.UnixMilli(w.query(`SELECT at FROM marks WHERE name = 'catch-up'`)).UTC()
}

// newError returns an error that happened a time ago and is in the log since.
func newError(code string, ago time.Duration) twiliotest.Entry {
	at := time.Now().Add(-ago)
	return twiliotest.Entry{SID: twiliotest.NewSID("NO"), Code: code, Level: "error", Generated: at, Created: at}
}

// memoryLog is Twilio's error log without HTTP, which would stop synctest's
// time.
type memoryLog struct {
	twiliotest.Monitor
	// limit is the most entries that it gives for one question.
	limit int
	// fault returns what goes wrong with a question. It may be nil.
	fault func() error

	mu    sync.Mutex
	asked []question
}

// question is what was asked, and when.
type question struct{ at, from, to time.Time }

func (l *memoryLog) ErrorLog(_ context.Context, from, to time.Time) ([]alert.ErrorLogEntry, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, question{time.Now().UTC(), from.UTC(), to.UTC()})
	if l.fault != nil {
		if err := l.fault(); err != nil {
			return nil, false, err
		}
	}
	found := l.Find(from, to)
	found = found[:min(len(found), l.limit)]
	var entries []alert.ErrorLogEntry
	for _, e := range found {
		entries = append(entries, alert.ErrorLogEntry{
			SID: e.SID, Account: twiliotest.AccountSID, Code: e.Code, Level: e.Level, Text: e.Text, Resource: e.Resource,
			Generated: e.Generated.UTC().Format(time.RFC3339),
		})
	}
	return entries, len(entries) == l.limit, nil
}

// questions returns what was asked so far.
func (l *memoryLog) questions() []question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// minutes returns when each question was asked, as the time since noon.
func (l *memoryLog) minutes() (all []time.Duration) {
	for _, q := range l.questions() {
		all = append(all, q.at.Sub(noon).Round(time.Second)) // a file that is locked costs some milliseconds
	}
	return all
}

// phone keeps the SMS that it gets.
type phone struct {
	mu   sync.Mutex
	read []string
}

func (p *phone) Send(_ context.Context, sms alert.SMS) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = append(p.read, sms.Body)
	return twiliotest.NewSID("SM"), nil
}

// messages returns the SMS so far, less the link that ends each.
func (p *phone) messages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, body := range p.read {
		text, _, _ := strings.Cut(body, " https://")
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// lines are what was logged.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// messages returns the level and the message of each line.
func (l *lines) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.all.String()) {
		_, line, _ = strings.Cut(line, "level=")
		level, line, _ := strings.Cut(line, ` msg="`)
		message, _, _ := strings.Cut(line, `"`)
		all = append(all, level+" "+message)
	}
	return all
}
