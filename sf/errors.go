package sf

import (
	"errors"

	"github.com/shakenfist/cloud/sf/spec"
	"github.com/shakenfist/cloud/store"
)

// notFound turns a store's missing key into an error about an object.
func notFound(err error, kind Kind, id string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return spec.Errorf(ErrNotFound, "%s not found", kind).About(string(kind), id)
	}
	return storeError(err)
}

// storeError classifies what a store could not do.
func storeError(err error) error {
	switch {
	case err == nil || spec.ClassOf(err) != nil:
		return err
	case errors.Is(err, store.ErrConflict):
		return spec.Errorf(ErrConflict, "others changed the same things at the same time; try again").Because(err)
	case errors.Is(err, store.ErrTooLarge):
		return spec.Errorf(ErrInvalid, "the request is too large for one transaction").Because(err)
	case errors.Is(err, store.ErrUnknownOutcome): // and whatever came after it
		return spec.Errorf(ErrUnavailable, "the store cannot be reached; whether the change was recorded is not known").Because(err)
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrUnavailable):
		return spec.Errorf(ErrUnavailable, "the store cannot be reached").Because(err)
	}
	return err
}
