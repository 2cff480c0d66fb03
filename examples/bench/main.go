// Command bench measures a cloud on this machine beside its parts and prints a
// table of ratios; `make bench` runs it after the packages' own benchmarks, whose
// output it is given.
//
// It starts the daemon in a network namespace of its own, so that nothing of the
// machine is touched, and calls it over HTTP as its users do. It needs root, QEMU
// and nothing else that is running on the machine. Figures differ from machine to
// machine; the ratios of one run are what counts.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// Modes that the program runs itself in.
const (
	modeSystem = "system" // in a network namespace of its own
	modeServe  = "serve"  // a simulated cloud's API, to be loaded
)

func main() {
	sfd := flag.String("sfd", "bin/sfd", "the daemon's binary")
	from := flag.String("from", "", "output of go test -bench, to be shown in the table too")
	rounds := flag.Int("n", 20, "how often each operation is measured")
	mode := flag.String("mode", "", "used by the program itself")
	flag.Parse()
	var err error
	switch *mode {
	case modeServe:
		err = serve(os.Stdout)
	case modeSystem:
		err = system(*sfd, *rounds)
	default:
		err = run(*sfd, *from, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(sfd, from string, rounds int) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it needs root: it starts machines and networks")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-mode", modeSystem, "-sfd", sfd, "-n", fmt.Sprint(rounds))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("measuring the daemon: %w", err)
	}
	figures, err := parse(out)
	if err != nil {
		return err
	}
	api, err := load(self)
	if err != nil {
		return fmt.Errorf("measuring the API: %w", err)
	}
	figures = append(figures, api...)
	if from != "" {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		packages, err := parse(text)
		if err != nil {
			return err
		}
		figures = append(figures, packages...)
	}
	return table(os.Stdout, figures)
}

// median of durations, in nanoseconds.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2])
}
