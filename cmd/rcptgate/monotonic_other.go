//go:build !linux

package main

import "time"

// monotonic is for systemd, which runs on Linux only.
func monotonic() (time.Duration, bool) { return 0, false }
