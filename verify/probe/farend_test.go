package probe_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rcptgate/rcptgate/internal/mxsim"
)

// farEndVariable has the test binary be the far end of a benchmark: its value is a farEnd.
const farEndVariable = "RCPTGATE_TEST_FAR_END"

// farEnd is a world in a process of its own, so that its cost is not that of who asks. It ends with
// its standard input, and fails if a connection came to it that ended without QUIT.
type farEnd struct {
	RTT     time.Duration
	Domains int
}

func TestMain(m *testing.M) {
	if value, ok := os.LookupEnv(farEndVariable); ok {
		if err := serveFarEnd(value); err != nil {
			fmt.Fprintln(os.Stderr, "far end:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// domain returns the name of a domain of the far end.
func (farEnd) domain(i int) string { return fmt.Sprintf("d%d.test", i) }

// serveFarEnd is the life of the process. It says where it listens in a line on standard output.
func serveFarEnd(value string) error {
	var end farEnd
	if err := json.Unmarshal([]byte(value), &end); err != nil {
		return err
	}
	sim := mxsim.New(mxsim.Config{Loopback: true})
	defer sim.Close()
	for i := range end.Domains {
		s := site(end.domain(i))
		s.Hosts[0].Latency, s.Hosts[0].DiscardCommands = end.RTT, true
		sim.Add(s)
	}
	at, err := sim.Listen(context.Background())
	if err != nil {
		return err
	}
	if err = json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	if _, err = io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	// On a busy machine a QUIT may have been sent, and not been read yet.
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	limit := time.After(10 * time.Second)
	for waiting := true; waiting && withoutQuit(sim) > 0; {
		select {
		case <-look.C:
		case <-limit:
			waiting = false
		}
	}
	for _, s := range sim.Sites() {
		if n := len(s.Hosts[0].Record().WithoutQuit()); n > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d connections without QUIT", s.Domains[0], n))
		}
	}
	return err
}

// withoutQuit counts the connections that have not said QUIT.
func withoutQuit(sim *mxsim.World) (n int) {
	for _, s := range sim.Sites() {
		n += len(s.Hosts[0].Record().WithoutQuit())
	}
	return n
}

// start runs the far end until the benchmark is over.
func (end farEnd) start(b *testing.B) mxsim.Listening {
	b.Helper()
	value, err := json.Marshal(end)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), farEndVariable+"="+string(value))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("far end: %v: %s", err, complaints.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		b.Fatalf("far end: %v", err)
	}
	var at mxsim.Listening
	if err := json.Unmarshal(line, &at); err != nil {
		b.Fatalf("far end: %v", err)
	}
	return at
}
