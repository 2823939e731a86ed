package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a lookup of Environment answers besides settings, since it cannot
// return an error: what is wrong with its file, and the names in it, each on a
// line. Names of settings have no blanks.
const (
	fileProblems = "file problems"
	fileNames    = "file names" // after each file and line
)

// Environment returns a lookup of settings: in the process's environment, and
// then in the file, which need not exist. What is wrong with the file is an
// error of Load and LoadServer, so that help is there without it.
func Environment(file string) func(string) string {
	values := readFile(file)
	return func(name string) string {
		if value, ok := os.LookupEnv(name); ok {
			return value
		}
		return values[name]
	}
}

var (
	// assignment is a line of a settings file, blanks around it taken off.
	assignment = regexp.MustCompile(`^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$`)
	// inQuotes is a value in quotes, perhaps with a comment after it.
	inQuotes = regexp.MustCompile(`^\s*(".*?"|'.*?')(?:\s+#.*)?$`)
	comment  = regexp.MustCompile(`\s#.*$`)
)

// readFile reads lines of NAME=value, as .env.example has them. All else is
// taken literally, $ and \ too, and no line is ever repeated in an error: it
// may hold a secret. It is ours because godotenv prints such lines, and expands
// $; hashicorp/go-envparse refuses a byte order mark and an apostrophe, and cuts
// a password at #.
func readFile(file string) map[string]string {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return map[string]string{fileProblems: fmt.Sprintf("reading settings: %v", err)}
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return map[string]string{fileProblems: file + ": not in UTF-8; save it again as plain text in UTF-8"}
	}
	values := make(map[string]string)
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		place := fmt.Sprintf("%s, line %d", file, i+1)
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		found := assignment.FindStringSubmatch(line)
		if found == nil {
			values[fileProblems] += place + ": expected NAME=value, or # before a comment\n"
			continue
		}
		name, value := found[1], found[2]
		if quoted := inQuotes.FindStringSubmatch(value); quoted != nil {
			value = quoted[1] // the quotes are taken off later, as those in the environment
		} else if value = comment.ReplaceAllString(value, ""); strings.IndexAny(strings.TrimSpace(value), `"'`) == 0 {
			values[fileProblems] += place + ": expected quotes around the whole value, on one line, or none\n"
		}
		values[name] = value
		values[fileNames] += place + "=" + name + "\n"
	}
	return values
}

// unknown warns of names in the file that are not settings. It comes after all
// settings were read.
func (r *reader) unknown() {
	for entry := range strings.Lines(r.getenv(fileNames)) {
		place, name, _ := strings.Cut(strings.TrimSpace(entry), "=")
		if slices.Contains(r.names, name) {
			continue
		}
		advice := "see .env.example for the names"
		if nearest := Nearest(strings.ToUpper(name), r.names); nearest != "" {
			advice = "did you mean " + nearest + "?"
		}
		if name != strings.ToUpper(name) { // a secret without a name may end with =
			name = "this name"
		}
		r.warn(place, "%s is not a setting; %s", name, advice)
	}
}

// Nearest returns the one of all that shares the most letters with name at both
// ends, "" if these are less than half of it.
func Nearest(name string, all []string) string {
	nearest, best := "", 0
	for _, known := range all {
		shorter := min(len(known), len(name))
		start, end := 0, 0
		for start < shorter && known[start] == name[start] {
			start++
		}
		for end < shorter-start && known[len(known)-1-end] == name[len(name)-1-end] {
			end++
		}
		if common := 2 * (start + end); common >= len(name) && (nearest == "" || common-len(known) > best) {
			nearest, best = known, common-len(known)
		}
	}
	return nearest
}
