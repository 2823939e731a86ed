package pgtest

import "syscall"

// attributes are those of a process of the server: it belongs to a user, and
// ends with the test binary, should that be killed.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGQUIT}
}
