//go:build !linux

package image

import (
	"errors"
	"fmt"
	"os/exec"
)

func outputExceeded(error, string) bool { return false }

func confine(*exec.Cmd, string, string) (func() error, error) {
	return func() error { return nil }, nil
}

// runLimited refuses: without limits a stranger's image is not converted.
func runLimited(cmd *exec.Cmd, _ int64) error {
	return fmt.Errorf("limit %s: %w on this operating system", cmd.Path, errors.ErrUnsupported)
}
