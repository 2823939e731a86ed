//go:build unix

package connections

import "syscall"

// openFiles returns how many files this process may open.
func openFiles() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 256 // the least of today's systems
	}
	return int(min(files.Cur, 1<<20))
}
