package outbox

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sqliteFile returns the file in an address of SQLite, without its scheme. Forms
// that others understand in other ways are refused.
func sqliteFile(rest string) (string, error) {
	file, _, parameters := strings.Cut(rest, "?")
	name := strings.TrimLeft(strings.TrimPrefix(file, "file:"), "/")
	if strings.HasPrefix(file, "///") || strings.HasPrefix(file, "/") && !strings.HasPrefix(file, "//") {
		name = "/" + name
	}
	switch {
	case strings.HasPrefix(file, "~"):
		return "", errors.New("DATABASE_URL has a ~, which means nothing here: write the folder in full, such as sqlite:/var/lib/alerts.db")
	case strings.Trim(file, "/") == "":
		return "", errors.New("DATABASE_URL has no file: use sqlite:alerts.db")
	case strings.HasPrefix(file, ":"):
		return "", errors.New("DATABASE_URL has no file, so a restart would lose what it holds: use sqlite:alerts.db")
	case parameters || file != name:
		return "", fmt.Errorf("DATABASE_URL takes a file without // and parameters: write sqlite:%s", name)
	}
	return file, nil
}

// postgresConfig reads an address of Postgres. Its error names the place or the
// parameter that is wrong, and repeats nothing: it may be secret.
func postgresConfig(address string) (*pgx.ConnConfig, error) {
	_, rest, _ := strings.Cut(address, "://")
	login, place, found := strings.Cut(rest, "@")
	if !found {
		login, place = "", rest
	}
	host, _, _ := strings.Cut(place, "/")
	if _, err := url.PathUnescape(login); err != nil {
		return nil, errors.New("DATABASE_URL has a raw % in its user or password: write %25 for it")
	}
	if strings.Contains(host, "@") && !strings.Contains(host, "?") {
		return nil, errors.New("DATABASE_URL has a raw @ in its user or password: write %40 for it")
	}
	config, err := pgx.ParseConfig(address)
	if err == nil {
		return config, nil
	}
	path, query, _ := strings.Cut(place, "?")
	base := strings.TrimSuffix(address, place) + path
	parameters := strings.Split(query, "&")
	for i, parameter := range parameters {
		others := slices.Delete(slices.Clone(parameters), i, i+1)
		if _, err := pgx.ParseConfig(base + "?" + strings.Join(others, "&")); err == nil {
			name, _, _ := strings.Cut(parameter, "=")
			return nil, fmt.Errorf("pgx cannot use the value of %s in DATABASE_URL: write one that Postgres knows, such as sslmode=require, or take the parameter out", name)
		}
	}
	return nil, errors.New("pgx cannot read DATABASE_URL: write postgres://user:password@host:5432/database, with %2F for a / in user and password, and so on")
}

// withAdvice adds to an error of Postgres or a pooler what to do about a
// parameter that it does not know.
func withAdvice(err error) error {
	var postgres *pgconn.PgError
	if errors.As(err, &postgres) && (postgres.Code == "42704" || postgres.Code == "08P01") && strings.Contains(postgres.Message, "parameter") {
		return fmt.Errorf("%w: take that parameter out of DATABASE_URL", err)
	}
	return err
}
