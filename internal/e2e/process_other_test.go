//go:build !linux

package e2e

import (
	"os"
	"testing"
	"time"
)

// What only Linux offers of a process.

func (p *process) fillDisk(t testing.TB) func() {
	t.Skip("limiting the files of a running process needs Linux")
	return nil
}

func (p *process) cpu(t testing.TB) time.Duration {
	t.Skip("the figures need Linux")
	return 0
}

func (p *process) memory(t testing.TB, _ string) float64 {
	t.Skip("the figures need Linux")
	return 0
}

func syncData(file *os.File) error { return file.Sync() }
