package image

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/shakenfist/cloud/driver"
)

// Source is where images come from. Methods are safe for concurrent use.
type Source interface {
	// Resolve finds out what ref names at this moment, without fetching it. An
	// error that asking again cannot mend is ErrPermanent.
	Resolve(ctx context.Context, ref driver.ImageRef) (Description, error)
	// Open returns the bytes of d from offset on. When the origin no longer has
	// the bytes described it returns ErrChanged. The caller closes the reader;
	// ctx covers the reading too.
	Open(ctx context.Context, d Description, offset int64) (io.ReadCloser, error)
}

// Description is an image as its origin has it.
type Description struct {
	Ref          driver.ImageRef // as asked for
	URL          string          // where the bytes are; may hold secrets, show Redact(URL)
	Size         int64           // bytes to transfer, -1 when the origin does not say
	ETag         string          // as in HTTP; empty when unknown
	LastModified string          // as in HTTP; empty when unknown
	Checksum     Checksum        // of the bytes to transfer, where one was published
}

// Checksum is a published hash; its zero value is none.
type Checksum struct {
	Algorithm string // "md5", "sha1", "sha256" or "sha512"
	Hex       string // lower case
	From      string // where it was published, for people
}

var checksumBytes = map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

// parseChecksum checks the form of a hash.
func parseChecksum(algorithm, digits, from string) (Checksum, error) {
	c := Checksum{Algorithm: strings.ToLower(algorithm), Hex: strings.ToLower(digits), From: from}
	b, err := hex.DecodeString(c.Hex)
	if n, ok := checksumBytes[c.Algorithm]; err != nil || !ok || len(b) != n {
		return Checksum{}, fmt.Errorf("checksum %s=%.140s: use sha256= or sha512= and hexadecimal digits", algorithm, digits)
	}
	return c, nil
}

// parseSums finds the checksum of a file in a list as sha256sum writes it (with
// or without the binary mark) or in BSD form. The zero value means not listed.
func parseSums(list, algorithm, file, from string) Checksum {
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		digits, name, _ := strings.Cut(line, " ")
		if head, sum, ok := strings.Cut(line, ") = "); ok {
			_, name, _ = strings.Cut(head, "(")
			digits = sum
		}
		name = strings.TrimPrefix(strings.TrimLeft(name, " *"), "./")
		if name != file {
			continue
		}
		if c, err := parseChecksum(algorithm, digits, from); err == nil {
			return c
		}
	}
	return Checksum{}
}
