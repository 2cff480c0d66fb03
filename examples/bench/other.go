//go:build !linux

package main

import (
	"errors"
	"io"
)

func system(string, int) error      { return errors.ErrUnsupported }
func serve(io.Writer) error         { return errors.ErrUnsupported }
func load(string) ([]figure, error) { return nil, errors.ErrUnsupported }
