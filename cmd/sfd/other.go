//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

func serve(context.Context, *config, *slog.Logger) error {
	return fmt.Errorf("running machines needs Linux: %w", errors.ErrUnsupported)
}

func cleanup(context.Context, *config, *slog.Logger) error { return nil }
