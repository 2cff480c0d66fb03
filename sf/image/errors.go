package image

import (
	"errors"
	"fmt"

	"github.com/shakenfist/cloud/driver"
)

// Errors of this package; compare with errors.Is. All but ErrChanged and
// ErrNotCached are also ErrPermanent.
var (
	// ErrPermanent: trying again gives the same; somebody has to change something.
	ErrPermanent = driver.ErrPermanent
	// ErrChanged: the origin has other bytes than those described.
	ErrChanged = errors.New("the image changed at its origin")
	// ErrNotCached: no image with this ID is here; fetch it again.
	ErrNotCached = errors.New("image is not in the cache")
	// ErrForbidden: the address is not for tenants.
	ErrForbidden = errors.New("address not allowed")
	// ErrDenied: the origin wants credentials that the reference does not have.
	ErrDenied = errors.New("the server denies access")
	// ErrChecksum: the bytes are not those that were published.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrUnsafe: the image reaches outside of itself.
	ErrUnsafe = errors.New("unsafe image")
	// ErrTooLarge: the image is beyond a limit of this host.
	ErrTooLarge = errors.New("image too large")
	// ErrFormat: these bytes are no disk image that can be used here.
	ErrFormat = errors.New("not a usable disk image")
)

// Error says what failed, for which image, why, and what to do about it.
type Error struct {
	Op        string // "resolve", "download", "verify", "decompress", "inspect", "convert", "install"
	Name      string // the reference or URL, without secrets
	Err       error  // why
	Hint      string // what to do; may be empty
	Permanent bool   // trying again is useless
}

// Error is one line for a person.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s image %s: %v", e.Op, e.Name, e.Err)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports a permanent error as ErrPermanent.
func (e *Error) Is(target error) bool { return target == ErrPermanent && e.Permanent }

// fail wraps err as an Error; it is permanent when its class is. An Error stays
// as it is, and nil stays nil.
func fail(op, name string, err error, hint string) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	permanent := false
	for _, class := range []error{ErrForbidden, ErrDenied, ErrChecksum, ErrUnsafe, ErrTooLarge, ErrFormat} {
		permanent = permanent || errors.Is(err, class)
	}
	return &Error{Op: op, Name: Redact(name), Err: err, Hint: hint, Permanent: permanent}
}

// permanent is fail for an error whose class does not tell.
func permanent(op, name string, err error, hint string) error {
	return &Error{Op: op, Name: Redact(name), Err: err, Hint: hint, Permanent: true}
}

// Redact returns a reference without user names, passwords and the values of
// query parameters that look like secrets, for logs and for other people.
func Redact(ref string) string { return driver.Redact(ref) }
