package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// reader reads settings and collects what is wrong with them, and what is odd.
type reader struct {
	getenv   func(string) string
	names    []string // of the settings read
	problems []error
	warnings []string
}

func newReader(getenv func(string) string) *reader {
	r := &reader{getenv: getenv}
	if problems := strings.TrimSpace(getenv(fileProblems)); problems != "" {
		r.problems = append(r.problems, errors.New(problems))
	}
	return r
}

// text returns a setting without the blanks and the one pair of quotes around
// it: docker run --env-file keeps the quotes.
func (r *reader) text(name, fallback string) string {
	r.names = append(r.names, name)
	value := strings.TrimSpace(r.getenv(name))
	if n := len(value); n > 1 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
		value = strings.TrimSpace(value[1 : n-1])
	}
	return cmp.Or(value, fallback)
}

// wrong collects that a setting cannot be used, and what to write instead.
func (r *reader) wrong(name, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

// expected collects that a setting is not what was expected, and repeats a short
// value. A long one may be a secret in the wrong place.
func (r *reader) expected(name, want, got string) {
	const longest = 24
	if len(got) <= longest {
		want += fmt.Sprintf(", got %q", got)
	}
	r.wrong(name, "expected %s", want)
}

// warn collects that a setting is probably not what was meant.
func (r *reader) warn(name, format string, args ...any) {
	r.warnings = append(r.warnings, name+": "+fmt.Sprintf(format, args...))
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
	switch text := r.text(name, "false"); strings.ToLower(text) {
	case "true", "t", "1", "yes", "on":
		return true
	case "false", "f", "0", "no", "off":
	default:
		r.expected(name, "true or false", text)
	}
	return false
}

// duration reads a duration of at least shortest. With the fallback "" it may
// be off, which is 0. In place of what is wrong it returns what may be right, so
// that nothing else seems wrong because of it.
func (r *reader) duration(name, fallback string, shortest time.Duration) time.Duration {
	text := r.text(name, fallback)
	value := strings.ToLower(strings.Join(strings.Fields(text), ""))
	if value == "" || value == "off" && fallback == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err == nil && d >= shortest {
		return d
	}
	want := "a duration of at least " + short(shortest)
	if err != nil {
		want += " in the units h, m and s, such as 720h for 30 days"
	}
	r.expected(name, want, text)
	d, _ = time.ParseDuration(fallback)
	return max(d, shortest)
}

// short returns a duration as people write it: 24h, not 24h0m0s.
func short(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}

// list reads what stands between commas, semicolons or line breaks, without the
// quotes around each or all of it, and each once.
func (r *reader) list(name string) []string {
	var all []string
	for item := range strings.FieldsFuncSeq(r.text(name, ""), func(c rune) bool { return strings.ContainsRune(",;\r\n", c) }) {
		item = strings.TrimFunc(item, func(c rune) bool { return c == '"' || c == '\'' || unicode.IsSpace(c) })
		if item != "" && !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	return all
}
