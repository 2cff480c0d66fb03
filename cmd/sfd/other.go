//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
)

func serve(context.Context, *config, *slog.Logger) error {
	return fmt.Errorf("running machines needs Linux: %w", errors.ErrUnsupported)
}

func stand(context.Context, *config, *slog.Logger) error { return errors.ErrUnsupported }

func lockDir(context.Context, *config) (io.Closer, error) {
	return nil, fmt.Errorf("a data directory needs Linux: %w", errors.ErrUnsupported)
}

func dialGuard(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }

// dialDaemon finds nobody: no sfd runs elsewhere than on Linux.
func dialDaemon(context.Context, *config) (net.Conn, error) { return nil, errNoDaemon }

func runDoctor(context.Context, *config, *call) error {
	return fmt.Errorf("doctor: a host of machines needs Linux: %w", errors.ErrUnsupported)
}

func cleanup(context.Context, *config, *slog.Logger) error { return nil }
