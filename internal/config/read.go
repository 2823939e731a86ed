package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"
)

// Environment returns a lookup of settings: in the process's environment, and
// then in the file, which need not exist.
func Environment(file string) (func(string) string, error) {
	values, err := godotenv.Read(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return func(name string) string {
		if value, ok := os.LookupEnv(name); ok {
			return value
		}
		return values[name]
	}, nil
}

// reader reads settings and collects what is wrong with them.
type reader struct {
	getenv   func(string) string
	problems []error
}

func (r *reader) text(name, fallback string) string {
	return cmp.Or(strings.TrimSpace(r.getenv(name)), fallback)
}

// wrong collects that a setting cannot be used, and what to write instead.
func (r *reader) wrong(name, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

// matching returns the setting if it matches pattern or is empty. The value
// is not repeated: it may be a secret in the wrong place.
func (r *reader) matching(name string, pattern *regexp.Regexp, want string) string {
	value := r.text(name, "")
	if value != "" && !pattern.MatchString(value) {
		r.wrong(name, "expected %s", want)
	}
	return value
}

func (r *reader) bool(name string) bool {
	value, err := strconv.ParseBool(r.text(name, "false"))
	if err != nil {
		r.wrong(name, "expected true or false, got %q", r.text(name, ""))
	}
	return value
}

// duration reads a duration of at least shortest. With the fallback "" it may
// be off, which is 0.
func (r *reader) duration(name, fallback string, shortest time.Duration) time.Duration {
	value := r.text(name, fallback)
	if value == "" || value == "off" && fallback == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < shortest {
		r.wrong(name, "expected a duration of at least %s such as 5m or 24h, got %q", shortest, value)
	}
	return d
}

func (r *reader) list(name string) []string {
	var all []string
	for item := range strings.SplitSeq(r.getenv(name), ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	return all
}
