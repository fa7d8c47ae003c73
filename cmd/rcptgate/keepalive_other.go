//go:build !linux

package main

import "net"

// keepAlive leaves to Go what is special about Linux.
func keepAlive(*net.ListenConfig) {}
