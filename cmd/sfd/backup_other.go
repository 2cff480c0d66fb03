//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

func lockDir(context.Context, *config) (io.Closer, error) {
	return nil, fmt.Errorf("a data directory needs Linux: %w", errors.ErrUnsupported)
}

// No sfd runs elsewhere.
func askDaemon(context.Context, *config, io.Writer) (bool, error) { return false, nil }
