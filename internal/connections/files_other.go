//go:build !unix

package connections

// openFiles returns how many files this process may open.
func openFiles() int { return 4096 }
