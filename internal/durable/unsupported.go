//go:build !unix

package durable

// Files are locked with flock, and replaced by a rename that is one step (POSIX), which promises that
// state is never half a file: other systems have neither. The name stands in the compiler's error.
var _ = rcptgate_runs_on_Linux_BSD_and_macOS_only
