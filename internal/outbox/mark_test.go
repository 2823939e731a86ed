package outbox_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"twilio-error-sms/internal/outbox"
)

// marks returns the mark of the same name at two replicas.
func marks(t *testing.T, address string) (a, b *outbox.Mark) {
	var marks [2]*outbox.Mark
	for i := range marks {
		box, err := outbox.Open(t.Context(), address, outbox.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := box.Close(); err != nil {
				t.Error(err)
			}
		})
		marks[i] = box.Mark("test")
	}
	return marks[0], marks[1]
}

func TestMark(t *testing.T) {
	t.Parallel()
	address := "sqlite:" + filepath.Join(t.TempDir(), "alerts.db")
	synctest.Test(t, func(t *testing.T) {
		a, b := marks(t, address)
		start := time.Now().UTC().Add(-2 * time.Hour)
		later := start.Add(time.Hour)
		take := func(who string, m *outbox.Mark, wantAt time.Time) {
			t.Helper()
			at, held, err := m.Take(t.Context(), start, time.Minute)
			if err != nil || held != !wantAt.IsZero() || !at.Equal(wantAt) {
				t.Errorf("%s: got %v, held %v, error %v, want %v", who, at, held, err, wantAt)
			}
		}
		move := func(who string, m *outbox.Mark, to time.Time, want bool) {
			t.Helper()
			if held, err := m.Move(t.Context(), to, time.Minute); err != nil || held != want {
				t.Errorf("%s: moved %v, error %v, want %v", who, held, err, want)
			}
		}
		refused := time.Time{}
		take("the first takes it where it starts", a, start)
		take("another is refused", b, refused)
		take("who has the lease prolongs it", a, start)
		move("who has it moves the mark", a, later, true)
		move("the mark never moves back", a, start, true)
		move("another does not move it", b, later.Add(time.Hour), false)
		time.Sleep(59 * time.Second)
		take("refused until the lease ends", b, refused)
		time.Sleep(time.Second)
		take("taken over when it ends, where the mark is", b, later)
		take("who lost it is refused", a, refused)
		move("who lost it does not move it", a, later.Add(time.Hour), false)
		if err := a.Release(t.Context()); err != nil {
			t.Error(err)
		}
		take("nor can it end the other's lease", a, refused)
		if err := b.Release(t.Context()); err != nil {
			t.Error(err)
		}
		take("taken as soon as it is released", a, later)
		move("who has it moves the mark far ahead", a, later.Add(24*time.Hour), true)
		move("from the future the mark moves back", a, later, true)
		take("it is where it was", a, later)
	})
}
