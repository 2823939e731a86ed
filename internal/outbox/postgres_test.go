package outbox_test

import (
	"testing"

	"twilio-error-sms/internal/outbox/outboxtest"
	"twilio-error-sms/internal/pgtest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	outboxtest.Test(t, func(t *testing.T) string { return server.Database(t) })
}
