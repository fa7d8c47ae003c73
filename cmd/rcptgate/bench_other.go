//go:build !linux

package main

import "os/exec"

// dieWithParent does nothing here: if this process is killed, the command goes on.
func dieWithParent(*exec.Cmd) {}
