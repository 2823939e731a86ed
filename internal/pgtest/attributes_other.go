//go:build !linux

package pgtest

import "syscall"

// attributes are those of a process of the server: it belongs to a user.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential}
}
