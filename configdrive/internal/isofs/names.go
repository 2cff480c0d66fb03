package isofs

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the format. Depth counts the root; the other two are Joliet's.
const (
	maxDepth = 8
	maxName  = 64  // characters
	maxPath  = 120 // characters
)

// checkPath refuses paths that some reader of the image would see differently.
func checkPath(path string) error {
	if !fs.ValidPath(path) || path == "." {
		return fmt.Errorf("%w: path %q: want a relative path without empty, . or .. parts", ErrInvalid, path)
	}
	if n := utf8.RuneCountInString(path); n > maxPath {
		return fmt.Errorf("%w: path %.40q…: %d characters, want at most %d", ErrInvalid, path, n, maxPath)
	}
	parts := strings.Split(path, "/")
	if len(parts) >= maxDepth {
		return fmt.Errorf("%w: path %q: %d directories deep, want at most %d", ErrInvalid, path, len(parts)-1, maxDepth-2)
	}
	for _, name := range parts {
		if err := checkName(name); err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
	}
	return nil
}

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > maxName {
		return fmt.Errorf("%w: name %q has %d characters, want at most %d", ErrInvalid, name, n, maxName)
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("%w: name %q ends in a dot or space, which readers cut off", ErrInvalid, name)
	}
	for _, r := range name {
		// Joliet has no characters beyond 16 bits, nor these punctuation marks.
		if r == utf8.RuneError || r > 0xffff || !unicode.IsPrint(r) || strings.ContainsRune(`*:;?\`, r) {
			return fmt.Errorf("%w: name %q: character %q is not allowed", ErrInvalid, name, r)
		}
	}
	return nil
}

// plainName is an upper-case 8.3 name; the extension of a directory is empty.
type plainName struct{ base, ext string }

// plain finds the 8.3 name for name that is not yet taken in its directory.
func plain(name string, dir bool, taken map[plainName]bool) plainName {
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && !dir {
		base, ext = name[:i], name[i+1:]
	}
	p := plainName{dChars(base, 8), dChars(ext, 3)}
	stem := p.base
	for n := 1; taken[p]; n++ {
		tail := strconv.Itoa(n)
		p.base = stem[:min(len(stem), 8-len(tail))] + tail
	}
	taken[p] = true
	return p
}

// dChars maps s to at most limit of the characters that every reader knows.
func dChars(s string, limit int) string {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		if b.Len() == limit {
			break
		}
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

// spelling is the identifier and the sort key: both parts padded with spaces.
func (p plainName) spelling(dir bool) spelling {
	ident := p.base
	if !dir {
		ident += "." + p.ext + ";1"
	}
	return spelling{[]byte(ident), fmt.Sprintf("%-8s%-3s", p.base, p.ext)}
}

// plainNames spells the names of one directory.
func plainNames(kids []*node) []spelling {
	taken := make(map[plainName]bool)
	names := make([]spelling, len(kids))
	for i, k := range kids {
		names[i] = plain(k.name, k.isDir(), taken).spelling(k.isDir())
	}
	return names
}

// ucs2 encodes names that checkName let through, big endian.
func ucs2(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for _, r := range s {
		b = append(b, byte(r>>8), byte(r))
	}
	return b
}
