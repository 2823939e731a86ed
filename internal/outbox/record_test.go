package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
)

func TestRecordWhileClosingStoresOrSaysThatItDidNot(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		var mu sync.Mutex
		var stored []string
		var clients sync.WaitGroup
		for c := range 20 {
			clients.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("NO%d.%d", c, i)
					_, err := s.box.Record(context.Background(), []alert.Event{event(id, "11200")})
					if err != nil {
						if !errors.Is(err, outbox.ErrClosed) {
							s.Errorf("got %v, want ErrClosed", err)
						}
						return
					}
					mu.Lock()
					stored = append(stored, id)
					mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		if err := s.box.Close(); err != nil {
			s.Error(err)
		}
		clients.Wait()
		s.box = nil
		s.open()
		for _, id := range stored {
			s.want(s.record(event(id, "11200")), "seen before")
		}
		if n := s.count("events"); n != len(stored) {
			s.Errorf("%d events, %d were answered", n, len(stored))
		}
	})
}

func TestNULAndBrokenUTF8DoNotPoisonABatch(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.work()
		dirty := "x\x00y\xff\xfez\u202e" + strings.Repeat("ü", 600)
		form := url.Values{"ErrorCode": {"11200"}, "Description": {dirty}, "AccountSid": {dirty}, "IdempotencyToken": {dirty}, "DateFired": {dirty}, "Log": {dirty}, "CurrentValue": {dirty}, "TimePeriod": {dirty}}
		alarm, err := alert.ParseForm(form, dirty)
		if err != nil {
			s.Fatal(err)
		}
		payload := `{"resource_sid":"SM\u0000` + "\xff" + `","error_code":"11210\u0000","more_info":{"Msg":"a\u0000b` + "\xff" + `"}}`
		debugger, err := alert.ParseForm(url.Values{"Sid": {"NO\x00\xff"}, "AccountSid": {"AC\x00\xff"}, "Level": {"ERROR\x00"}, "Timestamp": {"\x00"}, "Payload": {payload}}, "")
		if err != nil {
			s.Fatal(err)
		}
		got := s.record(alarm, debugger, event("NO1", "11220"))
		if s.want(got, "alert", "alert", "alert"); s.Failed() {
			return
		}
		s.texted(3)
		report, err := alert.ParseReport("id\x00\xff", url.Values{"MessageSid": {"SM0\x00"}, "MessageStatus": {"delivered\x00\xff"}})
		if err == nil {
			_, err = s.box.Deliver(s.Context(), report)
			if err != nil {
				s.Error(err)
			}
		}
	})
}

func TestCallerThatHasGoneRecordsNothing(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		for i := range 20 {
			id := fmt.Sprint("NO", i)
			if _, err := s.box.Record(ctx, []alert.Event{event(id, "11200")}); err != nil {
				if n := s.count("events WHERE id = '" + id + "'"); n != 0 {
					s.Errorf("%v, but the event is stored", err)
				}
			}
		}
	})
}

func TestNothingToRecordIsNoWork(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		if got := s.record(); got != nil {
			s.Errorf("got %v", got)
		}
	})
}

func TestDatabaseOfANewerProgramIsRefused(t *testing.T) {
	eachEngine(t, func(s *store) {
		s.open()
		s.close()
		s.exec("UPDATE outbox_schema SET version = version + 1")
		box, err := outbox.Open(s.Context(), s.address, s.options)
		if err == nil {
			box.Close()
			s.Fatal("opened")
		}
		if !strings.Contains(err.Error(), "written by a newer program (schema 3, this one knows 2)") {
			s.Errorf("got %v", err)
		}
	})
}
